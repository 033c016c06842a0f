use std::fmt;

use bytes::Bytes;
use sluicegate_nats::async_nats::header::{HeaderMap, HeaderName, HeaderValue};

use super::{PubAck, PubReceipt};
use crate::{Channel, Client, ErrorKind, Guid, PublishError, StreamError};

/// A message that is being put together, from [`Client::message`].
#[must_use = "a message goes out with `send` or `start`"]
pub struct OutgoingMessage<'a> {
    client: &'a Client,
    channel: Result<Channel, StreamError>,
    payload: Bytes,
    guid: Option<Result<Guid, StreamError>>,
    reply: Option<String>,
    headers: Option<HeaderMap>,
    /// What cannot be sent, the first of it.
    wrong: Option<StreamError>,
}

/// What goes to a back end.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) channel: Channel,
    pub(crate) payload: Bytes,
    pub(crate) guid: Guid,
    pub(crate) reply: Option<String>,
    pub(crate) headers: Option<HeaderMap>,
}

impl<'a> OutgoingMessage<'a> {
    pub(crate) fn new(client: &'a Client, channel: Result<Channel, StreamError>) -> Self {
        let payload = Bytes::new();
        Self { client, channel, payload, guid: None, reply: None, headers: None, wrong: None }
    }

    /// The payload. Default: empty.
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The id of this publish. Default: one of our own. Where the back end deduplicates, a second publish with the
    /// same id stores nothing and tells where the first one is.
    pub fn guid<G>(mut self, guid: G) -> Self
    where
        G: TryInto<Guid>,
        G::Error: Into<StreamError>,
    {
        self.guid = Some(guid.try_into().map_err(Into::into));
        self
    }

    /// A subject at which the publisher would like to be answered.
    pub fn reply(mut self, reply: impl Into<String>) -> Self {
        let reply = reply.into();
        match reply.parse::<HeaderValue>() {
            Ok(_) => self.reply = Some(reply),
            Err(error) => self.refuse(ErrorKind::InvalidName, format!("reply {reply:?}: {error}")),
        }
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            (Ok(name), Ok(value)) => self.headers.get_or_insert_default().append(name, value),
            (Err(error), _) => self.refuse(ErrorKind::InvalidName, format!("header {name:?}: {error}")),
            (_, Err(error)) => {
                self.refuse(ErrorKind::Invalid, format!("value {value:?} of header {name:?}: {error}"));
            }
        }
        self
    }

    fn refuse(&mut self, kind: ErrorKind, context: String) {
        self.wrong.get_or_insert_with(|| StreamError::new(kind, context));
    }

    /// Publishes and waits for the acknowledgement.
    ///
    /// # Errors
    /// Says whether the message may be stored all the same ([`PublishError::outcome`]).
    ///
    /// # Cancel safety
    /// Dropped while it waits for room, nothing was published; later, the publish goes on without its caller.
    pub async fn send(self) -> Result<PubReceipt, PublishError> {
        self.start().await?.await
    }

    /// Publishes, waiting for room in the window only.
    ///
    /// # Errors
    /// Names and sizes that are refused before sending; no stream for the channel.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn start(self) -> Result<PubAck, PublishError> {
        let client = self.client;
        client.publish_outgoing(self.finish()?, true).await
    }

    /// Publishes if there is room in the window.
    ///
    /// # Errors
    /// `WindowFull`, and as [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn try_start(self) -> Result<PubAck, PublishError> {
        let client = self.client;
        client.publish_outgoing(self.finish()?, false).await
    }

    fn finish(self) -> Result<Outgoing, PublishError> {
        let own = || self.client.next_guid();
        let guid = match self.guid {
            None => own(),
            Some(Ok(guid)) => guid,
            Some(Err(error)) => return Err(PublishError::not_done(own(), error)),
        };
        if let Some(error) = self.wrong {
            return Err(PublishError::not_done(guid, error));
        }
        match self.channel {
            Ok(channel) => {
                let (payload, reply, headers) = (self.payload, self.reply, self.headers);
                Ok(Outgoing { channel, payload, guid, reply, headers })
            }
            Err(error) => Err(PublishError::not_done(guid, error)),
        }
    }
}

impl fmt::Debug for OutgoingMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingMessage")
            .field("channel", &self.channel)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}
