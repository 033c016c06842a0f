use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sluicegate_core::human;

use crate::{ErrorKind, StreamError};

/// How a client publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PublishConfig {
    /// How many publishes may wait for their acknowledgement at one time. Default 16,384.
    pub max_outstanding: NonZeroU32,
    /// How many bytes of payload they may hold together. Default 64 MiB. A larger payload goes alone.
    pub max_outstanding_bytes: NonZeroU32,
    /// How long a publish may take, counted from the moment it has room. Default 30 s.
    #[serde(with = "human")]
    pub ack_timeout: Duration,
    /// What a publish does while there is no connection. Default: wait.
    pub while_down: WhileDown,
    /// What is done about a publish without an answer. Default: resend where the back end deduplicates.
    pub on_unknown: OnUnknown,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self {
            max_outstanding: NonZeroU32::MIN.saturating_add(16_383),
            max_outstanding_bytes: NonZeroU32::MIN.saturating_add(64 * 1024 * 1024 - 1),
            ack_timeout: Duration::from_secs(30),
            while_down: WhileDown::Wait,
            on_unknown: OnUnknown::Auto,
        }
    }
}

impl PublishConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<(), StreamError> {
        if self.ack_timeout.is_zero() {
            return Err(StreamError::new(
                ErrorKind::Invalid,
                "ack-timeout is zero: no publish could succeed",
            ));
        }
        Ok(())
    }
}

/// What a publish does while there is no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhileDown {
    /// Waits, until its `ack_timeout` is over.
    #[default]
    Wait,
    /// Fails at once with `NotConnected`.
    Fail,
}

/// What is done about a publish that got no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// Send it again with the same guid where the back end deduplicates, report it as unknown elsewhere.
    #[default]
    Auto,
    /// Report it as unknown.
    Report,
}

/// Where a new position begins. A position that exists already goes on where it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the next message.
    #[default]
    New,
    /// With the last message there is.
    LastReceived,
    /// With the first message there is.
    First,
    /// With this sequence number; the first message if that is later, the next message if it lies in the future.
    Sequence(u64),
    /// With the first message that is not older than this, by the server's clock.
    Time(SystemTime),
    /// With the first message that is not older than this.
    Ago(Duration),
}

/// Who settles a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckMode {
    /// The library: after the handler returned `Ok`; for a raw stream when the next message is asked for.
    #[default]
    Auto,
    /// The user, by [`Message::ack`](crate::Message::ack) and its kin.
    Manual,
}

/// What the back end of a client can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Publishing twice with one guid stores one message, within the duplicate window.
    pub deduplicates: bool,
    /// `ack_confirmed` is told by the server that the acknowledgement arrived.
    pub confirms_acks: bool,
    /// A durable without a queue has at most one live subscriber.
    pub exclusive_durables: bool,
    /// A client id has at most one live client.
    pub exclusive_client_ids: bool,
    /// A durable that comes back gets its unsettled messages at once, and not only after their ack wait.
    pub resumes_at_once: bool,
}

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientState {
    /// No connection just now; the client keeps trying.
    Disconnected,
    /// Usable.
    Registered,
    /// Drained or closed.
    Closed,
}
