//! The one table of error codes and exit codes.

/// What went wrong, as scripts see it: the `code` of a JSON error and the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The command line is wrong.
    Usage,
    /// A thing of that name does not exist.
    NotFound,
    /// A thing of that name exists, and is not what was asked for.
    AlreadyExists,
    /// Something else is in the way.
    Conflict,
    /// No slot was free in time, or in this period.
    NoSlot,
    /// No answer in time.
    Timeout,
    /// NATS cannot be reached.
    Unreachable,
    /// The login was refused.
    Auth,
    /// The server denies a subject.
    NotPermitted,
    /// The lease ended while the work it protected was under way.
    LeaseLost,
    /// A command that was to be run is not there (127), or cannot be executed (126).
    ExecFailed(u8),
    /// A context that was named does not exist.
    ContextNotFound,
    /// A configuration, context or secret cannot be used.
    ConfigInvalid,
    /// A setting that NATS tools know, and this one cannot honour.
    UnsupportedSetting,
    /// The server is too old.
    UnsupportedServer,
    /// Some of it failed: items, or a verdict.
    Partial,
    /// A signal ended it; its number.
    Interrupted(u8),
    /// A defect of this program.
    Internal,
}

impl Code {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::NoSlot => "no_slot",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Auth => "auth",
            Self::NotPermitted => "not_permitted",
            Self::LeaseLost => "lease_lost",
            Self::ExecFailed(_) => "exec_failed",
            Self::ContextNotFound => "context_not_found",
            Self::ConfigInvalid => "config_invalid",
            Self::UnsupportedSetting => "unsupported_setting",
            Self::UnsupportedServer => "unsupported_server",
            Self::Partial => "partial",
            Self::Interrupted(_) => "interrupted",
            Self::Internal => "internal",
        }
    }

    pub(crate) fn exit(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Unreachable => 74,
            Self::NoSlot => 75,
            Self::LeaseLost => 76,
            Self::Auth | Self::NotPermitted => 77,
            Self::ContextNotFound | Self::ConfigInvalid | Self::UnsupportedSetting => 78,
            Self::ExecFailed(exit) => exit,
            Self::Interrupted(signal) => 128 + signal,
            Self::NotFound
            | Self::AlreadyExists
            | Self::Conflict
            | Self::Timeout
            | Self::UnsupportedServer
            | Self::Partial
            | Self::Internal => 1,
        }
    }
}
