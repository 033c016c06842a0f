use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;

use super::StoredConfig;
use super::message::{timestamp, timestamp_option};

/// The answer of `STREAM.INFO`, `STREAM.CREATE` and `STREAM.UPDATE`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: StoredConfig,
    #[serde(deserialize_with = "timestamp")]
    pub(crate) created: OffsetDateTime,
    #[serde(default)]
    pub(crate) state: StreamState,
    /// The server's clock as it answered.
    #[serde(default, deserialize_with = "timestamp_option")]
    ts: Option<OffsetDateTime>,
    #[serde(default)]
    pub(crate) did_create: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Messages by subject, if they were asked for.
    pub(crate) subjects: Option<BTreeMap<String, u64>>,
    /// When the first message was stored; the year 1 if there is none.
    #[serde(deserialize_with = "timestamp_option")]
    first_ts: Option<OffsetDateTime>,
    /// When the newest message was stored, gone or not; the year 1 if there never was one.
    #[serde(deserialize_with = "timestamp_option")]
    last_ts: Option<OffsetDateTime>,
}

impl StreamInfo {
    /// How long before the answer that was, by the server's clock alone: our own clock is not compared with it.
    pub(crate) fn since(&self, then: OffsetDateTime) -> Option<Duration> {
        let age = self.ts? - then;
        Some(age.try_into().unwrap_or(Duration::ZERO))
    }

    /// The server's clock as it answered.
    pub(crate) fn now(&self) -> Option<OffsetDateTime> {
        self.ts
    }

    /// When the newest message was stored, whether or not it is there still.
    pub(crate) fn last_active(&self) -> Option<OffsetDateTime> {
        self.state.last_ts.filter(|at| at.year() > 1)
    }

    /// The age of this life of the stream.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.since(self.created)
    }

    /// The age of the oldest message; none if there is no message.
    pub(crate) fn age_of_first(&self) -> Option<Duration> {
        if self.state.messages == 0 {
            return None;
        }
        self.since(self.state.first_ts?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = r#"{"type":"io.nats.jetstream.api.v1.stream_info_response","total":0,"offset":0,"limit":0,
        "config":{"name":"GOVERNOR_T","subjects":["$GOVERNOR.campaign.T"],"max_msgs":10,"max_age":60000000000},
        "created":"2026-11-22T00:49:00Z","state":{"messages":0,"bytes":0,"first_seq":0,
        "first_ts":"0001-01-01T00:00:00Z","last_seq":0,"last_ts":"0001-01-01T00:00:00Z","consumer_count":0},
        "cluster":{"leader":"N"},"ts":"2026-11-22T00:49:01.5Z"}"#;

    #[test]
    fn reads_a_captured_answer_of_an_empty_stream() {
        let info: StreamInfo = serde_json::from_str(EMPTY).unwrap();
        assert_eq!(info.age(), Some(Duration::from_millis(1500)));
        assert_eq!(info.age_of_first(), None);
        assert_eq!((info.state.messages, info.did_create), (0, false));
    }

    #[test]
    fn a_clock_that_went_back_is_no_negative_age() {
        let info: StreamInfo = serde_json::from_str(&EMPTY.replace("00:49:01.5Z", "00:48:00Z")).unwrap();
        assert_eq!(info.age(), Some(Duration::ZERO));
    }

    #[test]
    fn a_server_that_does_not_tell_its_time_leaves_ages_unknown() {
        let info: StreamInfo = serde_json::from_str(&EMPTY.replace("\"ts\"", "\"tz\"")).unwrap();
        assert_eq!(info.age(), None);
    }
}
