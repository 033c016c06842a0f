//! Creating, ensuring and finding the stream of a governor.

use std::time::Duration;

use sluicegate_core::{HumanDuration, LeaseError, LeaseErrorKind};
use sluicegate_nats::Connection;
use time::OffsetDateTime;

use crate::protocol::Protocol;
use crate::stream::Stream;
use crate::wire::{Differences, FACTOR, KIND, StoredConfig, StreamInfo, TOTAL};
use crate::{Force, GovernorConfig, GovernorKind, GovernorName, PoolOptions, Units};

/// What a stream shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) config: &'a GovernorConfig,
    /// What its leases are parts of, if it is a capacity.
    pub(crate) units: Option<Units>,
    /// If it is made: its name is new, so nobody believes in leases of another one.
    pub(crate) fresh: bool,
}

impl<'a> From<&'a GovernorConfig> for Wanted<'a> {
    fn from(config: &'a GovernorConfig) -> Self {
        Self { config, units: None, fresh: false }
    }
}

/// What a sequence begins with, so that tokens grow even when the stream is deleted and made anew: the time in
/// microseconds, which fits in 53 bits. `None`: such a stream is not safe on that server.
///
/// nats-server 2.10 forgets, at its next start, everything that is stored in a stream with a seeded sequence for as
/// long as its very first message is there: leases would be lost to a restart.
fn seed(connection: &Connection) -> Option<u64> {
    Some(micros()).filter(|micros| *micros > 0 && is_2_11(&version(connection)))
}

fn micros() -> u64 {
    let micros = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
    u64::try_from(micros).unwrap_or_default()
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

/// The name of a new life of a stream, which begins with the time in microseconds.
fn incarnation() -> String {
    format!("{}-{}", micros(), nuid::next().as_str())
}

/// The stream of the governor of that name, as it is.
pub(crate) async fn bind(
    protocol: &Protocol,
    connection: &Connection,
    name: &GovernorName,
    options: &PoolOptions,
) -> Result<(Stream, StreamInfo), LeaseError> {
    let stream = Stream::new(connection, (protocol.stream)(name), options.request_timeout);
    let info = stream.info().await?;
    Ok((stream, info))
}

/// Makes the stream, or finds it exactly as is wanted.
pub(crate) async fn create(
    protocol: &Protocol,
    connection: &Connection,
    wanted: impl Into<Wanted<'_>>,
    options: &PoolOptions,
) -> Result<(Stream, StreamInfo), LeaseError> {
    let making = Making::prepare(protocol, connection, wanted.into(), options)?;
    let info = making.create().await?;
    Ok((making.stream, info))
}

/// Makes the stream, or changes limit, ttl, replicas and units to what is wanted. Tells whether it had to.
pub(crate) async fn ensure(
    protocol: &Protocol,
    connection: &Connection,
    wanted: impl Into<Wanted<'_>>,
    options: &PoolOptions,
) -> Result<(Stream, StreamInfo, bool), LeaseError> {
    let making = Making::prepare(protocol, connection, wanted.into(), options)?;
    let (info, changed) = making.ensure().await?;
    Ok((making.stream, info, changed))
}

/// Refuses a time to live by which leases would end that are held.
pub(crate) fn keeps_held(protocol: &Protocol, info: &StreamInfo, ttl: Duration) -> Result<(), LeaseError> {
    let Some(age) = info.age_of_first().filter(|age| protocol.ttl_applies_to_held && *age >= ttl) else {
        return Ok(());
    };
    let have = (protocol.ttl)(&info.config).map(|ttl| HumanDuration(ttl).to_string());
    let context = format!(
        "ttl {} → {} ends leases that are held: the oldest of {} is {} old; wait for their release, or force it",
        have.as_deref().unwrap_or("never expires"),
        HumanDuration(ttl),
        info.state.messages,
        HumanDuration(Duration::from_millis(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))),
    );
    Err(LeaseError::new(LeaseErrorKind::Conflict, context))
}

/// A stream that shall be as it is wanted.
struct Making<'a> {
    protocol: &'a Protocol,
    config: &'a GovernorConfig,
    units: Option<Units>,
    stream: Stream,
    wanted: StoredConfig,
}

impl<'a> Making<'a> {
    fn prepare(
        protocol: &'a Protocol,
        connection: &Connection,
        Wanted { config, units, fresh }: Wanted<'a>,
        options: &PoolOptions,
    ) -> Result<Self, LeaseError> {
        (protocol.check)(config, &version(connection))?;
        let stream = Stream::new(connection, (protocol.stream)(&config.name), options.request_timeout);
        let mut wanted = (protocol.fresh)(config, seed(connection), &incarnation());
        if let Some(units) = units {
            units.write(&mut wanted);
        }
        if fresh {
            wanted.set_fresh();
        }
        Ok(Self { protocol, config, units, stream, wanted })
    }

