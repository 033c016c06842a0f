//! From the libraries' errors to codes, messages and remedies: the one place where that is decided.

mod pool;

use std::error::Error;
use std::io;

use sluicegate_autoscaler::{ScalerError, ScalerErrorKind};
use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::{
    ApiError, ApiErrorKind, ConnectError, ConnectErrorKind, PublishErrorKind, RequestError, RequestErrorKind,
    code,
};
use sluicegate_streaming_client::{ErrorKind as StreamErrorKind, PublishError, StreamError};

pub(crate) use self::pool::{capacity, governor};
use crate::code::Code;
use crate::error::CliError;

const SERVER_HELP: &str =
    "is nats-server running there? `cargo xtask up` starts one; name another with --server";
const PERMISSION_HELP: &str = "grant the subject to this user, or connect as one who has it";
const AUTH_HELP: &str =
    "check user, password, token or --creds; `nats context show` tells what a context says";

/// A connection that could not be made.
pub(crate) fn connecting(error: &ConnectError) -> CliError {
    let (code, help) = match error.kind() {
        ConnectErrorKind::Unreachable => (Code::Unreachable, SERVER_HELP),
        ConnectErrorKind::AuthRefused => (Code::Auth, AUTH_HELP),
        ConnectErrorKind::ContextNotFound => {
            (Code::ContextNotFound, "see `nats context ls` for those there are")
        }
        ConnectErrorKind::UnsupportedSetting => (Code::UnsupportedSetting, "leave that setting away"),
        ConnectErrorKind::Credentials => {
            (Code::ConfigInvalid, "check that the secret is there and can be read")
        }
        ConnectErrorKind::Tls => {
            (Code::ConfigInvalid, "check certificate, key and CA: --tlscert, --tlskey, --tlsca")
        }
        _ => (Code::ConfigInvalid, "correct that setting"),
    };
    CliError::new(code, with_cause(error)).help(help).caused_by(error)
}

/// A JetStream API call that failed while doing `what`.
pub(crate) fn api(what: &str, error: &ApiError) -> CliError {
    let (code, help) = match error.kind() {
        ApiErrorKind::Server { err_code: code::STREAM_NOT_FOUND | code::CONSUMER_NOT_FOUND, .. } => {
            (Code::NotFound, "check the name")
        }
        ApiErrorKind::Server {
            err_code: code::STREAM_SUBJECT_OVERLAP | code::STREAM_NAME_EXISTS, ..
        } => (Code::AlreadyExists, "another stream has that name or those subjects: rename or remove it"),
        ApiErrorKind::Server { err_code: code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT, .. } => {
            (Code::UnsupportedServer, "start nats-server with -js, and enable JetStream for the account")
        }
        ApiErrorKind::Request(RequestErrorKind::NotPermitted) => (Code::NotPermitted, PERMISSION_HELP),
        ApiErrorKind::Request(RequestErrorKind::NoResponders) => {
            (Code::UnsupportedServer, "start nats-server with -js: nobody answers for JetStream")
        }
        ApiErrorKind::Request(RequestErrorKind::TimedOut) => (Code::Timeout, "try again, or raise --timeout"),
        ApiErrorKind::Request(_) => (Code::Unreachable, SERVER_HELP),
        _ => (Code::Conflict, "see the server's words"),
    };
    let subject = (code == Code::NotPermitted).then(|| error.subject().to_owned());
    CliError::new(code, format!("{what}: {}", with_cause(error)))
        .help(help)
        .nats_code(error.err_code())
        .subject(subject)
        .caused_by(error)
}

/// A lease pool that failed while doing `what`.
pub(crate) fn lease(what: &str, error: &LeaseError) -> CliError {
    let (code, help) = match error.kind() {
        LeaseErrorKind::NotPermitted => (Code::NotPermitted, PERMISSION_HELP),
        LeaseErrorKind::NotFound => (Code::NotFound, "check the name"),
        LeaseErrorKind::Conflict => {
            (Code::AlreadyExists, "another stream is in the way: rename or remove it")
        }
        LeaseErrorKind::Unsupported => {
            (Code::UnsupportedServer, "native leases need nats-server 2.11 or newer")
        }
        LeaseErrorKind::Transient | LeaseErrorKind::Unknown => (Code::Timeout, "try again"),
        LeaseErrorKind::Invalid | LeaseErrorKind::Misconfigured => {
            (Code::ConfigInvalid, "correct that setting")
        }
        _ => (Code::Internal, "run it again with -v"),
    };
    CliError::new(code, format!("{what}: {}", with_cause(error))).help(help).caused_by(error)
}

