//! What the command is told, and what it is not.

use std::ffi::OsString;

use tokio::process::Command;

/// The lease, as the command learns of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) slot: u64,
    pub(super) token: u64,
    pub(super) epoch: u64,
    /// RFC 3339.
    pub(super) deadline: String,
    pub(super) renewed: bool,
}

/// What is set by us, and never handed on from somebody else's lease.
const OURS: [&str; 6] = [
    "SLUICEGATE_GOVERNOR",
    "SLUICEGATE_SLOT",
    "SLUICEGATE_TOKEN",
    "SLUICEGATE_EPOCH",
    "SLUICEGATE_DEADLINE",
    "SLUICEGATE_RENEWED",
];

/// Tells the command of the lease; without one only the governor's name. Takes away what is secret.
pub(super) fn set(command: &mut Command, governor: &str, lease: Option<&Told>) {
    for name in OURS {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os().filter(|(name, value)| is_secret(&name.to_string_lossy(), value)) {
        command.env_remove(name);
    }
    command.env("SLUICEGATE_GOVERNOR", governor);
    if let Some(lease) = lease {
        command
            .env("SLUICEGATE_SLOT", lease.slot.to_string())
            .env("SLUICEGATE_TOKEN", lease.token.to_string())
            .env("SLUICEGATE_EPOCH", lease.epoch.to_string())
            .env("SLUICEGATE_DEADLINE", &lease.deadline)
            .env("SLUICEGATE_RENEWED", if lease.renewed { "1" } else { "0" });
    }
}

/// Settings of NATS in which a secret stands in clear. One that says where the secret is may be handed on.
fn is_secret(name: &str, value: &OsString) -> bool {
    let value = value.to_string_lossy();
    let points = ["file://", "env://", "op://", "nsc://"].iter().any(|scheme| value.starts_with(scheme));
    match name {
        // A user without a password, which would be left, is a token.
        "NATS_USER" | "NATS_PASSWORD" | "NATS_TOKEN" | "NATS_JWT" | "NATS_SEED" => !points,
        "NATS_CREDS" | "NATS_NKEY" => value.starts_with("data:"),
        "NATS_URL" => value.contains('@'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_in_clear_is_secret() {
        for (name, value, secret) in [
            ("NATS_PASSWORD", "canary", true),
            ("NATS_TOKEN", "canary", true),
            ("NATS_USER", "canary", true),
            ("NATS_TOKEN", "file:///run/secrets/token", false),
            ("NATS_CREDS", "/etc/app.creds", false),
            ("NATS_CREDS", "data:;base64,Y2FuYXJ5", true),
            ("NATS_URL", "nats://host:4222", false),
            ("NATS_URL", "nats://user:canary@host:4222", true),
            ("PATH", "canary@", false),
        ] {
            assert_eq!(is_secret(name, &value.into()), secret, "{name}={value}");
        }
    }
}
