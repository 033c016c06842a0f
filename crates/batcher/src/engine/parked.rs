use std::cmp::Ordering;

use tokio::time::Instant;

use super::slot::Slot;

/// An operation that waits for another attempt. The one that is due first is the greatest.
pub(super) struct Parked<T, R, E> {
    /// When it is to be looked at: for another attempt, or because its deadline has come.
    pub(super) due: Instant,
    pub(super) slot: Slot<T, R, E>,
}

impl<T, R, E> Parked<T, R, E> {
    pub(super) fn new(due: Instant, slot: Slot<T, R, E>) -> Self {
        let due = slot.operation.terms.deadline().map_or(due, |deadline| due.min(deadline));
        Self { due, slot }
    }
}

impl<T, R, E> Ord for Parked<T, R, E> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl<T, R, E> PartialOrd for Parked<T, R, E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T, R, E> PartialEq for Parked<T, R, E> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<T, R, E> Eq for Parked<T, R, E> {}
