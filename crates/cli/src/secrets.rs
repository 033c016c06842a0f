//! What commands that we run are not told.

use std::ffi::OsString;

use tokio::process::Command;

/// Takes those settings of NATS out of the command's environment in which a secret stands in clear.
pub(crate) fn withhold_secrets(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, value)| is_secret(&name.to_string_lossy(), value)) {
        command.env_remove(name);
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
