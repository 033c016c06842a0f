use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::{FencingToken, LeaseErrorKind, LeaseId, LossCause, Observer};

use crate::{DrainReport, Rate};

/// Identifies a batch within its batcher; counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId(pub u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a batch left when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FlushReason {
    /// No batch of the watcher was running.
    Idle,
    /// The policy is [`Flush::Immediate`](crate::Flush::Immediate).
    Immediate,
    /// It has as many operations as it may have.
    Size,
    /// It costs as much as it may.
    Cost,
    /// The oldest operation has waited long enough for company.
    Linger,
    /// Somebody waits for a place in the buffer.
    BufferFull,
    /// [`Batcher::flush`](crate::Batcher::flush) was called.
    Requested,
    /// The batcher drains.
    Drain,
}

/// What a batcher does, for its [`Observer`]. No payloads in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatcherEvent {
    /// A batch has its budget and its slot, and goes to the handler.
    #[non_exhaustive]
    BatchStarted {
        /// Which batch.
        batch: BatchId,
        /// Whose.
        watcher: Arc<str>,
        /// How many operations.
        len: usize,
        /// Sum of their costs, in units.
        cost: u64,
        /// Why it left now.
        reason: FlushReason,
        /// How long its oldest operation has waited, at most.
        oldest_wait: Duration,
    },
    /// A handler has ended; all operations of the batch have their outcome.
    #[non_exhaustive]
    BatchEnded {
        /// Which batch.
        batch: BatchId,
        /// Whose.
        watcher: Arc<str>,
        /// Since its start.
        elapsed: Duration,
        /// Operations that succeeded.
        done: usize,
        /// Operations that did not.
        failed: usize,
    },
    /// A batch whose handler had not started when a lease it was paid for with ended: the process was frozen in
    /// between. The handler is not called, the operations go back to the head of their queue, the budget is gone.
    #[non_exhaustive]
    StartedTooLate {
        /// Which batch.
        batch: BatchId,
        /// Whose.
        watcher: Arc<str>,
        /// How many operations.
        len: usize,
    },
    /// The handler panicked; the operations of the batch end as `Panicked`.
    #[non_exhaustive]
    HandlerPanicked {
        /// Which batch.
        batch: BatchId,
        /// Whose.
        watcher: Arc<str>,
        /// What it said.
        message: Arc<str>,
    },
    /// The rate has changed; also sent once at the start.
    #[non_exhaustive]
    CapacityChanged {
        /// The rate now.
        rate: Rate,
        /// The part that is this process's own.
        reserved: Rate,
        /// The part that is leased.
        leased: Rate,
    },
    /// A share of the capacity is ours.
    #[non_exhaustive]
    LeaseAcquired {
        /// Which lease.
        lease: LeaseId,
        /// Its token.
        token: FencingToken,
    },
    /// A share was given back.
    #[non_exhaustive]
    LeaseReleased {
        /// Which lease.
        lease: LeaseId,
    },
    /// A share is no longer ours.
    #[non_exhaustive]
    LeaseLost {
        /// Which lease.
        lease: LeaseId,
        /// Why.
        cause: LossCause,
    },
    /// More shares are wanted than the pool can give.
    #[non_exhaustive]
    PoolFull {
        /// Shares held.
        held: u32,
        /// Shares wanted.
        wanted: u32,
    },
    /// The pool did not do what was asked. The batcher tries again.
    #[non_exhaustive]
    PoolError {
        /// What kind of failure.
        kind: LeaseErrorKind,
        /// What was asked: `acquire`, `renew` or `release`.
        doing: &'static str,
    },
    /// Nothing new is accepted; what is there is being finished.
    Draining,
    /// Everything has ended.
    #[non_exhaustive]
    Stopped {
        /// How.
        report: DrainReport,
    },
}

/// The way from inside the crate to the observer.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    observer: Arc<dyn Observer<BatcherEvent>>,
    panics: Arc<AtomicU64>,
}

impl Events {
    pub(crate) fn new(observer: Arc<dyn Observer<BatcherEvent>>) -> Self {
        Self { observer, panics: Arc::default() }
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Writes the tracing event and tells the observer; its panics are caught and counted.
    pub(crate) fn emit(&self, event: &BatcherEvent) {
        match event {
            BatcherEvent::HandlerPanicked { .. }
            | BatcherEvent::StartedTooLate { .. }
            | BatcherEvent::PoolError { .. } => tracing::warn!(?event),
            BatcherEvent::BatchStarted { .. } | BatcherEvent::BatchEnded { .. } => tracing::trace!(?event),
            _ => tracing::debug!(?event),
        }
        if catch_unwind(AssertUnwindSafe(|| self.observer.observe(event))).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!("the observer panicked");
        }
    }
}
