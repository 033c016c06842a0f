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
    /// Waits for another attempt.
    Parked(Option<Waker>),
    /// With the handler.
    Running(Option<Waker>),
    /// Ended, and the ticket does not know yet.
    Ready(Outcome<R, E>),
    /// Cancelled before dispatch.
    Abandoned,
    /// Nobody wants the result; the operation goes its way.
    Detached,
    /// Cancelled while with the handler: there will be no other attempt.
    Forsaken,
    /// The ticket has its result.
    Taken,
}

/// Who has heard of an outcome.
pub(crate) enum Told<R, E> {
    /// The ticket.
    Ticket,
    /// Nobody: it comes back.
    Nobody(Outcome<R, E>),
    /// The operation had been cancelled and is counted already.
    Cancelled,
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
            Phase::Queued(waker) | Phase::Parked(waker) => {
                *phase = Phase::Running(waker.take());
                true
            }
            _ => true,
        }
    }

    /// The operation waits in the queue again. False: nobody wants that.
    pub(crate) fn requeue(&self) -> bool {
        self.wait_again(Phase::Queued)
    }

    /// The operation waits for another attempt; the books say so already. False: nobody wants that.
    pub(crate) fn park(&self) -> bool {
        self.wait_again(Phase::Parked)
    }

    fn wait_again(&self, how: fn(Option<Waker>) -> Phase<R, E>) -> bool {
        let mut phase = lock(&self.phase);
        match &mut *phase {
            Phase::Running(waker) => *phase = how(waker.take()),
            Phase::Forsaken => return false,
            _ => {}
        }
        true
    }

    /// Another attempt is due. False: cancelled, and out of the books already.
    pub(crate) fn unpark(&self) -> bool {
        let mut phase = lock(&self.phase);
        match &mut *phase {
            Phase::Abandoned => return false,
            Phase::Parked(waker) => {
                self.ledger.unpark(self.cost);
                *phase = Phase::Queued(waker.take());
            }
            // Detached meanwhile.
            _ => self.ledger.unpark(self.cost),
        }
        true
    }

    pub(crate) fn settle(&self, outcome: Outcome<R, E>) -> Told<R, E> {
        let mut phase = lock(&self.phase);
        let waker = match &mut *phase {
            Phase::Abandoned => return Told::Cancelled,
            Phase::Queued(waker) | Phase::Parked(waker) | Phase::Running(waker) => {
                let waker = waker.take();
                *phase = Phase::Ready(outcome);
                waker
            }
            _ => return Told::Nobody(outcome),
        };
        // No waker is user code that may run under the lock.
        drop(phase);
        if let Some(waker) = waker {
            waker.wake();
        }
        Told::Ticket
    }
}

/// The result of one accepted operation, to be awaited.
///
/// # Cancel safety
/// Dropping a ticket cancels the operation if it has not been dispatched yet: it will never reach a handler. After
/// dispatch the result is discarded, and there is no other attempt. To let an operation go on unwatched,
/// [`detach`](Ticket::detach).
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

    /// Lets the operation go on; its result will be counted and dropped, or become a dead letter.
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
            Phase::Queued(waker) | Phase::Parked(waker) | Phase::Running(waker) => match waker {
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
            Phase::Abandoned | Phase::Detached | Phase::Forsaken | Phase::Taken => None,
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
            waits @ (Phase::Queued(_) | Phase::Parked(_)) => {
                // Counted before the engine can see and sweep it.
                if matches!(waits, Phase::Parked(_)) {
                    self.cell.ledger.unpark(self.cell.cost);
                }
                self.cell.ledger.abandon(self.cell.cost);
                (Phase::Abandoned, true)
            }
            Phase::Running(_) => (Phase::Forsaken, false),
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
