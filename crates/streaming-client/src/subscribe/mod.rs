//! Subscribing: the builder, the stream of messages, settling, handlers, drain.

mod builder;
mod core;
mod failure;
mod handler;
mod settle;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use sluicegate_core::later;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::ReusableBoxFuture;

pub use self::builder::SubscriptionBuilder;
pub(crate) use self::builder::Wanted;
pub(crate) use self::core::SubscriptionCore;
pub use self::core::SubscriptionStats;
pub use self::failure::Failure;
pub(crate) use self::settle::{Settle, Settlement};
use crate::{AckMode, Channel, Client, Message, PublishCounts};

/// What draining achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Messages in hand that were acknowledged meanwhile.
    pub handled: u64,
    /// Messages that had been delivered to this process and not yet to a handler, and went back.
    pub returned: u64,
    /// Messages still in hand when the deadline came. They come again after their ack wait.
    pub left: u64,
    /// How the outstanding publishes ended; only for a whole client.
    pub publishes: PublishCounts,
    /// The deadline came first.
    pub timed_out: bool,
}

impl DrainReport {
    pub(crate) fn add(&mut self, other: &Self) {
        self.handled += other.handled;
        self.returned += other.returned;
        self.left += other.left;
        self.timed_out |= other.timed_out;
    }
}

/// The messages of a channel, as a stream or through handlers.
///
/// Dropping it stops the delivery as if the process had died: messages in hand, and those that had arrived and were
/// not asked for, come again after their ack wait. [`drain`](Self::drain) and [`close`](Self::close) hand them back
/// at once.
pub struct Subscription {
    core: Arc<SubscriptionCore>,
    mode: AckMode,
    /// Keeps the client's background tasks alive.
    _client: Client,
    /// In automatic mode: what was handed out last.
    previous: Option<Arc<Settlement>>,
    acking: Option<ReusableBoxFuture<'static, ()>>,
    is_acking: bool,
}

/// Observes and ends a [`Subscription`] that is busy elsewhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SubscriptionHandle(Arc<SubscriptionCore>);

impl Subscription {
    pub(crate) fn new(core: Arc<SubscriptionCore>, mode: AckMode, client: Client) -> Self {
        Self { core, mode, _client: client, previous: None, acking: None, is_acking: false }
    }

    /// The channel.
    pub fn channel(&self) -> &Channel {
        self.core.channel()
    }

    /// The name of the position on the server.
    pub fn consumer(&self) -> &str {
        self.core.consumer()
    }

    /// A handle with which others observe and end it.
    pub fn handle(&self) -> SubscriptionHandle {
        SubscriptionHandle(Arc::clone(&self.core))
    }

    /// What it has done so far.
    pub fn stats(&self) -> SubscriptionStats {
        self.core.stats()
    }

    /// The next message; `None` once it has been drained or closed.
    ///
    /// In automatic mode this acknowledges the message that was handed out before, unless that one was settled.
    ///
    /// # Cancel safety
    /// Safe: no message is lost.
    pub async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Runs `handler` on one message after the other; see [`for_each_concurrent`](Self::for_each_concurrent).
    pub async fn for_each<H, F>(self, handler: H) -> SubscriptionStats
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.for_each_concurrent(1, handler).await
    }

    /// Runs `handler` on each message, up to `limit` at a time (0 counts as 1), each in a task of its own, until the
    /// subscription is ended by its [`handle`](Self::handle) or its client, and all handlers have finished.
    ///
    /// `Ok` acknowledges (not in manual mode), a [`Failure`] hands back or rejects, a panic hands back; a message
    /// that the handler settled itself is left alone. While a handler runs, its message is kept from coming again,
    /// for up to ten ack waits.
    ///
    /// # Cancel safety
    /// Dropping it aborts the handlers and drops the subscription; their messages come again after the ack wait.
    pub async fn for_each_concurrent<H, F>(self, limit: usize, handler: H) -> SubscriptionStats
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        handler::run(&self.core, self.mode, limit, handler).await
    }

    /// Takes no more messages, hands back what had arrived unseen (in ascending order), waits until the messages in
    /// hand are settled, and leaves; all within `deadline`. The position stays.
    ///
    /// # Cancel safety
    /// Dropping it leaves at once, as dropping the subscription does.
    pub async fn drain(mut self, deadline: Duration) -> DrainReport {
        let until = later(Instant::now(), deadline);
        // What did not go out in time is still in hand, and reported as left.
        let _ = timeout_at(until, self.settle_previous()).await;
        self.core.drain(until).await
    }

    /// Takes no more messages, hands back what had arrived unseen, and leaves. The position stays; messages in hand
    /// may still be settled, or come again after their ack wait.
    ///
    /// # Cancel safety
    /// As [`drain`](Self::drain).
    pub async fn close(mut self) {
        self.settle_previous().await;
        self.core.close(false).await;
    }

    /// As [`close`](Self::close), and the position is forgotten, for all members of its group.
    ///
    /// # Cancel safety
    /// As [`drain`](Self::drain); the position may stay.
    pub async fn unsubscribe(mut self) {
        self.settle_previous().await;
        self.core.close(true).await;
    }

    /// Acknowledges what was handed out last, or goes on with that where a dropped `next` left off.
    async fn settle_previous(&mut self) {
        std::future::poll_fn(|cx| self.poll_acking(cx)).await;
    }

    fn poll_acking(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(previous) = self.previous.take()
            && !previous.is_settled()
        {
            match &mut self.acking {
                Some(acking) => acking.set(settle(previous)),
                None => self.acking = Some(ReusableBoxFuture::new(settle(previous))),
            }
            self.is_acking = true;
        }
        if self.is_acking
            && let Some(acking) = &mut self.acking
        {
            ready!(acking.poll(cx));
            self.is_acking = false;
        }
        Poll::Ready(())
    }
}

async fn settle(previous: Arc<Settlement>) {
    if previous.is_settled() {
        return;
    }
    if let Err(error) = previous.settle(Settle::Ack).await {
        let core = previous.core();
        core.events().emit(crate::StreamEvent::SettleFailed {
            channel: core.channel().clone(),
            sequence: previous.sequence(),
            kind: error.kind(),
        });
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        ready!(self.poll_acking(cx));
        let next = ready!(self.core.poll_next(cx));
        if self.mode == AckMode::Auto {
            self.previous = next.as_ref().map(|message| Arc::clone(message.settlement()));
        }
        Poll::Ready(next)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.core.abandon();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl SubscriptionHandle {
    /// The channel.
    pub fn channel(&self) -> &Channel {
        self.0.channel()
    }

    /// The name of the position on the server.
    pub fn consumer(&self) -> &str {
        self.0.consumer()
    }

    /// It takes messages; neither drained, nor closed, nor dropped.
    pub fn is_subscribed(&self) -> bool {
        self.0.is_live()
    }

    /// What it has done so far.
    pub fn stats(&self) -> SubscriptionStats {
        self.0.stats()
    }

    /// As [`Subscription::drain`]; the loop that reads the subscription ends. Several may ask: all get the report of
    /// the first.
    ///
    /// # Cancel safety
    /// As [`Subscription::drain`].
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        self.0.drain(later(Instant::now(), deadline)).await
    }

    /// As [`Subscription::close`].
    ///
    /// # Cancel safety
    /// As [`Subscription::drain`].
    pub async fn close(&self) {
        self.0.close(false).await;
    }
}