/// A streaming client that failed while doing `what`.
pub(crate) fn stream(what: &str, error: &StreamError) -> CliError {
    let (code, help) = match error.kind() {
        StreamErrorKind::NotPermitted => (Code::NotPermitted, PERMISSION_HELP),
        StreamErrorKind::NotConnected | StreamErrorKind::Lost => (Code::Unreachable, SERVER_HELP),
        StreamErrorKind::Timeout => (Code::Timeout, "try again, or raise --timeout"),
        StreamErrorKind::Conflict => (Code::Conflict, "another stream or consumer is in the way"),
        _ => (Code::Internal, "run it again with -v"),
    };
    CliError::new(code, format!("{what}: {}", with_cause(error))).help(help).caused_by(error)
}

/// A publish that failed for good.
pub(crate) fn publish(error: &PublishError) -> CliError {
    let code = match error.kind() {
        StreamErrorKind::NotPermitted => Code::NotPermitted,
        StreamErrorKind::NotConnected | StreamErrorKind::Lost | StreamErrorKind::Timeout => Code::Unreachable,
        _ => Code::Internal,
    };
    let help = if code == Code::NotPermitted { PERMISSION_HELP } else { SERVER_HELP };
    CliError::new(code, format!("publishing {}: {}", error.guid(), with_cause(error)))
        .help(help)
        .caused_by(error)
}

/// A request, or a message, that cannot be sent while doing `what`.
pub(crate) fn request(what: &str, error: &RequestError) -> CliError {
    let (code, help) = match error.kind() {
        RequestErrorKind::NotPermitted => (Code::NotPermitted, PERMISSION_HELP),
        RequestErrorKind::TimedOut => (Code::Timeout, "try again, or raise --timeout"),
        RequestErrorKind::Invalid | RequestErrorKind::TooLarge => (Code::Usage, "see the server's words"),
        _ => (Code::Unreachable, SERVER_HELP),
    };
    let message = match code {
        Code::NotPermitted => format!("{what}: may not publish to `{}`", error.subject()),
        _ => format!("{what}: {}", with_cause(error)),
    };
    let subject = (code == Code::NotPermitted).then(|| error.subject().to_owned());
    CliError::new(code, message).help(help).subject(subject).caused_by(error)
}

/// A stream that will take no message at all.
pub(crate) fn refused_publish(stream: &str, error: &sluicegate_nats::PublishError) -> CliError {
    let (code, message, help) = match error.kind() {
        PublishErrorKind::NotPermitted => {
            let message = format!("pipe: may not publish to `{}`", error.subject());
            (Code::NotPermitted, message, PERMISSION_HELP)
        }
        PublishErrorKind::StreamNotFound => {
            let message = format!("no stream listens on `{}` any more", error.subject());
            (Code::NotFound, message, "see those there are: nats stream ls")
        }
        PublishErrorKind::Server { err_code: code::STREAM_NOT_MATCH, .. } => {
            let message = format!("not stream {stream} listens on `{}`, another one does", error.subject());
            (Code::Conflict, message, "name the stream that does")
        }
        _ => (
            Code::UnsupportedServer,
            with_cause(error),
            "start nats-server with -js, and enable JetStream for the account",
        ),
    };
    let subject = (code == Code::NotPermitted).then(|| error.subject().to_owned());
    CliError::new(code, message).help(help).nats_code(error.err_code()).subject(subject).caused_by(error)
}

/// A command that cannot be run.
pub(crate) fn not_run(program: &str, error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            CliError::new(Code::ExecFailed(127), format!("{program}: command not found"))
        }
        _ => CliError::new(Code::ExecFailed(126), format!("{program}: cannot be executed: {error}")),
    }
}

/// A consumer that cannot be scaled by.
pub(crate) fn scaler(what: &str, error: &ScalerError) -> CliError {
    let (code, help) = match error.kind() {
        ScalerErrorKind::NotPermitted => (Code::NotPermitted, PERMISSION_HELP),
        ScalerErrorKind::NotFound => (Code::NotFound, "check the name"),
        ScalerErrorKind::Unavailable => (Code::Timeout, "try again"),
        _ => (Code::ConfigInvalid, "correct that setting"),
    };
    CliError::new(code, format!("{what}: {}", with_cause(error))).help(help).caused_by(error)
}

/// The message, and behind it the last cause, which is the one that says why.
fn with_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let (first, last) = (error.to_string(), last.to_string());
    if first.contains(&last) { first } else { format!("{first}: {last}") }
}
