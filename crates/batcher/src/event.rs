use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::{FencingToken, LeaseErrorKind, LeaseId, LossCause, Observer};
use tokio::sync::broadcast;
use tokio::time::Instant;

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
    /// The operation is to be [`alone`](crate::Operation::alone).
    Alone,
    /// Its operations have left before: they come back from a throttled, a failed or a late batch.
    Again,
    /// The policy is [`Flush::Immediate`](crate::Flush::Immediate).
    Immediate,
    /// It has as many operations as it may have.
    Size,
    /// It has as many bytes as it may have.
    Bytes,
    /// It costs as much as it may.
    Cost,
    /// The tick of [`Flush::Every`](crate::Flush::Every).
    Tick,
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
        /// Sum of their bytes.
        bytes: u64,
        /// Why it left now.
        reason: FlushReason,
        /// How long its oldest operation has waited, at most.
        oldest_wait: Duration,
    },
    /// A handler has ended; all operations of the batch have their outcome, or wait for another attempt.
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
        /// Operations that ended otherwise.
        failed: usize,
        /// Operations that wait again because the datastore has too much to do.
        throttled: usize,
        /// Operations that wait for another attempt.
        retried: usize,
    },
    /// An operation has failed and waits for another attempt.
    #[non_exhaustive]
    OperationRetried {
        /// Whose.
        watcher: Arc<str>,
        /// Attempts so far.
        attempts: u32,
        /// How long it waits.
        delay: Duration,
    },
    /// An operation did not end well, and nobody waits for it.
    #[non_exhaustive]
    DeadLettered {
        /// Whose.
        watcher: Arc<str>,
        /// Attempts that it had.
        attempts: u32,
        /// How it ended.
        cause: Arc<str>,
    },
    /// Deadlines of operations passed before they were started.
    #[non_exhaustive]
    DeadlinePassed {
        /// Whose.
        watcher: Arc<str>,
        /// How many operations.
        operations: usize,
    },
    /// A handler took longer than it may; the operations of the batch end as `TimedOut`.
    #[non_exhaustive]
    HandlerTimedOut {
        /// Which batch.
        batch: BatchId,
        /// Whose.
        watcher: Arc<str>,
        /// The handler runs on, and keeps its slot.
        detached: bool,
    },
    /// The datastore has too much to do: nothing is started for a while.
    #[non_exhaustive]
    Throttled {
        /// Which batch was told so.
        batch: BatchId,
        /// Whose.
        watcher: Arc<str>,
        /// How many of its operations.
        operations: usize,
        /// How long nothing is started.
        pause: Duration,
    },
    /// What the datastore is believed to bear has changed.
    #[non_exhaustive]
    RateAdapted {
        /// Units per second before; none: as much as the capacity allows.
        from: Option<Rate>,
        /// Units per second now; none: as much as the capacity allows.
        to: Option<Rate>,
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
        /// What is made use of: less than the rate if the datastore does not bear it.
        effective: Rate,
    },
    /// The capacity was told what is needed (with `verbose_events`).
    #[non_exhaustive]
    CapacityRequested {
        /// Sum of the costs that are needed for, in units.
        target: u64,
    },
    /// Batches begin to leave (with `verbose_events`).
    FlushStarted,
    /// What could leave has left (with `verbose_events`).
    #[non_exhaustive]
    FlushDone {
        /// How many batches.
        batches: u64,
    },
    /// Nothing is started for a while.
    #[non_exhaustive]
    Paused {
        /// For how long; none: until it is resumed.
        duration: Option<Duration>,
    },
    /// A pause is over.
    Resumed,
    /// The counters are right.
    AuditPassed,
    /// The counters were wrong, which is a defect of this crate, and have been set right.
    #[non_exhaustive]
    AuditFailed {
        /// What was wrong.
        findings: Findings,
    },
    /// The counters could not be judged: a detached handler is overdue, or too much moved.
    AuditSkipped,
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
    /// A share is no longer ours: its deadline passed before it was renewed.
    #[non_exhaustive]
    LeaseExpired {
        /// Which lease.
        lease: LeaseId,
    },
    /// A borrowed share is offered to others.
    #[non_exhaustive]
    LeaseYielded {
        /// Which lease.
        lease: LeaseId,
    },
    /// The pool may have forgotten leases that others still count on: nothing is acquired until those have run out.
    #[non_exhaustive]
    LearningStarted {
        /// Until then.
        until: Instant,
    },
    /// What is asked of the pool has changed.
    #[non_exhaustive]
    TargetChanged {
        /// Needed, in units per second, reserved units included.
        wanted_units: u64,
        /// Wanted of the pool, as far as it can give them.
        wanted_leases: u32,
    },
    /// How many leases the pool has: at the start, and when it has been resized.
    #[non_exhaustive]
    PoolProvisioned {
        /// So many.
        leases: u32,
        /// So many of them are new since the last time.
        created: u32,
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
        /// What was asked: `describe`, `held`, `acquire`, `renew` or `release`.
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

/// What an audit found wrong: expected is counted anew, found is what the counter said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Findings {
    /// Cost of what was accepted and has not ended, expected and found, in units.
    pub target: Option<(u64, u64)>,
    /// Batches that are with a handler, expected and found.
    pub in_flight: Option<(u64, u64)>,
}

impl Findings {
    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.target.is_none() && self.in_flight.is_none()
    }
}

/// How far a receiver of [`Batcher::events`](crate::Batcher::events) may lag behind before it loses the oldest.
const BACKLOG: usize = 1_024;

/// The way from inside the crate to the observer.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    observer: Arc<dyn Observer<BatcherEvent>>,
    receivers: Arc<OnceLock<broadcast::Sender<BatcherEvent>>>,
    panics: Arc<AtomicU64>,
}

impl Events {
    pub(crate) fn new(observer: Arc<dyn Observer<BatcherEvent>>) -> Self {
        Self { observer, receivers: Arc::default(), panics: Arc::default() }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<BatcherEvent> {
        self.receivers.get_or_init(|| broadcast::Sender::new(BACKLOG)).subscribe()
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Calls what belongs to the user; a panic is counted and answered with `None`.
    pub(crate) fn guarded<T>(&self, what: &str, call: impl FnOnce() -> T) -> Option<T> {
        let answer = catch_unwind(AssertUnwindSafe(call)).ok();
        if answer.is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!("{what} panicked");
        }
        answer
    }

    /// Writes the tracing event and tells observer and receivers.
    pub(crate) fn emit(&self, event: &BatcherEvent) {
        match event {
            BatcherEvent::AuditFailed { .. } => tracing::error!(?event),
            BatcherEvent::HandlerPanicked { .. }
            | BatcherEvent::HandlerTimedOut { .. }
            | BatcherEvent::StartedTooLate { .. }
            | BatcherEvent::PoolError { .. } => tracing::warn!(?event),
            BatcherEvent::BatchStarted { .. }
            | BatcherEvent::BatchEnded { .. }
            | BatcherEvent::CapacityRequested { .. }
            | BatcherEvent::FlushStarted
            | BatcherEvent::FlushDone { .. } => tracing::trace!(?event),
            // Also the single dead letter, which its sink gets, or nobody cares for.
            _ => tracing::debug!(?event),
        }
        self.guarded("the observer", || self.observer.observe(event));
        if let Some(receivers) = self.receivers.get()
            && receivers.receiver_count() > 0
        {
            // Without receivers it is lost, as it should be.
            let _ = receivers.send(event.clone());
        }
    }
}
