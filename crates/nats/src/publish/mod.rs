mod readback;
mod resolve;

pub(crate) use self::resolve::epoch;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
    NATS_MESSAGE_TTL,
};
use bytes::Bytes;

/// A message for a stream, and how hard to try.
#[derive(Clone, Debug)]
#[must_use]
pub struct Publish {
    subject: String,
    payload: Bytes,
    headers: HeaderMap,
    msg_id: Option<String>,
    stream: Option<String>,
    last_sequence: Option<u64>,
    last_subject_sequence: Option<u64>,
    ttl: Option<Duration>,
    timeout: Duration,
    resolve_for: Duration,
    patience: Duration,
}

impl Publish {
    /// That payload to that subject.
    pub fn new(subject: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            subject: subject.into(),
            payload: payload.into(),
            headers: HeaderMap::new(),
            msg_id: None,
            stream: None,
            last_sequence: None,
            last_subject_sequence: None,
            ttl: None,
            timeout: Duration::from_secs(2),
            resolve_for: Duration::from_secs(15),
            patience: Duration::from_secs(15),
        }
    }

    /// The message id (`Nats-Msg-Id`) by which the stream knows a repetition. Default: that of the headers, else a
    /// fresh one.
    pub fn msg_id(mut self, id: impl Into<String>) -> Self {
        self.msg_id = Some(id.into());
        self
    }

    /// Headers of the message; those that other methods here stand for are replaced by them.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// The message is refused (`Server`, 10060) if another stream listens on the subject.
    pub fn expect_stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// The message is refused (see [`code::is_cas_conflict`](crate::code::is_cas_conflict)) unless the stream's last
    /// sequence is this; 0 for an empty stream.
    pub fn expect_last_sequence(mut self, sequence: u64) -> Self {
        self.last_sequence = Some(sequence);
        self
    }

    /// The message is refused (see [`code::is_cas_conflict`](crate::code::is_cas_conflict)) unless the last sequence
    /// of its subject is this; 0 for a subject without messages.
    pub fn expect_last_subject_sequence(mut self, sequence: u64) -> Self {
        self.last_subject_sequence = Some(sequence);
        self
    }

    /// The message expires after that time: whole seconds, rounded up, at least one. Needs nats-server 2.11 and a
    /// stream that allows it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Longest wait for one try: connection, hand-over and answer. Default 2 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long, from the first try on, an unknown outcome is resolved by trying again with the same id, and a lost
    /// connection is waited for. Default 15 s; keep it well below the stream's duplicate window (2 min by default).
    pub fn resolve_for(mut self, resolve_for: Duration) -> Self {
        self.resolve_for = resolve_for;
        self
    }

    /// How long, from the first try on, "no responders" is taken for an election. Default 15 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The id and all headers; the name of the header that cannot be one as error.
    fn finish(&self) -> Result<(String, HeaderMap), &'static str> {
        let mut headers = self.headers.clone();
        let id = match &self.msg_id {
            Some(id) => id.clone(),
            None => match headers.get(NATS_MESSAGE_ID) {
                Some(id) => id.to_string(),
                None => nuid::next().to_string(),
            },
        };
        let ttl = self.ttl.map(|ttl| {
            let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
            format!("{}s", seconds.max(1))
        });
        for (name, value) in [
            (NATS_MESSAGE_ID, Some(id.clone())),
            (NATS_EXPECTED_STREAM, self.stream.clone()),
            (NATS_EXPECTED_LAST_SEQUENCE, self.last_sequence.map(|sequence| sequence.to_string())),
            (
                NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
                self.last_subject_sequence.map(|sequence| sequence.to_string()),
            ),
            (NATS_MESSAGE_TTL, ttl),
        ] {
            let Some(value) = value else { continue };
            // async-nats panics on line ends.
            if value.is_empty() || value.contains(['\r', '\n']) {
                return Err(if name == NATS_MESSAGE_ID { "message id" } else { "expected stream" });
            }
            headers.insert(name, value);
        }
        Ok((id, headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(publish: &Publish, name: &str) -> Option<String> {
        publish.finish().unwrap().1.get(name).map(ToString::to_string)
    }

    #[test]
    fn options_become_headers() {
        let publish = Publish::new("s", "x")
            .msg_id("id")
            .expect_stream("S")
            .expect_last_sequence(0)
            .expect_last_subject_sequence(7)
            .ttl(Duration::from_millis(1500));
        for (name, value) in [
            ("Nats-Msg-Id", "id"),
            ("Nats-Expected-Stream", "S"),
            ("Nats-Expected-Last-Sequence", "0"),
            ("Nats-Expected-Last-Subject-Sequence", "7"),
            ("Nats-TTL", "2s"),
        ] {
            assert_eq!(header(&publish, name).as_deref(), Some(value));
        }
    }

    #[test]
    fn ids_are_given_taken_from_the_headers_or_fresh() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "theirs");
        headers.insert("X", "y");
        let publish = Publish::new("s", "x").headers(headers);
        assert_eq!(publish.finish().unwrap().0, "theirs");
        assert_eq!(header(&publish, "X").as_deref(), Some("y"));
        assert_eq!(publish.msg_id("ours").finish().unwrap().0, "ours");
        let fresh = Publish::new("s", "x");
        assert_ne!(fresh.finish().unwrap().0, fresh.finish().unwrap().0);
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused() {
        assert_eq!(Publish::new("s", "x").msg_id("a\r\nb: c").finish().unwrap_err(), "message id");
        assert_eq!(Publish::new("s", "x").msg_id("").finish().unwrap_err(), "message id");
        assert_eq!(Publish::new("s", "x").expect_stream("a\nb").finish().unwrap_err(), "expected stream");
    }

    #[test]
    fn a_time_to_live_is_at_least_a_second() {
        assert_eq!(header(&Publish::new("s", "x").ttl(Duration::ZERO), "Nats-TTL").as_deref(), Some("1s"));
        assert!(header(&Publish::new("s", "x").ttl(Duration::MAX), "Nats-TTL").is_some());
    }
}
