//! What a governor refuses.

use std::error::Error;

use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::{ApiError, ApiErrorKind, RequestError, RequestErrorKind, code};

use super::{PERMISSION_HELP, SERVER_HELP};
use crate::code::Code;
use crate::error::CliError;

const LS: &str = "see those there are: sluicegate governor ls";

/// A governor that failed while doing `what`, which names it.
pub(crate) fn governor(name: &str, what: &str, error: &LeaseError) -> CliError {
    let cause = Cause::of(error);
    let (code, help) = match error.kind() {
        LeaseErrorKind::NotPermitted => (Code::NotPermitted, PERMISSION_HELP),
        LeaseErrorKind::NotFound => {
            return CliError::new(Code::NotFound, format!("governor {name} does not exist"))
                .help(LS)
                .nats_code(cause.nats_code)
                .caused_by(error);
        }
        LeaseErrorKind::Conflict => {
            (Code::AlreadyExists, "change it with `governor edit`, or `governor add --ensure`")
        }
        LeaseErrorKind::Invalid => (Code::Usage, "sluicegate governor --help"),
        LeaseErrorKind::Unsupported => (Code::UnsupportedServer, "use a server that can, or do without"),
        LeaseErrorKind::Misconfigured if cause.no_jetstream() => {
            (Code::UnsupportedServer, "start nats-server with -js, and enable JetStream for the account")
        }
        LeaseErrorKind::Misconfigured => (Code::ConfigInvalid, "see its warnings: sluicegate governor view"),
        LeaseErrorKind::Lost => (Code::LeaseLost, "take a slot again"),
        LeaseErrorKind::Transient | LeaseErrorKind::Unknown => match cause.request {
            Some(RequestErrorKind::NotConnected | RequestErrorKind::Closed) => {
                (Code::Unreachable, SERVER_HELP)
            }
            Some(RequestErrorKind::NoResponders) => (
                Code::Unreachable,
                "nobody answers: is JetStream on there, and does its stream have a leader?",
            ),
            _ => (Code::Timeout, "try again, or raise --timeout"),
        },
        _ => (Code::Internal, "run it again with -v"),
    };
    let message = match (&code, &cause.subject) {
        (Code::NotPermitted, Some(subject)) => format!("{what}: may not publish to `{subject}`"),
        _ => format!("{what}: {}", context(error)),
    };
    let subject = cause.subject.filter(|_| code == Code::NotPermitted);
    CliError::new(code, message).help(help).nats_code(cause.nats_code).subject(subject).caused_by(error)
}

/// The error without the name of its kind, which the code says.
pub(crate) fn context(error: &LeaseError) -> String {
    let text = error.to_string();
    let prefix = format!("{}: ", error.kind());
    text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
}

/// What stands behind an error.
#[derive(Debug, Default)]
struct Cause {
    subject: Option<String>,
    nats_code: Option<u64>,
    request: Option<RequestErrorKind>,
}

impl Cause {
    fn of(error: &LeaseError) -> Self {
        let mut cause = Self::default();
        let mut next: Option<&(dyn Error + 'static)> = error.source();
        while let Some(error) = next {
            if let Some(api) = error.downcast_ref::<ApiError>() {
                cause.subject = Some(api.subject().to_owned());
                cause.nats_code = api.err_code();
                if let ApiErrorKind::Request(kind) = api.kind() {
                    cause.request = Some(kind);
                }
            }
            if let Some(request) = error.downcast_ref::<RequestError>() {
                cause.subject = Some(request.subject().to_owned());
                cause.request = Some(request.kind());
            }
            next = error.source();
        }
        cause
    }

    fn no_jetstream(&self) -> bool {
        self.nats_code.is_some_and(code::is_jetstream_missing)
    }
}
