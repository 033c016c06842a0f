//! What the command is told, and what it is not.

use tokio::process::Command;

use crate::secrets::withhold_secrets;

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
    withhold_secrets(command);
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
