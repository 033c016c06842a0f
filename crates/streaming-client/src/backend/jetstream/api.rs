use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluicegate_nats::{ApiError, ApiErrorKind, RequestErrorKind, code};
use tokio::time::{Instant, sleep};

use super::link::Link;
use crate::{ErrorKind, StreamError};

/// How long one try waits for its answer.
const TRY: Duration = Duration::from_secs(5);

/// For how long tries without an answer, and elections, are borne with.
const PATIENCE: Duration = Duration::from_secs(15);

/// Calls the API; every call made through this may be repeated without harm.
pub(super) async fn call<T: DeserializeOwned>(
    link: &Link,
    verb: &str,
    body: &impl Serialize,
) -> Result<T, ApiError> {
    let give_up = Instant::now() + PATIENCE;
    let mut delays = backoff().build();
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        let answer = link.connection().api(verb, body, TRY.min(left.max(Duration::from_millis(100)))).await;
        match answer {
            Err(error) if (error.is_transient() || error.is_timeout()) && Instant::now() < give_up => {
                sleep(delays.next().unwrap_or(Duration::from_secs(2))).await;
            }
            answer => return answer,
        }
    }
}

/// 100 ms, doubled up to 2 s, without end.
pub(super) fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times()
}

pub(super) fn is_missing(error: &ApiError) -> bool {
    error.err_code().is_some_and(|it| it == code::STREAM_NOT_FOUND || it == code::CONSUMER_NOT_FOUND)
}

/// What a failed call means to the user; `what` names the thing.
pub(super) fn failure(what: &str, error: ApiError) -> StreamError {
    let kind = match error.kind() {
        ApiErrorKind::Server { err_code, .. } => server_kind(err_code),
        ApiErrorKind::Request(kind) => match kind {
            RequestErrorKind::NotPermitted => ErrorKind::NotPermitted,
            RequestErrorKind::NotConnected | RequestErrorKind::NoResponders => ErrorKind::NotConnected,
            RequestErrorKind::TimedOut => ErrorKind::Timeout,
            RequestErrorKind::TooLarge => ErrorKind::TooLarge,
            RequestErrorKind::Invalid => ErrorKind::InvalidName,
            _ => ErrorKind::Closed,
        },
        _ => ErrorKind::Rejected,
    };
    StreamError::new(kind, format!("{what}: {error}")).with_source(error)
}

fn server_kind(err_code: u64) -> ErrorKind {
    if err_code == code::STREAM_NOT_FOUND || err_code == code::CONSUMER_NOT_FOUND {
        ErrorKind::NotFound
    } else if code::is_name_conflict(err_code) || err_code == code::STREAM_SUBJECT_OVERLAP {
        ErrorKind::Conflict
    } else if code::is_jetstream_missing(err_code) {
        ErrorKind::Unsupported
    } else if code::is_transient_api(err_code) {
        ErrorKind::Timeout
    } else if err_code == code::MESSAGE_TOO_LARGE {
        ErrorKind::TooLarge
    } else {
        ErrorKind::Rejected
    }
}
