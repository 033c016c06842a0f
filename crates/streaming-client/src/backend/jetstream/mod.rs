//! The same API on JetStream.

mod api;
mod config;
mod consumers;
mod link;
mod names;
mod progress;
mod publisher;
mod puller;
mod pulls;
mod slab;
mod slots;
mod streams;
mod ticket;

use std::sync::Arc;

use sluicegate_nats::Connection;
use tokio_util::sync::CancellationToken;

pub use self::config::{JetStreamConfig, Storage, StreamMap};
use self::link::Link;
use self::publisher::Publisher;
pub(crate) use self::puller::Puller;
use self::streams::Streams;
pub(crate) use self::ticket::Ticket;
use crate::publish::{Outcomes, Outgoing, PubAck, Room};
use crate::subscribe::Wanted;
use crate::{Capabilities, ClientId, ClientState, Cluster, PublishConfig, PublishError, StreamError};

/// The header that carries the publisher's reply subject, as the tools that copy from STAN know it.
pub(crate) const REPLY_HEADER: &str = "Nats-Streaming-Reply";

/// A client's end of JetStream. Its tasks end when it is closed or dropped.
#[derive(Debug)]
pub(crate) struct Session {
    client: ClientId,
    link: Arc<Link>,
    streams: Streams,
    publisher: Publisher,
    closed: CancellationToken,
}

impl Session {
    pub(crate) async fn register(
        cluster: &Cluster,
        client: ClientId,
        config: JetStreamConfig,
        publish: &PublishConfig,
        connection: Connection,
        outcomes: Arc<Outcomes>,
    ) -> Result<Self, StreamError> {
        config.validate()?;
        let closed = CancellationToken::new();
        let (link, watching) = Link::new(connection, outcomes.events().clone(), closed.clone());
        let (publisher, publishing) =
            Publisher::open(Arc::clone(&link), publish, outcomes, closed.clone()).await?;
        tokio::spawn(watching);
        tokio::spawn(publishing);
        Ok(Self { client, link, streams: Streams::new(cluster, config), publisher, closed })
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            deduplicates: true,
            confirms_acks: true,
            exclusive_durables: false,
            exclusive_client_ids: false,
            resumes_at_once: false,
        }
    }

    pub(crate) fn state(&self) -> ClientState {
        if self.link.is_up() { ClientState::Registered } else { ClientState::Disconnected }
    }

    pub(crate) fn guid_prefix(&self) -> &str {
        self.publisher.guid_prefix()
    }

    pub(crate) async fn publish(&self, outgoing: Outgoing, room: Room) -> Result<PubAck, PublishError> {
        let resolved = match self.streams.known(&outgoing.channel) {
            Some(resolved) => resolved,
            None => match self.streams.resolve(&self.link, &outgoing.channel).await {
                Ok(resolved) => resolved,
                Err(error) => return Err(self.publisher.refuse(outgoing.guid, error)),
            },
        };
        self.publisher.publish(outgoing, room, &resolved).await
    }

    pub(crate) async fn subscribe(&self, wanted: Wanted) -> Result<Puller, StreamError> {
        let resolved = self.streams.resolve(&self.link, &wanted.channel).await?;
        let position = consumers::ensure(&self.link, &self.client, &resolved, &wanted).await?;
        Puller::open(Arc::clone(&self.link), wanted.channel, position, wanted.max_in_flight).await
    }

    pub(crate) fn close(&self) {
        self.closed.cancel();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}
