use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::Outcomes;

/// How one operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
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
    done: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    no_verdict: AtomicU64,
    cancelled: AtomicU64,
    shut_down: AtomicU64,
    /// Costs of all operations that have ended.
    ended_cost: AtomicU64,
    /// Operations that are with the handler.
    running: AtomicUsize,
    /// Batches that are with the handler.
    batches: AtomicUsize,
    /// Cancelled operations that are still in the queue.
    abandoned: AtomicUsize,
    wake: Arc<Notify>,
}

impl Ledger {
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        Self {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            no_verdict: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            shut_down: AtomicU64::new(0),
            ended_cost: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            wake,
        }
    }

    pub(crate) fn end(&self, outcome: Outcome, operations: u64) {
        let counter = match outcome {
            Outcome::Done => &self.done,
            Outcome::Failed => &self.failed,
            Outcome::Panicked => &self.panicked,
            Outcome::NoVerdict => &self.no_verdict,
            Outcome::Cancelled => &self.cancelled,
            Outcome::ShutDown => &self.shut_down,
        };
        if operations > 0 {
            counter.fetch_add(operations, Ordering::AcqRel);
        }
    }

    /// These costs are no longer outstanding.
    pub(crate) fn end_cost(&self, cost: u64) {
        self.ended_cost.fetch_add(cost, Ordering::AcqRel);
    }

    pub(crate) fn started(&self, operations: usize) {
        self.running.fetch_add(operations, Ordering::AcqRel);
        self.batches.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn handed_back(&self, operations: usize) {
        self.running.fetch_sub(operations, Ordering::AcqRel);
    }

    pub(crate) fn batch_ended(&self) {
        self.batches.fetch_sub(1, Ordering::AcqRel);
        self.wake();
    }

    /// A queued operation was cancelled; it stays in the queue until the engine comes by.
    pub(crate) fn abandon(&self, cost: u32) {
        self.end(Outcome::Cancelled, 1);
        self.end_cost(cost.into());
        self.abandoned.fetch_add(1, Ordering::AcqRel);
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

    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    pub(crate) fn ended_cost(&self) -> u64 {
        self.ended_cost.load(Ordering::Acquire)
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        Outcomes {
            done: self.done.load(Ordering::Acquire),
            failed: self.failed.load(Ordering::Acquire),
            panicked: self.panicked.load(Ordering::Acquire),
            no_verdict: self.no_verdict.load(Ordering::Acquire),
            cancelled: self.cancelled.load(Ordering::Acquire),
            shut_down: self.shut_down.load(Ordering::Acquire),
        }
    }
}
