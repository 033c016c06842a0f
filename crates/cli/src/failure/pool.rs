//! What governors and capacities refuse.

use std::error::Error;

use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_governor::{Units, UnitsError};
use sluicegate_nats::{ApiError, ApiErrorKind, RequestError, RequestErrorKind, code};

use super::{PERMISSION_HELP, SERVER_HELP};
use crate::code::Code;
use crate::error::CliError;

/// A governor that failed while doing `what`, which names it.
pub(crate) fn governor(name: &str, what: &str, error: &LeaseError) -> CliError {
    pool("governor", name, what, error)
}

/// A capacity that failed while doing `what`, which names it.
pub(crate) fn capacity(name: &str, what: &str, error: &LeaseError) -> CliError {
    if let Some(units) = error.source().and_then(|source| source.downcast_ref::<UnitsError>()) {
        return not_in_parts(what, units).caused_by(error);
    }
    if error.kind() == LeaseErrorKind::NotFound && error.source().is_none() {
        return CliError::new(
            Code::NotFound,
            format!("capacity {name} does not exist, but a governor of that name"),
        )
        .help(format!("see what it is: sluicegate governor view {name}"))
        .caused_by(error);
    }
    pool("capacity", name, what, error)
}

/// A total that cannot be had in parts of that factor, by the flags that say so.
fn not_in_parts(what: &str, error: &UnitsError) -> CliError {
    let (message, help) = match *error {
        UnitsError::BelowFactor { total, factor } => (
            format!("--total {total} is less than --factor {factor}: there would be no lease"),
            if total == 0 {
                "say how many units a second there are: --total".to_owned()
            } else {
                format!("lower --factor to {total} or less, or raise --total to {factor} or more")
            },
        ),
        UnitsError::TooMany { total, factor, least } => (
            format!(
                "--total {total} in parts of --factor {factor} makes {} leases, and {} is the most",
                total / factor,
                Units::MOST_LEASES
            ),
            format!("raise --factor to {least} or more"),
        ),
        UnitsError::NoFactor => (
            "--factor is 0: a lease has to be worth something".to_owned(),
            "say how many units a second a lease is worth: --factor".to_owned(),
        ),
        _ => (error.to_string(), "sluicegate capacity --help".to_owned()),
    };
    CliError::new(Code::Usage, format!("{what}: {message}")).help(help)
}

fn pool(group: &str, name: &str, what: &str, error: &LeaseError) -> CliError {
    let cause = Cause::of(error);
    let (code, help) = match error.kind() {
        LeaseErrorKind::NotPermitted => (Code::NotPermitted, PERMISSION_HELP.to_owned()),
        LeaseErrorKind::NotFound => {
            return CliError::new(Code::NotFound, format!("{group} {name} does not exist"))
                .help(format!("see those there are: sluicegate {group} ls"))
                .nats_code(cause.nats_code)
                .caused_by(error);
        }
        LeaseErrorKind::Conflict => {
            (Code::AlreadyExists, format!("change it with `{group} edit`, or `{group} add --ensure`"))
        }
        LeaseErrorKind::Invalid => (Code::Usage, format!("sluicegate {group} --help")),
        LeaseErrorKind::Unsupported => {
            (Code::UnsupportedServer, "use a server that can, or do without".to_owned())
        }
        LeaseErrorKind::Misconfigured if cause.no_jetstream() => (
            Code::UnsupportedServer,
            "start nats-server with -js, and enable JetStream for the account".to_owned(),
        ),
        LeaseErrorKind::Misconfigured => {
            (Code::ConfigInvalid, format!("see its warnings: sluicegate {group} view"))
        }
        LeaseErrorKind::Lost => (Code::LeaseLost, "take a slot again".to_owned()),
        LeaseErrorKind::Transient | LeaseErrorKind::Unknown => match cause.request {
            Some(RequestErrorKind::NotConnected | RequestErrorKind::Closed) => {
                (Code::Unreachable, SERVER_HELP.to_owned())
            }
            Some(RequestErrorKind::NoResponders) => (
                Code::Unreachable,
                "nobody answers: is JetStream on there, and does its stream have a leader?".to_owned(),
            ),
            _ => (Code::Timeout, "try again, or raise --timeout".to_owned()),
        },
        _ => (Code::Internal, "run it again with -v".to_owned()),
    };
    let message = match (&code, &cause.subject) {
        (Code::NotPermitted, Some(subject)) => format!("{what}: may not publish to `{subject}`"),
        _ => format!("{what}: {}", context(error)),
    };
    let subject = cause.subject.filter(|_| code == Code::NotPermitted);
    CliError::new(code, message).help(help).nats_code(cause.nats_code).subject(subject).caused_by(error)
}

/// The error without the name of its kind, which the code says.
fn context(error: &LeaseError) -> String {
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
