use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::{Instant, sleep_until};

use crate::shared::Shared;
use crate::{BatcherBuilder, DrainReport, Handler, State, Stats, WatcherBuilder};

/// The handle on one batcher: one for each datastore, any number of watchers. Cheap to clone.
///
/// Dropping it ends nothing: the engine runs until it is drained or its token is cancelled.
#[derive(Clone, Debug)]
pub struct Batcher {
    shared: Arc<Shared>,
}

impl Batcher {
    /// All options have defaults.
    pub fn builder() -> BatcherBuilder {
        BatcherBuilder::new()
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A watcher whose batches go to that handler.
    pub fn watcher<T, R, E>(&self, handler: impl Handler<T, R, E>) -> WatcherBuilder<T, R, E>
    where
        T: Send + 'static,
        R: Send + 'static,
        E: Send + Sync + 'static,
    {
        WatcherBuilder::new(Arc::clone(&self.shared), Arc::new(handler))
    }

    /// What waits now leaves as soon as there are slots and budget, without waiting for company. Grants no budget.
    pub fn flush(&self) {
        self.shared.flush.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// Refuses new operations, finishes the accepted ones within capacity, and waits for that. At the timeout the
    /// running handlers are dropped and what is left ends as `ShutDown`. Leases are given back before it returns.
    ///
    /// Concurrent and later callers get the same report; the earliest deadline of all callers counts. If no engine
    /// runs by the timeout, nothing can be finished: what is held ends as `ShutDown`.
    ///
    /// # Cancel safety
    /// Dropping it does not stop the drain.
    pub async fn drain(&self, timeout: Duration) -> DrainReport {
        if let Some(report) = self.shared.report() {
            return report;
        }
        let now = Instant::now();
        // A timeout beyond the end of time is none.
        let deadline = later(now, timeout);
        self.shared.drain_until(deadline);
        tokio::select! {
            biased;
            report = self.shared.wait_for_report() => return report,
            () = sleep_until(deadline) => self.shared.give_up_engine(),
        }
        self.shared.wait_for_report().await
    }

    /// Counters and gauges, now.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Where it stands in its life.
    pub fn state(&self) -> State {
        self.stats().state
    }

    /// The target: the sum of the costs of all operations that were accepted and have not ended, in units.
    pub fn needs_capacity(&self) -> u64 {
        self.stats().target
    }

    /// How many operations wait.
    pub fn operations_in_buffer(&self) -> u64 {
        self.stats().buffered
    }

    /// How many batches are with a handler.
    pub fn in_flight(&self) -> u64 {
        self.stats().batches_running
    }
}
