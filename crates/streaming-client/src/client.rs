use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use sluicegate_core::later;
use tokio::time::{Instant, timeout_at};

use crate::backend::Session;
use crate::publish::{Outcomes, Outgoing, Window};
use crate::subscribe::{SubscriptionCore, Wanted};
use crate::{
    Capabilities, Channel, ClientBuilder, ClientId, ClientState, Cluster, DrainReport, ErrorKind, Guid,
    OutgoingMessage, PubAck, PubReceipt, PublishConfig, PublishCounts, PublishError, StreamError,
    StreamEvent, SubscriptionBuilder,
};

/// A client of a streaming server. Cheap to clone; all clones are one client.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    id: ClientId,
    session: Session,
    window: Arc<Window>,
    outcomes: Arc<Outcomes>,
    guids: AtomicU64,
    closed: AtomicBool,
    subscriptions: Mutex<Vec<Weak<SubscriptionCore>>>,
}

impl Client {
    /// A client of that cluster under that id.
    pub fn builder<C>(cluster: C, id: ClientId) -> ClientBuilder
    where
        C: TryInto<Cluster>,
        C::Error: Into<StreamError>,
    {
        ClientBuilder::new(cluster.try_into().map_err(Into::into), id)
    }

    pub(crate) fn assemble(
        cluster: Cluster,
        id: ClientId,
        session: Session,
        publish: &PublishConfig,
        outcomes: Arc<Outcomes>,
    ) -> Self {
        Self(Arc::new(Inner {
            cluster,
            id,
            session,
            window: Window::new(publish),
            outcomes,
            guids: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            subscriptions: Mutex::default(),
        }))
    }

    /// Who it is.
    pub fn id(&self) -> &ClientId {
        &self.0.id
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    /// What the back end can do.
    pub fn capabilities(&self) -> Capabilities {
        self.0.session.capabilities()
    }

    /// What the client is doing now.
    pub fn state(&self) -> ClientState {
        if self.is_closed() { ClientState::Closed } else { self.0.session.state() }
    }

    /// How many publishes wait for their acknowledgement.
    pub fn publishes_outstanding(&self) -> usize {
        self.0.window.outstanding()
    }

    /// How publishes have ended so far.
    pub fn publish_counts(&self) -> PublishCounts {
        self.0.outcomes.counts()
    }

    /// Publishes and waits for the acknowledgement.
    ///
    /// # Errors
    /// Says whether the message may be stored all the same ([`PublishError::outcome`]).
    ///
    /// # Cancel safety
    /// Dropped while it waits for room, nothing was published; later, the publish goes on without its caller.
    pub async fn publish<C>(&self, channel: C, payload: impl Into<Bytes>) -> Result<PubReceipt, PublishError>
    where
        C: TryInto<Channel>,
        C::Error: Into<StreamError>,
    {
        self.message(channel).payload(payload).send().await
    }

    /// Publishes if there is room in the window, and does not wait for the acknowledgement.
    ///
    /// # Errors
    /// `WindowFull`; names and sizes that are refused before sending.
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish).
    pub async fn try_publish<C>(&self, channel: C, payload: impl Into<Bytes>) -> Result<PubAck, PublishError>
    where
        C: TryInto<Channel>,
        C::Error: Into<StreamError>,
    {
        self.message(channel).payload(payload).try_start().await
    }

    /// A message with a guid, a reply subject, headers; or whose acknowledgement is awaited later.
    pub fn message<C>(&self, channel: C) -> OutgoingMessage<'_>
    where
        C: TryInto<Channel>,
        C::Error: Into<StreamError>,
    {
        OutgoingMessage::new(self, channel.try_into().map_err(Into::into))
    }

    /// Waits until every publish that was started before has ended, one way or another. Those that are started
    /// meanwhile wait for it.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn flush_publishes(&self) {
        self.0.window.emptied().await;
    }

    /// Subscribes to a channel.
    pub fn subscribe<C>(&self, channel: C) -> SubscriptionBuilder<'_>
    where
        C: TryInto<Channel>,
        C::Error: Into<StreamError>,
    {
        SubscriptionBuilder::new(self, channel.try_into().map_err(Into::into))
    }

    /// Drains every subscription, awaits every outstanding publish, and closes the client, all within `deadline`.
    /// From now on new publishes and subscriptions are refused.
    ///
    /// # Cancel safety
    /// Dropping it leaves subscriptions as if they had been dropped; the client stays closed for new work.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        let until = later(Instant::now(), deadline);
        let mut report = DrainReport::default();
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return report;
        }
        let events = self.0.outcomes.events();
        events.emit(StreamEvent::Draining { channel: None });
        let before = self.0.outcomes.counts();
        let live = std::mem::take(&mut *self.subscriptions());
        let live: Vec<_> = live.iter().filter_map(Weak::upgrade).collect();
        for drained in join_all(live.iter().map(|core| core.drain(until))).await {
            report.add(&drained);
        }
        report.timed_out |= timeout_at(until, self.flush_publishes()).await.is_err();
        report.publishes = self.0.outcomes.counts().since(before);
        self.0.session.close();
        events.emit(StreamEvent::Closed { channel: None, report: Some(report) });
        report
    }

    pub(crate) fn next_guid(&self) -> Guid {
        Guid::made(self.0.session.guid_prefix(), self.0.guids.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn publish_outgoing(
        &self,
        outgoing: Outgoing,
        wait: bool,
    ) -> Result<PubAck, PublishError> {
        if self.is_closed() {
            return Err(PublishError::not_done(outgoing.guid, self.closed()));
        }
        let bytes = outgoing.payload.len();
        let room = match self.0.window.try_room(bytes) {
            Some(room) => room,
            None => {
                let full = StreamEvent::WindowFull { channel: outgoing.channel.clone() };
                self.0.outcomes.events().emit(full);
                if !wait {
                    let context = format!("{} publishes are outstanding", self.publishes_outstanding());
                    let error = StreamError::new(ErrorKind::WindowFull, context);
                    return Err(PublishError::not_done(outgoing.guid, error));
                }
                self.0.window.room(bytes).await
            }
        };
        self.0.session.publish(outgoing, room).await
    }

    pub(crate) async fn open_subscription(
        &self,
        wanted: Wanted,
    ) -> Result<Arc<SubscriptionCore>, StreamError> {
        if self.is_closed() {
            return Err(self.closed());
        }
        let channel = wanted.channel.clone();
        let (consumer, ack_wait, source) = self.0.session.subscribe(wanted).await?;
        let events = self.0.outcomes.events().clone();
        let core = SubscriptionCore::new(channel, consumer, ack_wait, events, source);
        {
            let mut subscriptions = self.subscriptions();
            subscriptions.retain(|core| core.strong_count() > 0);
            subscriptions.push(Arc::downgrade(&core));
        }
        if self.is_closed() {
            // Drained meanwhile, and possibly without this one.
            core.close(false).await;
            return Err(self.closed());
        }
        Ok(core)
    }

    fn subscriptions(&self) -> std::sync::MutexGuard<'_, Vec<Weak<SubscriptionCore>>> {
        self.0.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    fn closed(&self) -> StreamError {
        StreamError::new(ErrorKind::Closed, format!("client {:?} was drained", self.0.id))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.0.cluster)
            .field("id", &self.0.id)
            .field("state", &self.state())
            .field("publishes_outstanding", &self.publishes_outstanding())
            .finish_non_exhaustive()
    }
}