    /// In what the stream is not as the configuration says.
    fn differences(&self, stored: &StoredConfig) -> Differences {
        let mut named = self.protocol.essential.to_vec();
        named.extend(self.config.subject.as_ref().map(|_| "subjects"));
        named.extend(self.config.replicas.map(|_| "num_replicas"));
        let mut terms = self.wanted.only(&named);
        if (self.protocol.ttl)(stored) != Some(self.config.ttl) {
            let mut ttl = StoredConfig::default();
            (self.protocol.set_ttl)(&mut ttl, self.config.ttl);
            terms.extend(ttl.only(&[self.protocol.ttl_field]));
        }
        // What slots are worth is nothing that changes in passing. Others' governors do not say what they are.
        if self.units.is_some() || GovernorKind::of(stored) == GovernorKind::Capacity {
            terms.extend(self.wanted.only_metadata(&[KIND, TOTAL, FACTOR]));
        }
        stored.differences(&terms)
    }

    async fn create(&self) -> Result<StreamInfo, LeaseError> {
        if let Some(info) = self.stream.find().await? {
            return self.same(info);
        }
        match self.stream.create(&self.wanted).await {
            Ok(info) => self.check_kept(info).await,
            // Somebody else was quicker; or our own first try was, and its answer got lost.
            Err(error) if matches!(error.kind(), LeaseErrorKind::Conflict | LeaseErrorKind::Unknown) => {
                match self.stream.find().await? {
                    Some(info) => self.same(info),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn ensure(&self) -> Result<(StreamInfo, bool), LeaseError> {
        let Some(info) = self.stream.find().await? else {
            let info = self.create().await?;
            let created = info.did_create;
            return Ok((info, created));
        };
        let differences = self.differences(&info.config);
        let fixed = differences.without(self.protocol.changeable);
        if !fixed.is_empty() {
            return Err(self.conflict(&fixed));
        }
        if differences.is_empty() {
            return Ok((info, false));
        }
        if (self.protocol.ttl)(&info.config) != Some(self.config.ttl) {
            keeps_held(self.protocol, &info, self.config.ttl)?;
        }
        if let Some(units) = self.units {
            units.keeps_held(&info, Force::No)?;
        }
        let held = info.state.messages;
        let Some(after) = self.stream.change(|stored| self.apply(stored)).await? else {
            return Ok((info, false));
        };
        if after.state.messages < held {
            // No server that we know does this any more when the limit is lowered; old ones did.
            tracing::warn!(
                stream = &**self.stream.name(),
                before = held,
                after = after.state.messages,
                "fewer leases after the update: released, expired, or dropped by the server"
            );
        }
        Ok((after, true))
    }

    /// Only what differs: the rest of the stored configuration stays as it is.
    fn apply(&self, stored: &mut StoredConfig) {
        if stored.limit() != Some(self.config.limit) {
            stored.set_limit(self.config.limit);
        }
        if (self.protocol.ttl)(stored) != Some(self.config.ttl) {
            (self.protocol.set_ttl)(stored, self.config.ttl);
        }
        if let Some(replicas) = self.config.replicas {
            stored.set_replicas(replicas);
        }
        if let Some(units) = self.units {
            units.write(stored);
        }
    }

    fn same(&self, info: StreamInfo) -> Result<StreamInfo, LeaseError> {
        let differences = self.differences(&info.config);
        if differences.is_empty() { Ok(info) } else { Err(self.conflict(&differences)) }
    }

    fn conflict(&self, differences: &Differences) -> LeaseError {
        let context =
            format!("stream {} exists with another configuration: {differences}", self.stream.name());
        LeaseError::new(LeaseErrorKind::Conflict, context)
    }

    /// An older server drops what it does not know without a word.
    async fn check_kept(&self, info: StreamInfo) -> Result<StreamInfo, LeaseError> {
        // Without atomic batches a native governor grants one slot at a time.
        let dropped = info.config.differences(&self.wanted).without(&["allow_atomic"]);
        if dropped.is_empty() {
            return Ok(info);
        }
        if info.did_create {
            // It is ours, new and of no use.
            let _ = self.stream.delete().await;
        }
        let context = format!(
            "stream {} cannot be made by nats-server {}: {dropped}; a later version is needed",
            self.stream.name(),
            version(self.stream.connection())
        );
        Err(LeaseError::new(LeaseErrorKind::Unsupported, context))
    }
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
