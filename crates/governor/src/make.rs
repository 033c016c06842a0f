//! Creating, ensuring and finding the stream of a governor.

use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::Connection;
use time::OffsetDateTime;

use crate::stream::Stream;
use crate::wire::{StoredConfig, StreamInfo};

/// What a sequence begins with, so that tokens grow even when the stream is deleted and made anew: the time in
/// microseconds, which fits in 53 bits. `None`: such a stream is not safe on that server.
///
/// nats-server 2.10 forgets, at its next start, everything that is stored in a stream with a seeded sequence for as
/// long as its very first message is there: leases would be lost to a restart.
pub(crate) fn seed(connection: &Connection) -> Option<u64> {
    let micros = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
    let seed = u64::try_from(micros).ok().filter(|seed| *seed > 0);
    seed.filter(|_| is_2_11(&version(connection)))
}

/// The version of the server that we are connected to.
pub(crate) fn version(connection: &Connection) -> String {
    connection.client().server_info().version
}

/// Whether that is nats-server 2.11 or later. One that does not say its version is given the benefit of the doubt.
pub(crate) fn is_2_11(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= (2, 11),
        _ => true,
    }
}

/// The name of a new life of a stream.
pub(crate) fn incarnation() -> String {
    nuid::next().as_str().to_owned()
}

/// Makes the stream, or finds it exactly as it is `wanted` in the fields that the caller has named.
pub(crate) async fn create(
    stream: &Stream,
    wanted: &StoredConfig,
    named: &[&str],
) -> Result<StreamInfo, LeaseError> {
    if let Some(info) = stream.find().await? {
        return same(stream, info, wanted, named);
    }
    match stream.create(wanted).await {
        Ok(info) => check_kept(stream, info, wanted).await,
        // Somebody else was quicker; or our own first try was, and its answer got lost.
        Err(error) if matches!(error.kind(), LeaseErrorKind::Conflict | LeaseErrorKind::Unknown) => {
            match stream.find().await? {
                Some(info) => same(stream, info, wanted, named),
                None => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Makes the stream, or changes what differs in the fields of `changeable` that the caller has named.
pub(crate) async fn ensure(
    stream: &Stream,
    wanted: &StoredConfig,
    named: &[&str],
    changeable: &[&str],
    apply: impl FnOnce(&mut StoredConfig),
) -> Result<StreamInfo, LeaseError> {
    let Some(info) = stream.find().await? else { return create(stream, wanted, named).await };
    let differences = info.config.differences(&wanted.only(named));
    let fixed = differences.without(changeable);
    if !fixed.is_empty() {
        return Err(conflict(stream, &fixed));
    }
    if differences.is_empty() {
        return Ok(info);
    }
    let held = info.state.messages;
    let Some(after) = stream.change(apply).await? else { return Ok(info) };
    if after.state.messages < held {
        // No server that we know does this any more when the limit is lowered; old ones did.
        tracing::warn!(
            stream = &**stream.name(),
            before = held,
            after = after.state.messages,
            "fewer leases after the update: released, expired, or dropped by the server"
        );
    }
    Ok(after)
}

fn same(
    stream: &Stream,
    info: StreamInfo,
    wanted: &StoredConfig,
    named: &[&str],
) -> Result<StreamInfo, LeaseError> {
    let differences = info.config.differences(&wanted.only(named));
    if differences.is_empty() { Ok(info) } else { Err(conflict(stream, &differences)) }
}

fn conflict(stream: &Stream, differences: &crate::wire::Differences) -> LeaseError {
    let context = format!("stream {} exists with another configuration: {differences}", stream.name());
    LeaseError::new(LeaseErrorKind::Conflict, context)
}

/// An older server drops what it does not know without a word.
async fn check_kept(
    stream: &Stream,
    info: StreamInfo,
    wanted: &StoredConfig,
) -> Result<StreamInfo, LeaseError> {
    let dropped = info.config.differences(wanted);
    if dropped.is_empty() {
        return Ok(info);
    }
    if info.did_create {
        // It is ours, new and of no use.
        let _ = stream.delete().await;
    }
    let version = version(stream.connection());
    let context = format!(
        "stream {} cannot be made by nats-server {version}: {dropped}; a later version is needed",
        stream.name()
    );
    Err(LeaseError::new(LeaseErrorKind::Unsupported, context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_2_11_are_known() {
        for (version, recent) in [
            ("2.10.26", false),
            ("2.11.0", true),
            ("2.15.1", true),
            ("2.9.9", false),
            ("3.0.0-beta.1", true),
            ("", true),
        ] {
            assert_eq!(is_2_11(version), recent, "{version}");
        }
    }
}
