//! What there is to do: looking at it, and how fast it comes.

#[cfg(feature = "nats")]
mod consumer;
#[cfg(feature = "nats")]
mod probe;
mod rates;
mod service;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "nats")]
pub use self::consumer::ConsumerLoad;
pub use self::rates::Rates;
pub(crate) use self::rates::{Meter, Seen};
pub(crate) use self::service::ServiceRate;
pub use self::service::{Service, ServiceSource};
use crate::ScalerError;

/// One look at the queue.
///
/// `delivered` is a counter that never falls while the queue lives: together with `pending` it tells arrivals
/// without anybody counting messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// P: messages never delivered yet.
    pub pending: u64,
    /// A: messages delivered and not settled, those that wait for a redelivery included.
    pub ack_pending: u64,
    /// D: deliveries so far, redeliveries included.
    pub delivered: u64,
    /// Pulls that wait for a message now: above zero with nothing pending, hands are idle.
    pub waiting: Option<u64>,
    /// How many messages may be delivered and unsettled at once; more instances get nothing beyond it.
    pub max_ack_pending: Option<u64>,
    /// How many pulls may wait at once.
    pub max_waiting: Option<u64>,
    /// The queue delivers nothing for that long.
    pub paused: Option<Duration>,
    /// Another number, another queue: counters start afresh.
    pub epoch: u64,
    /// How old the look is already, for sources that answer from memory.
    pub age: Duration,
}

impl Load {
    /// A look that knows the three counters: pending, delivered and unsettled, deliveries so far.
    pub fn new(pending: u64, ack_pending: u64, delivered: u64) -> Self {
        Self { pending, ack_pending, delivered, ..Self::default() }
    }

    /// P + A: everything that is not settled.
    pub fn lag(&self) -> u64 {
        self.pending.saturating_add(self.ack_pending)
    }

    /// L: what waits, without what `ready` instances of `slots` hands each have in hand.
    pub fn backlog(&self, ready: u32, slots: u32) -> u64 {
        let hands = u64::from(ready) * u64::from(slots);
        self.pending.saturating_add(self.ack_pending.saturating_sub(hands))
    }

    /// More instances would be given nothing, because too much is delivered and unsettled already.
    pub fn is_ack_limited(&self) -> bool {
        self.max_ack_pending.is_some_and(|max| self.ack_pending >= max)
    }

    /// More instances could not even ask.
    pub fn is_waiting_limited(&self) -> bool {
        matches!((self.waiting, self.max_waiting), (Some(waiting), Some(max)) if waiting >= max)
    }
}

/// Where the load comes from: `ConsumerLoad`, or a source of your own.
#[async_trait]
pub trait LoadSource: fmt::Debug + Send + Sync + 'static {
    /// What the scaler is called in events, decisions and logs.
    fn name(&self) -> &str;

    /// One look.
    ///
    /// # Errors
    /// `NotFound`, `NotPermitted`, `Unavailable`. Every error holds the scale: an error is not an empty queue.
    ///
    /// # Cancel safety
    /// Must be safe to drop: the scaler does so after its request timeout.
    async fn observe(&self) -> Result<Load, ScalerError>;

    /// Completes when the lag may exceed `mark`. A hint, possibly false, doubled or lost: it brings the next look
    /// forward and nothing else. Called while nobody works; a source without such hints never completes.
    ///
    /// # Cancel safety
    /// Must be safe to drop and call again.
    async fn wake(&self, mark: u64);

    /// Whether [`wake`](Self::wake) ever completes: if so, an idle queue is looked at less often.
    fn wakes(&self) -> bool {
        false
    }
}

#[async_trait]
impl<S: LoadSource + ?Sized> LoadSource for Arc<S> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn observe(&self) -> Result<Load, ScalerError> {
        (**self).observe().await
    }

    async fn wake(&self, mark: u64) {
        (**self).wake(mark).await;
    }

    fn wakes(&self) -> bool {
        (**self).wakes()
    }
}
