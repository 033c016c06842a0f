use std::mem;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::Operation;
use crate::ledger::{Ledger, Outcome};
use crate::shared::{Books, Shared, Tally, lock};
use crate::ticket::Cell;

/// An accepted operation that waits.
pub(crate) struct Slot<T, R, E> {
    pub(crate) operation: Operation<T>,
    pub(crate) cell: Option<Arc<Cell<R, E>>>,
}

impl<T, R, E> Slot<T, R, E> {
    /// Ends it as `ShutDown`, unless it had been cancelled.
    pub(crate) fn shut_down(self, ledger: &Ledger) {
        let told = self.cell.is_none_or(|cell| cell.settle(Err(crate::OpError::ShutDown)));
        if told {
            ledger.end(Outcome::ShutDown, 1);
            ledger.end_cost(self.operation.cost.into());
        }
    }
}

/// Where the callers put operations and the engine fetches them, all at once.
pub(crate) struct Inbox<T, R, E> {
    name: Arc<str>,
    content: Mutex<Content<T, R, E>>,
    ledger: Arc<Ledger>,
}

struct Content<T, R, E> {
    slots: Vec<Slot<T, R, E>>,
    /// Sum of the costs in `slots`.
    cost: u64,
    /// When the first of `slots` came.
    since: Option<Instant>,
    accepted: u64,
    accepted_cost: u64,
    /// The engine wants to be woken from this many operations, or this much cost, on.
    alarm: Alarm,
    /// Batches that come back, in the order in which they left.
    returned: Vec<Vec<Slot<T, R, E>>>,
    closed: bool,
    /// Nobody will fetch anything any more.
    ended: bool,
}

/// When an inbox wakes the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) len: usize,
    pub(crate) cost: u64,
}

impl Alarm {
    /// At the next operation.
    pub(crate) const NEXT: Self = Self { len: 1, cost: u64::MAX };
    /// Never: something else will.
    pub(crate) const OFF: Self = Self { len: usize::MAX, cost: u64::MAX };
}

/// What an inbox held.
pub(crate) struct Haul<T, R, E> {
    pub(crate) cost: u64,
    pub(crate) since: Option<Instant>,
    pub(crate) accepted_cost: u64,
    pub(crate) returned: Vec<Vec<Slot<T, R, E>>>,
}

impl<T, R, E> Content<T, R, E> {
    fn is_due(&self) -> bool {
        self.slots.len() >= self.alarm.len || (self.cost >= self.alarm.cost && !self.slots.is_empty())
    }
}

impl<T, R, E> Inbox<T, R, E> {
    pub(crate) fn new(name: Arc<str>, shared: &Shared) -> Arc<Self> {
        let content = Content {
            slots: Vec::new(),
            cost: 0,
            since: None,
            accepted: 0,
            accepted_cost: 0,
            alarm: Alarm::NEXT,
            returned: Vec::new(),
            closed: false,
            ended: false,
        };
        let ledger = Arc::new(Ledger::new(Arc::clone(&shared.wake)));
        Arc::new(Self { name, content: Mutex::new(content), ledger })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Accepts an operation, which has its place already. `Ok(true)`: wake the engine. A closed inbox gives it back.
    pub(crate) fn push(
        &self,
        operation: Operation<T>,
        cell: Option<Arc<Cell<R, E>>>,
    ) -> Result<bool, Operation<T>> {
        let mut content = lock(&self.content);
        if content.closed {
            return Err(operation);
        }
        if content.slots.is_empty() {
            content.since = Some(Instant::now());
        }
        let cost = u64::from(operation.cost);
        content.cost += cost;
        content.accepted += 1;
        content.accepted_cost += cost;
        content.slots.push(Slot { operation, cell });
        let due = content.is_due();
        if due {
            content.alarm = Alarm::OFF;
        }
        Ok(due)
    }

    /// Swaps the content for the empty vector `spare`.
    pub(crate) fn fetch(&self, spare: &mut Vec<Slot<T, R, E>>) -> Haul<T, R, E> {
        let mut content = lock(&self.content);
        mem::swap(&mut content.slots, spare);
        let cost = mem::take(&mut content.cost);
        let returned = mem::take(&mut content.returned);
        Haul { cost, since: content.since.take(), accepted_cost: content.accepted_cost, returned }
    }

    /// Takes back a batch that has not reached its handler. At the end of everything it gives it back.
    pub(crate) fn put_back(&self, slots: Vec<Slot<T, R, E>>) -> Result<(), Vec<Slot<T, R, E>>> {
        let mut content = lock(&self.content);
        if content.ended {
            return Err(slots);
        }
        content.returned.push(slots);
        Ok(())
    }

    /// Sets the alarm. True: it would have rung already.
    pub(crate) fn arm(&self, alarm: Alarm) -> bool {
        let mut content = lock(&self.content);
        content.alarm = alarm;
        content.is_due()
    }
}

impl<T, R, E> Books for Inbox<T, R, E>
where
    T: Send,
    R: Send,
    E: Send + Sync,
{
    fn tally(&self) -> Tally {
        let outcomes = self.ledger.outcomes();
        let running = self.ledger.running() as u64;
        let batches = self.ledger.batches() as u64;
        let ended_cost = self.ledger.ended_cost();
        let content = lock(&self.content);
        Tally {
            outcomes,
            running,
            batches,
            ended_cost,
            accepted: content.accepted,
            accepted_cost: content.accepted_cost,
        }
    }

    fn close(&self) {
        lock(&self.content).closed = true;
    }

    fn end_waiting(&self) {
        lock(&self.content).ended = true;
        let mut slots = Vec::new();
        let haul = self.fetch(&mut slots);
        for slot in haul.returned.into_iter().flatten().chain(slots) {
            slot.shut_down(&self.ledger);
        }
    }
}
