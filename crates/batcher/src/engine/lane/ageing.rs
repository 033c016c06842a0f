//! Operations that leave the queue without having been started, or come back to it.

use std::sync::Arc;

use tokio::time::Instant;

use super::TypedLane;
use crate::engine::inbox::Inbox;
use crate::engine::slot::Slot;
use crate::ledger::Outcome;
use crate::{BatcherEvent, OpError};

impl<T, R, E> TypedLane<T, R, E> {
    /// What waits is handed back to whoever drains the watcher.
    pub(super) fn leave(&mut self) {
        while let Some(slot) = self.queue.take(0) {
            self.let_go(slot, Inbox::leave_one);
        }
        for parked in std::mem::take(&mut self.parked) {
            if parked.slot.unpark(&self.inbox.ledger) {
                self.let_go(parked.slot, Inbox::leave_one);
            } else {
                self.forget(&parked.slot);
            }
        }
    }

    /// An operation leaves the buffer without having been started.
    pub(super) fn let_go(&self, slot: Slot<T, R, E>, end: impl FnOnce(&Inbox<T, R, E>, Slot<T, R, E>)) {
        if slot.is_abandoned() {
            self.forget(&slot);
        } else {
            self.inbox.free_places(1, slot.operation.terms.bytes.into());
            end(&self.inbox, slot);
        }
    }

    /// A cancelled operation leaves the buffer.
    pub(super) fn forget(&self, slot: &Slot<T, R, E>) {
        self.inbox.ledger.swept(1);
        self.inbox.free_places(1, slot.operation.terms.bytes.into());
    }

    /// What has waited long enough for another attempt goes to the head of the queue.
    pub(super) fn wake_parked(&mut self, now: Instant) {
        let mut due = Vec::new();
        while self.parked.peek().is_some_and(|parked| parked.due <= now) {
            let Some(parked) = self.parked.pop() else { break };
            if parked.slot.unpark(&self.inbox.ledger) {
                due.push(parked.slot);
            } else {
                self.forget(&parked.slot);
            }
        }
        self.queue.put_back(due, now);
    }

    pub(super) fn end_overdue(&mut self, now: Instant) {
        let mut operations = 0;
        while let Some(slot) = self.queue.take_overdue(now) {
            operations += usize::from(!slot.is_abandoned());
            self.let_go(slot, |inbox, slot| {
                inbox.end(slot, Outcome::DeadlinePassed, OpError::DeadlinePassed)
            });
        }
        if operations > 0 {
            let watcher = Arc::clone(&self.inbox.name);
            self.inbox.shared.events.emit(&BatcherEvent::DeadlinePassed { watcher, operations });
        }
    }

    /// Removes cancelled operations at the head; all of them once they are a quarter of what waits.
    pub(super) fn sweep(&mut self) {
        let abandoned = self.inbox.ledger.abandoned();
        if abandoned == 0 {
            return;
        }
        if abandoned * 4 >= self.queue.len() + self.parked.len() {
            for place in (0..self.queue.places()).rev() {
                if self.queue.at(place).is_some_and(Slot::is_abandoned)
                    && let Some(slot) = self.queue.take(place)
                {
                    self.forget(&slot);
                }
            }
            let (inbox, mut gone) = (Arc::clone(&self.inbox), Vec::new());
            self.parked.retain(|parked| {
                let abandoned = parked.slot.is_abandoned();
                if abandoned {
                    gone.push(parked.slot.operation.terms.bytes);
                }
                !abandoned
            });
            for bytes in gone {
                inbox.ledger.swept(1);
                inbox.free_places(1, bytes.into());
            }
        } else {
            while self.queue.front().is_some_and(Slot::is_abandoned)
                && let Some(slot) = self.queue.take(0)
            {
                self.forget(&slot);
            }
        }
    }
}
