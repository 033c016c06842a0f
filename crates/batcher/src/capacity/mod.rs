mod borrowing;
mod builder;
mod departures;
mod fixed;
mod grant;
mod handle;
mod holdings;
mod learning;
#[cfg(test)]
mod model;
mod share;
mod shared;
mod terms;

use std::fmt;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::builder::{SharedCapacityBuilder, leases_for_total};
pub(crate) use self::departures::{Departures, Waiting};
pub use self::fixed::Fixed;
pub use self::grant::{Grant, LeasedShare, Rate};
pub use self::handle::SharedCapacityHandle;
pub use self::share::Share;
pub use self::shared::SharedCapacity;
use crate::BatcherEvent;
use crate::event::Events;

/// Where a batcher's rate comes from. One source feeds exactly one batcher.
#[async_trait]
pub trait Capacity: fmt::Debug + Send + Sync + 'static {
    /// The most that can ever be had. An operation that costs more than a second of it is refused. Looked at again
    /// whenever there is another grant.
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
    departures: Departures,
}

impl Driver {
    pub(crate) fn new(stop: CancellationToken, events: Events, departures: Departures) -> Self {
        Self { stop, events, departures }
    }

    /// Completes when the batcher has ended its last operation.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Completes when every batch has started that has its budget now. What was taken out of the grant before is
    /// then no longer used by anybody.
    ///
    /// # Cancel safety
    /// Waits only.
    pub async fn departed(&self) {
        self.departures.gone().await;
    }

    /// Tells the batcher's observer.
    pub fn emit(&self, event: &BatcherEvent) {
        self.events.emit(event);
    }
}
