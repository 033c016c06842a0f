use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::{Failure, Subscription, SubscriptionStats};
use crate::{AckMode, Channel, Client, DurableName, ErrorKind, Message, Queue, Start, StreamError};

/// A subscription that is being put together, from [`Client::subscribe`].
#[must_use = "a subscription begins with `open` or `for_each`"]
pub struct SubscriptionBuilder<'a> {
    client: &'a Client,
    channel: Result<Channel, StreamError>,
    queue: Option<Result<Queue, StreamError>>,
    durable: Option<Result<DurableName, StreamError>>,
    start: Start,
    max_in_flight: u32,
    ack_wait: Duration,
    mode: AckMode,
}

/// What a back end is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) channel: Channel,
    pub(crate) queue: Option<Queue>,
    pub(crate) durable: Option<DurableName>,
    pub(crate) start: Start,
    pub(crate) max_in_flight: u32,
    pub(crate) ack_wait: Duration,
}

impl<'a> SubscriptionBuilder<'a> {
    pub(crate) fn new(client: &'a Client, channel: Result<Channel, StreamError>) -> Self {
        Self {
            client,
            channel,
            queue: None,
            durable: None,
            start: Start::New,
            max_in_flight: 1_024,
            ack_wait: Duration::from_secs(30),
            mode: AckMode::Auto,
        }
    }

    /// Shares the messages with the other members of this group: each goes to one of them.
    pub fn queue<Q>(mut self, queue: Q) -> Self
    where
        Q: TryInto<Queue>,
        Q::Error: Into<StreamError>,
    {
        self.queue = Some(queue.try_into().map_err(Into::into));
        self
    }

    /// Keeps the position under this name when nobody is subscribed. Without a queue the position belongs to the
    /// client id, which then must be the same after a restart.
    pub fn durable<D>(mut self, durable: D) -> Self
    where
        D: TryInto<DurableName>,
        D::Error: Into<StreamError>,
    {
        self.durable = Some(durable.try_into().map_err(Into::into));
        self
    }

    /// Where a new position begins. Default: with the next message.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How many unsettled messages this subscription may have. Default 1,024.
    pub fn max_in_flight(mut self, max_in_flight: u32) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }

    /// After how long an unsettled message comes again. Default 30 s.
    pub fn ack_wait(mut self, ack_wait: Duration) -> Self {
        self.ack_wait = ack_wait;
        self
    }

    /// Who settles. Default: the library.
    pub fn ack(mut self, mode: AckMode) -> Self {
        self.mode = mode;
        self
    }

    /// Subscribes.
    ///
    /// # Errors
    /// `InvalidName`, `Invalid`; `DurableInUse`; `NotFound`, `Conflict`, `NotPermitted`, naming the stream, consumer
    /// or subject; `NotConnected` and `Timeout` after 15 s of trying.
    ///
    /// # Cancel safety
    /// A position may have been made.
    pub async fn open(self) -> Result<Subscription, StreamError> {
        let (client, mode) = (self.client, self.mode);
        let core = client.open_subscription(self.finish()?).await?;
        Ok(Subscription::new(core, mode, client.clone()))
    }

    /// [`open`](Self::open), then [`Subscription::for_each`].
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    ///
    /// # Cancel safety
    /// As [`Subscription::for_each_concurrent`].
    pub async fn for_each<H, F>(self, handler: H) -> Result<SubscriptionStats, StreamError>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Ok(self.open().await?.for_each(handler).await)
    }

    /// [`open`](Self::open), then [`Subscription::for_each_concurrent`].
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    ///
    /// # Cancel safety
    /// As [`Subscription::for_each_concurrent`].
    pub async fn for_each_concurrent<H, F>(
        self,
        limit: usize,
        handler: H,
    ) -> Result<SubscriptionStats, StreamError>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Ok(self.open().await?.for_each_concurrent(limit, handler).await)
    }

    fn finish(self) -> Result<Wanted, StreamError> {
        let invalid = |context| Err(StreamError::new(ErrorKind::Invalid, context));
        if self.max_in_flight == 0 {
            return invalid("max_in_flight is 0: nothing would ever be delivered");
        }
        if self.ack_wait < Duration::from_millis(1) {
            return invalid("ack_wait is below 1 ms: every message would come again at once");
        }
        Ok(Wanted {
            channel: self.channel?,
            queue: self.queue.transpose()?,
            durable: self.durable.transpose()?,
            start: self.start,
            max_in_flight: self.max_in_flight,
            ack_wait: self.ack_wait,
        })
    }
}

impl fmt::Debug for SubscriptionBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionBuilder")
            .field("channel", &self.channel)
            .field("queue", &self.queue)
            .field("durable", &self.durable)
            .field("start", &self.start)
            .field("max_in_flight", &self.max_in_flight)
            .field("ack_wait", &self.ack_wait)
            .field("ack", &self.mode)
            .finish_non_exhaustive()
    }
}
