use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::human;

use crate::{Channel, ErrorKind, StreamError};

/// How channels become streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct JetStreamConfig {
    /// What the names of our own streams begin with. Default: the cluster.
    pub stream_prefix: Option<String>,
    /// What the subjects of our own streams begin with. Default: the cluster and a dot.
    pub subject_prefix: Option<String>,
    /// Whether a channel's own stream is made when it is missing. Default: it is.
    pub auto_create: bool,
    /// How many messages an own stream keeps; the oldest go first. Default 1,000,000.
    pub max_messages: NonZeroU64,
    /// How many bytes an own stream keeps. Default 1,024,000,000.
    pub max_bytes: NonZeroU64,
    /// Where an own stream is kept. Default: in files.
    pub storage: Storage,
    /// How many servers keep an own stream. Default 1, which guards against nothing.
    pub replicas: NonZeroU8,
    /// For how long an own stream remembers guids. Default 2 min.
    #[serde(with = "human")]
    pub duplicate_window: Duration,
    /// Channels that are something else than a stream of our own.
    pub channels: BTreeMap<String, StreamMap>,
}

/// Where a stream is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// In files. Survives a restart of the server; a power cut only as far as the server's `sync_interval` says.
    #[default]
    File,
    /// In memory.
    Memory,
}

/// What a channel is on JetStream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum StreamMap {
    /// A stream of its own, named and configured by [`JetStreamConfig`].
    #[default]
    Own,
    /// A stream that somebody else made: used as it is, never made or changed. Its sequence numbers may have gaps.
    Existing {
        /// Its name.
        stream: String,
        /// Where to publish, and what to read of it.
        subject: String,
        /// A consumer that somebody else made, with pull delivery and explicit acknowledgement. Every subscription
        /// of the channel reads from it, whatever queue, durable and start it names. `None`: consumers are made as
        /// for an own stream.
        consumer: Option<String>,
    },
}

impl StreamMap {
    /// That stream, publishing to and reading that subject, with consumers of our own.
    pub fn existing(stream: impl Into<String>, subject: impl Into<String>) -> Self {
        Self::Existing { stream: stream.into(), subject: subject.into(), consumer: None }
    }

    /// That stream and that consumer, both used as they are.
    pub fn bound(stream: impl Into<String>, subject: impl Into<String>, consumer: impl Into<String>) -> Self {
        Self::Existing { stream: stream.into(), subject: subject.into(), consumer: Some(consumer.into()) }
    }
}

impl Default for JetStreamConfig {
    fn default() -> Self {
        Self {
            stream_prefix: None,
            subject_prefix: None,
            auto_create: true,
            max_messages: NonZeroU64::MIN.saturating_add(999_999),
            max_bytes: NonZeroU64::MIN.saturating_add(1_023_999_999),
            storage: Storage::File,
            replicas: NonZeroU8::MIN,
            duplicate_window: Duration::from_secs(120),
            channels: BTreeMap::new(),
        }
    }
}

impl JetStreamConfig {
    /// The same, with this channel being that.
    #[must_use]
    pub fn map(mut self, channel: impl Into<String>, map: StreamMap) -> Self {
        self.channels.insert(channel.into(), map);
        self
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `Invalid`, naming the field; `InvalidName`.
    pub fn validate(&self) -> Result<(), StreamError> {
        let invalid = |context: String| Err(StreamError::new(ErrorKind::Invalid, context));
        if self.duplicate_window < Duration::from_millis(100) {
            return invalid("duplicate-window is below 100ms, which the server refuses".to_owned());
        }
        if self.subject_prefix.as_deref().is_some_and(|prefix| !prefix.is_empty() && !prefix.ends_with('.')) {
            return invalid("subject-prefix must end with a dot, or be empty".to_owned());
        }
        for (channel, map) in &self.channels {
            Channel::new(channel)?;
            if let StreamMap::Existing { stream, subject, consumer } = map {
                let names = [Some(stream), consumer.as_ref()];
                let bad =
                    |name: &String| name.is_empty() || name.contains(['.', '*', '>', '/', '\\', ' ', '\t']);
                if let Some(name) = names.into_iter().flatten().find(|name| bad(name)) {
                    return invalid(format!(
                        "channels: {channel:?} names {name:?}, which is no stream or consumer"
                    ));
                }
                if subject.is_empty() || subject.contains(char::is_whitespace) {
                    return invalid(format!("channels: {channel:?} has no subject"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_errors_name_the_field() {
        assert!(JetStreamConfig::default().validate().is_ok());
        let wrong = JetStreamConfig { subject_prefix: Some("orders".into()), ..Default::default() };
        assert!(wrong.validate().unwrap_err().to_string().contains("subject-prefix"));
        let wrong = JetStreamConfig::default().map("orders", StreamMap::existing("OR.DERS", "orders"));
        assert!(wrong.validate().unwrap_err().to_string().contains("OR.DERS"));
        let wrong = JetStreamConfig::default().map("a..b", StreamMap::Own);
        assert_eq!(wrong.validate().unwrap_err().kind(), ErrorKind::InvalidName);
    }
}
