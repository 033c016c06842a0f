use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::shared::lock;
use crate::{BatchId, Outcomes};

/// How one operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    TimedOut,
    DeadlinePassed,
    Panicked,
    NoVerdict,
    Cancelled,
    ShutDown,
}

/// The books of one watcher: what became of its operations. What was accepted stands in the inbox.
///
/// Readers read the outcomes first and what was accepted afterwards, so that a difference is never negative.
#[derive(Debug)]
pub(crate) struct Ledger {
    outcomes: [AtomicU64; 8],
    /// Costs of all operations that have ended.
    ended_cost: AtomicU64,
    /// Operations that wait for another attempt, and what they cost.
    parked: AtomicUsize,
    parked_cost: AtomicU64,
    /// Operations that are with the handler.
    running: AtomicUsize,
    /// Batches that are with the handler.
    batches: AtomicUsize,
    /// Cancelled operations that are still in the queue.
    abandoned: AtomicUsize,
    retried: AtomicU64,
    throttled: AtomicU64,
    spent: AtomicU64,
    /// What the counters of running things are audited by.
    flights: Mutex<BTreeMap<BatchId, Flight>>,
    wake: Arc<Notify>,
}

/// A batch that is with the handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) len: usize,
    pub(crate) cost: u64,
    /// Its operations have ended as `TimedOut`, its handler has not.
    pub(crate) overdue: bool,
}

/// What an audit found; expected is counted anew, found is what the counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recount {
    pub(crate) cost: u64,
    pub(crate) operations: usize,
    pub(crate) batches: usize,
    pub(crate) overdue: usize,
}

impl Ledger {
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        Self {
            outcomes: Default::default(),
            ended_cost: AtomicU64::new(0),
            parked: AtomicUsize::new(0),
            parked_cost: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            retried: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            flights: Mutex::default(),
            wake,
        }
    }

    pub(crate) fn end(&self, outcome: Outcome, operations: u64) {
        if operations > 0 {
            self.outcomes[outcome as usize].fetch_add(operations, Ordering::AcqRel);
        }
    }

    /// These costs are no longer outstanding.
    pub(crate) fn end_cost(&self, cost: u64) {
        self.ended_cost.fetch_add(cost, Ordering::AcqRel);
    }

    pub(crate) fn started(&self, batch: BatchId, len: usize, cost: u64) {
        let mut flights = lock(&self.flights);
        self.running.fetch_add(len, Ordering::AcqRel);
        self.batches.fetch_add(1, Ordering::AcqRel);
        self.spent.fetch_add(cost, Ordering::AcqRel);
        flights.insert(batch, Flight { len, cost, overdue: false });
    }

    /// The operations of a batch are no longer with the handler: some have ended, with that cost, the others are in
    /// the inbox again. Its slot may still be taken.
    pub(crate) fn handed_back(&self, batch: BatchId, ended_cost: u64) {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get_mut(&batch) {
            self.running.fetch_sub(flight.len, Ordering::AcqRel);
            self.end_cost(ended_cost);
            *flight = Flight { len: 0, cost: 0, overdue: flight.overdue };
        }
    }

    pub(crate) fn overdue(&self, batch: BatchId) {
        if let Some(flight) = lock(&self.flights).get_mut(&batch) {
            flight.overdue = true;
        }
    }

    /// A slot is free again.
    pub(crate) fn batch_ended(&self, batch: BatchId) {
        let mut flights = lock(&self.flights);
        if flights.remove(&batch).is_some() {
            self.batches.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// A queued operation was cancelled; it stays in the queue until the engine comes by.
    pub(crate) fn abandon(&self, cost: u32) {
        self.end(Outcome::Cancelled, 1);
        self.end_cost(cost.into());
        self.abandoned.fetch_add(1, Ordering::AcqRel);
    }

    /// An operation waits for another attempt: until then it needs no capacity.
    pub(crate) fn park(&self, cost: u32) {
        self.parked.fetch_add(1, Ordering::AcqRel);
        self.parked_cost.fetch_add(cost.into(), Ordering::AcqRel);
    }

    pub(crate) fn unpark(&self, cost: u32) {
        self.parked.fetch_sub(1, Ordering::AcqRel);
        self.parked_cost.fetch_sub(cost.into(), Ordering::AcqRel);
    }

    pub(crate) fn retried(&self, operations: u64) {
        self.retried.fetch_add(operations, Ordering::AcqRel);
    }

    pub(crate) fn throttled(&self, operations: u64) {
        self.throttled.fetch_add(operations, Ordering::AcqRel);
    }

    /// Lets the engine look.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn swept(&self, operations: usize) {
        self.abandoned.fetch_sub(operations, Ordering::AcqRel);
    }

    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn batches(&self) -> usize {
        self.batches.load(Ordering::Acquire)
    }

    /// What has ended, or waits for another attempt: all costs that are accepted and not needed now.
    pub(crate) fn idle_cost(&self) -> u64 {
        self.ended_cost.load(Ordering::Acquire) + self.parked_cost.load(Ordering::Acquire)
    }

    /// Counts what is with the handler; nothing of that changes while `look` runs.
    pub(crate) fn with_flights<T>(&self, look: impl FnOnce(Recount) -> T) -> T {
        let flights = lock(&self.flights);
        let mut recount = Recount { batches: flights.len(), ..Recount::default() };
        for flight in flights.values() {
            recount.cost += flight.cost;
            recount.operations += flight.len;
            recount.overdue += usize::from(flight.overdue);
        }
        look(recount)
    }

    /// Sets the counters to what was counted.
    pub(crate) fn repair(&self, idle_cost: u64, recount: Recount) {
        let parked = self.parked_cost.load(Ordering::Acquire);
        self.ended_cost.store(idle_cost.saturating_sub(parked), Ordering::Release);
        self.running.store(recount.operations, Ordering::Release);
        self.batches.store(recount.batches, Ordering::Release);
    }

    #[cfg(test)]
    pub(crate) fn corrupt(&self, cost: u64, batches: usize) {
        self.ended_cost.fetch_add(cost, Ordering::AcqRel);
        self.batches.fetch_add(batches, Ordering::AcqRel);
    }

    pub(crate) fn reading(&self) -> Reading {
        let load = |outcome: Outcome| self.outcomes[outcome as usize].load(Ordering::Acquire);
        let outcomes = Outcomes {
            done: load(Outcome::Done),
            failed: load(Outcome::Failed),
            timed_out: load(Outcome::TimedOut),
            deadline_passed: load(Outcome::DeadlinePassed),
            panicked: load(Outcome::Panicked),
            no_verdict: load(Outcome::NoVerdict),
            cancelled: load(Outcome::Cancelled),
            shut_down: load(Outcome::ShutDown),
        };
        Reading {
            outcomes,
            running: self.running.load(Ordering::Acquire) as u64,
            batches: self.batches() as u64,
            parked: self.parked.load(Ordering::Acquire) as u64,
            idle_cost: self.idle_cost(),
            retried: self.retried.load(Ordering::Acquire),
            throttled: self.throttled.load(Ordering::Acquire),
            spent: self.spent.load(Ordering::Acquire),
        }
    }
}

/// What the books say at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) outcomes: Outcomes,
    pub(crate) running: u64,
    pub(crate) batches: u64,
    pub(crate) parked: u64,
    pub(crate) idle_cost: u64,
    pub(crate) retried: u64,
    pub(crate) throttled: u64,
    pub(crate) spent: u64,
}
