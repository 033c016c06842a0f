use std::cmp::Ordering;

use tokio::time::Instant;

use super::slot::Slot;

/// An operation that waits for another attempt. The one that is due first is the greatest.
pub(super) struct Parked<T, R, E> {
    /// When it is to be looked at: for another attempt, or because its deadline has come.
    pub(super) due: Instant,
    /// Of those that are due at the same time, this one's turn.
    turn: u64,
    pub(super) slot: Slot<T, R, E>,
}

impl<T, R, E> Parked<T, R, E> {
    pub(super) fn new(due: Instant, turn: u64, slot: Slot<T, R, E>) -> Self {
        let due = slot.operation.terms.deadline().map_or(due, |deadline| due.min(deadline));
        Self { due, turn, slot }
    }
}

impl<T, R, E> Ord for Parked<T, R, E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.turn).cmp(&(self.due, self.turn))
    }
}

impl<T, R, E> PartialOrd for Parked<T, R, E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T, R, E> PartialEq for Parked<T, R, E> {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.turn) == (other.due, other.turn)
    }
}

impl<T, R, E> Eq for Parked<T, R, E> {}
