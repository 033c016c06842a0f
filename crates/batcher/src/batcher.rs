use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::later;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};

use crate::shared::Shared;
use crate::{Audit, BatcherBuilder, BatcherEvent, DrainReport, Handler, State, Stats, WatcherBuilder};

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
        self.shared.flush_now();
    }

    /// Starts nothing for [`pause_time`](crate::BatcherConfig::pause_time), so that the datastore can recover. Running
    /// batches go on, operations are accepted. Ignored unless the batcher runs; a second pause does not extend the
    /// first.
    pub fn pause(&self) {
        self.shared.pause(Some(self.shared.config.pause_time), false);
    }

    /// As [`pause`](Self::pause), for that time. While paused it moves the end to the later of both.
    pub fn pause_for(&self, duration: Duration) {
        self.shared.pause(Some(duration), true);
    }

    /// As [`pause`](Self::pause), until [`resume`](Self::resume), a drain or an abort.
    pub fn pause_indefinitely(&self) {
        self.shared.pause(None, true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.shared.resume();
    }

    /// Holds the counters against what is there, and sets them right if they are wrong.
    ///
    /// # Cancel safety
    /// Dropping it does not stop the audit.
    pub async fn audit(&self) -> Audit {
        self.shared.audit().await
    }

    /// What happens from now on. A receiver that is too slow loses the oldest events and is told how many
    /// (`Lagged`); the batcher never waits for it.
    pub fn events(&self) -> broadcast::Receiver<BatcherEvent> {
        self.shared.events.subscribe()
    }

    /// Refuses new operations, ends a pause, finishes the accepted ones within capacity, and waits for that. At the timeout the
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

    /// The target: the sum of the costs of all operations that were accepted and have not ended, in units, but for
    /// those that wait for another attempt.
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
