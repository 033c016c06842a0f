//! Which [`LeaseErrorKind`] an answer of the server is.

use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::{ApiError, ApiErrorKind, RequestErrorKind, code};

/// A server alone has no other servers to copy to.
const REPLICAS_NOT_SUPPORTED: u64 = 10074;
/// There are not so many servers that could hold a copy.
const NO_PEERS: u64 = 10005;

/// Failure of a call that changes something: no answer means that it may have happened.
pub(crate) fn write(stream: &str, error: ApiError) -> LeaseError {
    let kind = kind(&error, LeaseErrorKind::Unknown);
    describe(stream, kind, error)
}

/// Failure of a call that only looks.
pub(crate) fn read(stream: &str, error: ApiError) -> LeaseError {
    let kind = kind(&error, LeaseErrorKind::Transient);
    describe(stream, kind, error)
}

/// Failure of a look at many streams.
pub(crate) fn list(error: ApiError) -> LeaseError {
    let kind = kind(&error, LeaseErrorKind::Transient);
    let context = match kind {
        LeaseErrorKind::NotPermitted => format!("`{}` is denied: listing needs that right", error.subject()),
        _ => format!("list of streams: {error}"),
    };
    LeaseError::new(kind, context).with_source(error)
}

fn describe(stream: &str, kind: LeaseErrorKind, error: ApiError) -> LeaseError {
    let context = match kind {
        LeaseErrorKind::NotFound => format!("unknown governor: there is no stream {stream}"),
        LeaseErrorKind::NotPermitted => {
            format!("`{}` is denied: the user of stream {stream} needs that right", error.subject())
        }
        _ => format!("stream {stream}: {error}"),
    };
    LeaseError::new(kind, context).with_source(error)
}

fn kind(error: &ApiError, unanswered: LeaseErrorKind) -> LeaseErrorKind {
    match error.kind() {
        ApiErrorKind::Server { err_code, .. } => server_kind(err_code, error.description()),
        ApiErrorKind::Request(kind) => match kind {
            RequestErrorKind::NoResponders | RequestErrorKind::NotConnected => LeaseErrorKind::Transient,
            RequestErrorKind::NotPermitted => LeaseErrorKind::NotPermitted,
            RequestErrorKind::TooLarge | RequestErrorKind::Invalid => LeaseErrorKind::Invalid,
            _ => unanswered,
        },
        _ => unanswered,
    }
}

fn server_kind(err_code: u64, description: &str) -> LeaseErrorKind {
    match err_code {
        code::STREAM_NOT_FOUND => LeaseErrorKind::NotFound,
        _ if code::is_name_conflict(err_code) => LeaseErrorKind::Conflict,
        code::STREAM_INVALID_CONFIG | code::STREAM_NAME_INVALID | code::MESSAGE_TTL_INVALID => {
            LeaseErrorKind::Invalid
        }
        code::MESSAGE_TOO_LARGE | REPLICAS_NOT_SUPPORTED | NO_PEERS => LeaseErrorKind::Invalid,
        code::MESSAGE_TTL_DISABLED | code::REQUIRED_API_LEVEL => LeaseErrorKind::Unsupported,
        code::STREAM_SEALED => LeaseErrorKind::Misconfigured,
        code::MESSAGE_DELETE_FAILED if description.contains("not permitted") => LeaseErrorKind::Misconfigured,
        code::STREAM_NOT_MATCH => LeaseErrorKind::Conflict,
        // Neither time nor another try puts JetStream where there is none.
        _ if code::is_jetstream_missing(err_code) => LeaseErrorKind::Misconfigured,
        // The server takes our request for nonsense: retrying it would be that, too.
        code::BAD_REQUEST | code::INVALID_JSON => LeaseErrorKind::Invalid,
        _ if code::is_cas_conflict(err_code) => LeaseErrorKind::Lost,
        // Elections, full disks and whatever a later version may add.
        _ => LeaseErrorKind::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_the_documented_kind() {
        for (err_code, text, kind) in [
            (10059, "stream not found", LeaseErrorKind::NotFound),
            (10058, "stream name already in use with a different configuration", LeaseErrorKind::Conflict),
            (10065, "subjects overlap with an existing stream", LeaseErrorKind::Conflict),
            (10052, "max age needs to be >= 100ms", LeaseErrorKind::Invalid),
            (10074, "replicas > 1 not supported in non-clustered mode", LeaseErrorKind::Invalid),
            (10005, "no suitable peers for placement", LeaseErrorKind::Invalid),
            (10128, "Stream name can not contain path separators", LeaseErrorKind::Invalid),
            (10057, "message delete not permitted", LeaseErrorKind::Misconfigured),
            (10057, "write /data/1.blk: no space left on device", LeaseErrorKind::Transient),
            (10109, "invalid operation on sealed stream", LeaseErrorKind::Misconfigured),
            (10008, "JetStream system temporarily unavailable", LeaseErrorKind::Transient),
            (10009, "JetStream not leader", LeaseErrorKind::Transient),
            (10023, "insufficient resources", LeaseErrorKind::Transient),
            (10118, "stream is offline", LeaseErrorKind::Transient),
            (10047, "insufficient storage resources available", LeaseErrorKind::Transient),
            (10028, "insufficient memory resources available", LeaseErrorKind::Transient),
            (10039, "JetStream not enabled for account", LeaseErrorKind::Misconfigured),
            (10076, "JetStream not enabled", LeaseErrorKind::Misconfigured),
            (10185, "JetStream minimum api level required", LeaseErrorKind::Unsupported),
            (10025, "invalid JSON", LeaseErrorKind::Invalid),
            (10003, "bad request", LeaseErrorKind::Invalid),
            (10071, "wrong last sequence: 0", LeaseErrorKind::Lost),
            (10164, "wrong last sequence", LeaseErrorKind::Lost),
            (10165, "invalid per-message TTL", LeaseErrorKind::Invalid),
            (10166, "per-message TTL is disabled", LeaseErrorKind::Unsupported),
        ] {
            assert_eq!(server_kind(err_code, text), kind, "{err_code} {text}");
        }
    }
}
