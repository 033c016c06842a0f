use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::{DrainReport, Settle};
use crate::backend::Source;
use crate::event::Events;
use crate::{Channel, Message, StreamEvent};

/// What a subscription, its messages and its handles share.
pub(crate) struct SubscriptionCore {
    channel: Channel,
    consumer: String,
    ack_wait: Duration,
    events: Events,
    /// Taken by whoever ends the subscription.
    source: Mutex<Option<Source>>,
    waker: AtomicWaker,
    draining: AtomicBool,
    ended: watch::Sender<Option<DrainReport>>,
    hand: Hand,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    redelivered: AtomicU64,
    suppressed: AtomicU64,
    acked: AtomicU64,
    naked: AtomicU64,
    rejected: AtomicU64,
}

/// What a subscription has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Deliveries handed to the user.
    pub received: u64,
    /// How many of them were not the first of their message.
    pub redelivered: u64,
    /// Copies withheld because the message was settled here before.
    pub suppressed: u64,
    /// Deliveries acknowledged.
    pub acked: u64,
    /// Deliveries handed back to come again, by handlers.
    pub naked: u64,
    /// Deliveries rejected for good.
    pub rejected: u64,
    /// Deliveries with the user now, unsettled.
    pub in_hand: usize,
}

/// The messages that are with the user, unsettled.
#[derive(Debug, Default)]
pub(super) struct Hand {
    count: AtomicUsize,
    emptied: Notify,
}

impl Hand {
    fn take(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn give(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl SubscriptionCore {
    pub(crate) fn new(
        channel: Channel,
        consumer: String,
        ack_wait: Duration,
        events: Events,
        source: Source,
    ) -> Arc<Self> {
        events.emit(StreamEvent::Subscribed { channel: channel.clone(), consumer: consumer.clone() });
        Arc::new(Self {
            channel,
            consumer,
            ack_wait,
            events,
            source: Mutex::new(Some(source)),
            waker: AtomicWaker::new(),
            draining: AtomicBool::new(false),
            ended: watch::Sender::new(None),
            hand: Hand::default(),
            counters: Counters::default(),
        })
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.consumer
    }

    pub(crate) fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    pub(super) fn hand(&self) -> &Hand {
        &self.hand
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn is_live(&self) -> bool {
        self.source().is_some()
    }

    fn source(&self) -> MutexGuard<'_, Option<Source>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next delivery; `None` once the subscription has been ended.
    pub(super) fn poll_next(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.waker.register(cx.waker());
        let mut notes = Vec::new();
        let polled = match self.source().as_mut() {
            None => return Poll::Ready(None),
            Some(source) => source.poll_next(cx, &mut notes),
        };
        for note in notes {
            // Observers are called with no lock held.
            if matches!(note, StreamEvent::Suppressed { .. }) {
                self.counters.suppressed.fetch_add(1, Ordering::Relaxed);
            }
            self.events.emit(note);
        }
        let Poll::Ready((delivery, route)) = polled else { return Poll::Pending };
        self.hand.take();
        self.counters.received.fetch_add(1, Ordering::Relaxed);
        if delivery.redelivery_count > 0 {
            self.counters.redelivered.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(Some(Message::new(self, delivery, route)))
    }

    pub(super) fn settled(&self, how: &Settle<'_>) {
        let counter = match how {
            Settle::Ack | Settle::Confirmed => &self.counters.acked,
            Settle::Nak(_) => &self.counters.naked,
            Settle::Term(_) => &self.counters.rejected,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> SubscriptionStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SubscriptionStats {
            received: read(&self.counters.received),
            redelivered: read(&self.counters.redelivered),
            suppressed: read(&self.counters.suppressed),
            acked: read(&self.counters.acked),
            naked: read(&self.counters.naked),
            rejected: read(&self.counters.rejected),
            in_hand: self.hand.count.load(Ordering::Acquire),
        }
    }

    /// Ends the intake; afterwards `poll_next` says `None`.
    fn take_source(&self) -> Option<Source> {
        let source = self.source().take();
        self.waker.wake();
        source
    }

    /// Ends the subscription without handing anything back, as if the process had died.
    pub(super) fn abandon(&self) {
        if let Some(source) = self.take_source() {
            drop(source);
            self.finish(None);
        }
    }

    pub(crate) async fn drain(&self, until: Instant) -> DrainReport {
        self.draining.store(true, Ordering::Release);
        let Some(mut source) = self.take_source() else { return self.wait_for_end(until).await };
        self.events.emit(StreamEvent::Draining { channel: Some(self.channel.clone()) });
        let before = self.counters.acked.load(Ordering::Relaxed);
        let stopped = timeout_at(until, source.stop()).await;
        let finished = timeout_at(until, self.hand.empty()).await;
        let left = timeout_at(until, source.leave(false)).await;
        let report = DrainReport {
            handled: self.counters.acked.load(Ordering::Relaxed) - before,
            returned: stopped.as_ref().copied().unwrap_or(0),
            left: self.hand.count.load(Ordering::Acquire) as u64,
            timed_out: stopped.is_err() || finished.is_err() || left.is_err(),
            ..DrainReport::default()
        };
        self.finish(Some(report));
        report
    }

    /// Hands back what nobody has seen; `forget`: also ends the position.
    pub(crate) async fn close(&self, forget: bool) {
        let Some(mut source) = self.take_source() else { return };
        source.stop().await;
        source.leave(forget).await;
        self.finish(None);
    }

    fn finish(&self, report: Option<DrainReport>) {
        self.ended.send_replace(Some(report.unwrap_or_default()));
        self.events.emit(StreamEvent::Closed { channel: Some(self.channel.clone()), report });
    }

    /// Somebody else ends it: what they report.
    async fn wait_for_end(&self, until: Instant) -> DrainReport {
        let mut ended = self.ended.subscribe();
        match timeout_at(until, ended.wait_for(Option::is_some)).await {
            Ok(Ok(report)) => report.unwrap_or_default(),
            _ => DrainReport { timed_out: true, ..DrainReport::default() },
        }
    }
}

impl fmt::Debug for SubscriptionCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("channel", &self.channel)
            .field("consumer", &self.consumer)
            .field("live", &self.is_live())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
