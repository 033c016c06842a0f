use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::ledger::Ledger;
use crate::ticket::Cell;
use crate::{OpError, Operation};

/// An accepted operation that waits.
pub(crate) struct Slot<T, R, E> {
    pub(crate) operation: Operation<T>,
    pub(crate) cell: Option<Arc<Cell<R, E>>>,
}

impl<T, R, E> Slot<T, R, E> {
    pub(crate) fn is_abandoned(&self) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.is_abandoned())
    }

    pub(crate) fn cost(&self) -> u64 {
        self.operation.terms.cost.into()
    }

    /// It waits for another attempt no longer. False: it was cancelled.
    pub(crate) fn unpark(&self, ledger: &Ledger) -> bool {
        match &self.cell {
            Some(cell) => cell.unpark(),
            None => {
                ledger.unpark(self.operation.terms.cost);
                true
            }
        }
    }
}

/// What running batches have put back.
pub(crate) struct Returned<T, R, E> {
    /// To the head of the queue, in the order in which they left.
    pub(crate) now: Vec<Vec<Slot<T, R, E>>>,
    /// For another attempt then.
    pub(crate) later: Vec<(Instant, Slot<T, R, E>)>,
}

impl<T, R, E> Default for Returned<T, R, E> {
    fn default() -> Self {
        Self { now: Vec::new(), later: Vec::new() }
    }
}

impl<T, R, E> Returned<T, R, E> {
    pub(super) fn into_slots(self) -> impl Iterator<Item = Slot<T, R, E>> {
        self.now.into_iter().flatten().chain(self.later.into_iter().map(|(_, slot)| slot))
    }
}

/// Operations of a batch that are to be tried again, each with how it ends if nobody wants that.
pub(crate) struct Again<T, R, E> {
    pub(crate) now: Vec<(Slot<T, R, E>, OpError<E>)>,
    pub(crate) later: Vec<Later<T, R, E>>,
    /// How long those wait that have had so many attempts.
    delay: Option<(u32, Duration)>,
}

/// An operation that is to be tried again at a certain time.
type Later<T, R, E> = (Instant, Slot<T, R, E>, OpError<E>);

impl<T, R, E> Again<T, R, E> {
    pub(crate) fn nothing() -> Self {
        Self { now: Vec::new(), later: Vec::new(), delay: None }
    }

    /// The delay after so many attempts: what fails together is tried again together.
    pub(super) fn delay(&mut self, attempts: u32, draw: impl FnOnce() -> Duration) -> Duration {
        match self.delay {
            Some((of, delay)) if of == attempts => delay,
            _ => self.delay.insert((attempts, draw())).1,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.now.is_empty() && self.later.is_empty()
    }
}

/// What is not tried again.
pub(crate) struct Refused<T, R, E> {
    /// The ticket was dropped while the operation was with the handler.
    pub(crate) forsaken: Vec<(Slot<T, R, E>, OpError<E>)>,
    /// The batcher has stopped.
    pub(crate) too_late: Vec<Slot<T, R, E>>,
}
