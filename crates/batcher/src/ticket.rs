use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::OpError;
use crate::ledger::Ledger;
use crate::shared::lock;

type Outcome<R, E> = Result<R, OpError<E>>;

/// Where the engine and the ticket meet; the one decision between cancel and dispatch falls under its lock.
pub(crate) struct Cell<R, E> {
    phase: Mutex<Phase<R, E>>,
    cost: u32,
    ledger: Arc<Ledger>,
}

enum Phase<R, E> {
    /// Waits in the queue.
    Queued(Option<Waker>),
    /// With the handler.
    Running(Option<Waker>),
    /// Ended, and the ticket does not know yet.
    Ready(Outcome<R, E>),
    /// Cancelled before dispatch.
    Abandoned,
    /// Nobody wants the result; the operation goes its way.
    Detached,
    /// The ticket has its result.
    Taken,
}

impl<R, E> Cell<R, E> {
    pub(crate) fn new(cost: u32, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { phase: Mutex::new(Phase::Queued(None)), cost, ledger })
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(*lock(&self.phase), Phase::Abandoned)
    }

    /// The operation goes to the handler, unless it was cancelled.
    pub(crate) fn try_start(&self) -> bool {
        let mut phase = lock(&self.phase);
        match &mut *phase {
            Phase::Abandoned => false,
            Phase::Queued(waker) => {
                *phase = Phase::Running(waker.take());
                true
            }
            _ => true,
        }
    }

    /// The operation has not reached its handler after all.
    pub(crate) fn requeue(&self) {
        let mut phase = lock(&self.phase);
        if let Phase::Running(waker) = &mut *phase {
            *phase = Phase::Queued(waker.take());
        }
    }

    /// Tells the ticket. False: the operation had been cancelled and is counted already.
    pub(crate) fn settle(&self, outcome: Outcome<R, E>) -> bool {
        let mut outcome = Some(outcome);
        let mut phase = lock(&self.phase);
        let waker = match &mut *phase {
            Phase::Abandoned => return false,
            Phase::Queued(waker) | Phase::Running(waker) => {
                let waker = waker.take();
                if let Some(outcome) = outcome.take() {
                    *phase = Phase::Ready(outcome);
                }
                waker
            }
            _ => None,
        };
        // Neither a result nor a waker is user code that may run under the lock.
        drop(phase);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

/// The result of one accepted operation, to be awaited.
///
/// # Cancel safety
/// Dropping a ticket cancels the operation if it has not been dispatched yet: it will never reach a handler. After
/// dispatch only the result is discarded. To let an operation go on unwatched, [`detach`](Ticket::detach).
#[must_use = "dropping a ticket cancels its operation; detach() lets it go on"]
pub struct Ticket<R, E> {
    cell: Arc<Cell<R, E>>,
    /// The result has been handed out.
    taken: bool,
}

impl<R, E> Ticket<R, E> {
    pub(crate) fn new(cell: Arc<Cell<R, E>>) -> Self {
        Self { cell, taken: false }
    }

    /// Lets the operation go on; its result will be counted and dropped.
    pub fn detach(self) {
        let old = mem::replace(&mut *lock(&self.cell.phase), Phase::Detached);
        drop(old);
    }
}

impl<R, E> Future for Ticket<R, E> {
    type Output = Result<R, OpError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.get_mut();
        let mut phase = lock(&ticket.cell.phase);
        let stale = match &mut *phase {
            Phase::Queued(waker) | Phase::Running(waker) => match waker {
                Some(waker) if waker.will_wake(cx.waker()) => None,
                waker => waker.replace(cx.waker().clone()),
            },
            Phase::Ready(_) => {
                let Phase::Ready(outcome) = mem::replace(&mut *phase, Phase::Taken) else {
                    return Poll::Pending;
                };
                ticket.taken = true;
                return Poll::Ready(outcome);
            }
            // Polled again after its end, which a future may answer as it likes.
            Phase::Abandoned | Phase::Detached | Phase::Taken => None,
        };
        drop(phase);
        drop(stale);
        Poll::Pending
    }
}

impl<R, E> Drop for Ticket<R, E> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut phase = lock(&self.cell.phase);
        let (next, cancelled) = match &*phase {
            Phase::Queued(_) => {
                // Counted before the engine can see and sweep it.
                self.cell.ledger.abandon(self.cell.cost);
                (Phase::Abandoned, true)
            }
            _ => (Phase::Detached, false),
        };
        let old = mem::replace(&mut *phase, next);
        drop(phase);
        drop(old);
        if cancelled {
            self.cell.ledger.wake();
        }
    }
}

impl<R, E> fmt::Debug for Ticket<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}
