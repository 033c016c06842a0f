use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::error::{ApiError, ApiErrorKind, Outcome, PublishError, PublishErrorKind, RequestErrorKind};
use crate::{Connection, PubAck};

/// A message for a stream, and how hard to try.
#[derive(Clone, Debug)]
#[must_use]
pub struct Publish {
    subject: String,
    payload: Bytes,
    headers: HeaderMap,
    msg_id: Option<String>,
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
            timeout: Duration::from_secs(2),
            resolve_for: Duration::from_secs(15),
            patience: Duration::from_secs(15),
        }
    }

    /// The message id (`Nats-Msg-Id`) by which the stream knows a repetition. Default: a fresh one.
    pub fn msg_id(mut self, id: impl Into<String>) -> Self {
        self.msg_id = Some(id.into());
        self
    }

    /// Headers of the message; those that this type sets win.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// The message is refused (`Server`, 10060) if another stream listens on the subject.
    pub fn expect_stream(mut self, stream: &str) -> Self {
        self.headers.insert(async_nats::header::NATS_EXPECTED_STREAM, stream);
        self
    }

    /// The message is refused (see [`code::is_cas_conflict`](crate::code::is_cas_conflict)) unless the stream's last
    /// sequence is this; 0 for an empty stream.
    pub fn expect_last_sequence(mut self, sequence: u64) -> Self {
        self.headers.insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, sequence.to_string().as_str());
        self
    }

    /// The message is refused (see [`code::is_cas_conflict`](crate::code::is_cas_conflict)) unless the last sequence
    /// of its subject is this; 0 for a subject without messages.
    pub fn expect_last_subject_sequence(mut self, sequence: u64) -> Self {
        self.headers
            .insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string().as_str());
        self
    }

    /// The message expires after that time (whole seconds, rounded up, at least one; nats-server 2.11 and a stream
    /// that allows it).
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let seconds = (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1);
        self.headers.insert("Nats-TTL", format!("{seconds}s").as_str());
        self
    }

    /// Longest wait for the answer to one try. Default 2 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long an unknown outcome is resolved by trying again with the same id. Default 15 s; keep it shorter than
    /// the stream's duplicate window.
    pub fn resolve_for(mut self, resolve_for: Duration) -> Self {
        self.resolve_for = resolve_for;
        self
    }

    /// How long "no responders" is taken for an election. Default 15 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Connection {
    /// Publishes to a stream and waits until the stream has the message.
    ///
    /// # Errors
    /// See [`PublishErrorKind`]; [`outcome`](PublishError::outcome) says whether the message may be in the stream.
    ///
    /// # Cancel safety
    /// Dropping it forgets the answer; the message may be stored. Give your own id to find out.
    pub async fn publish(&self, publish: Publish) -> Result<PubAck, PublishError> {
        let id = publish.msg_id.clone().unwrap_or_else(|| nuid::next().to_string());
        let mut headers = publish.headers.clone();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
        let answer = self
            .request(&publish.subject, Some(headers), publish.payload.clone(), publish.timeout)
            .await
            .map_err(ApiError::from)
            .and_then(|message| PubAck::parse(&message));
        answer.map_err(|error| {
            let outcome = if error.is_unknown() { Outcome::Unknown } else { Outcome::NotDone };
            let kind = match error.kind() {
                ApiErrorKind::Server { code, err_code } => PublishErrorKind::Server { code, err_code },
                ApiErrorKind::Malformed => PublishErrorKind::Malformed,
                ApiErrorKind::Request(kind) => match kind {
                    RequestErrorKind::NoResponders => PublishErrorKind::NoResponders,
                    RequestErrorKind::NotPermitted => PublishErrorKind::NotPermitted,
                    RequestErrorKind::NotConnected => PublishErrorKind::NotConnected,
                    RequestErrorKind::TooLarge => PublishErrorKind::TooLarge,
                    RequestErrorKind::Invalid => PublishErrorKind::Invalid,
                    RequestErrorKind::TimedOut | RequestErrorKind::Closed => PublishErrorKind::TimedOut,
                },
            };
            PublishError {
                kind,
                outcome,
                subject: publish.subject.clone(),
                msg_id: id.clone(),
                description: error.description().to_owned(),
                source: Some(error.into()),
            }
        })
    }
}
