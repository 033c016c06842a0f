mod fixed;
mod grant;
mod holdings;
mod keeper;
mod shared;

use std::fmt;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::fixed::Fixed;
pub use self::grant::{Grant, LeasedShare, Rate};
pub use self::shared::{Share, SharedCapacity, SharedCapacityBuilder};
use crate::BatcherEvent;
use crate::event::Events;

/// Where a batcher's rate comes from. One source feeds exactly one batcher.
#[async_trait]
pub trait Capacity: fmt::Debug + Send + Sync + 'static {
    /// The most that can ever be had. An operation that costs more than a second of it is refused.
    fn max(&self) -> Rate;

    /// What may be spent now. The engine follows it.
    fn current(&self) -> watch::Receiver<Grant>;

    /// The batcher's need has changed to this; to be obeyed as well as possible. Must not block.
    fn want(&self, rate: Rate);

    /// Does whatever keeps the grant up to date, until [`Driver::stopped`] completes; then gives everything back.
    /// Runs inside the engine's future: dropping that drops this.
    async fn drive(&self, driver: Driver);
}

/// What a [`Capacity`] is driven with.
#[derive(Clone, Debug)]
pub struct Driver {
    stop: CancellationToken,
    events: Events,
}

impl Driver {
    pub(crate) fn new(stop: CancellationToken, events: Events) -> Self {
        Self { stop, events }
    }

    /// Completes when the batcher has ended its last operation.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Tells the batcher's observer.
    pub fn emit(&self, event: &BatcherEvent) {
        self.events.emit(event);
    }
}
