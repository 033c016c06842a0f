use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::inbox::{Alarm, Inbox};
use super::parked::Parked;
use super::queue::{Queue, Slots};
use super::running::{Running, Seat};
use super::slot::Slot;
use crate::handler::{Batch, Entry};
use crate::ledger::Outcome;
use crate::limit::Meter;
use crate::shared::Books;
use crate::{BatchContext, BatchId, BatcherEvent, Findings, Flush, FlushReason, Handler, OpError};

/// One watcher's queue as the engine sees it; called once a batch, never once an operation.
pub(crate) trait Lane: Send {
    /// Fetches what has come in, and ends what has waited too long.
    fn pull(&mut self, now: Instant);
    /// Nothing waits, for its turn or for another attempt.
    fn is_empty(&self) -> bool;
    /// It waits for no batch to end.
    fn is_at_rest(&self) -> bool;
    /// It is drained by itself, and everything has ended.
    fn is_over(&self) -> bool;
    /// The engine lets go of it.
    fn farewell(&self);
    /// Sum of the costs of what needs capacity, as of the last pull.
    fn outstanding(&self) -> u64;
    /// Its part beside others.
    fn weight(&self) -> u32;
    /// What waits now is to leave without waiting for company.
    fn flush(&mut self);
    /// Whether a batch would leave now, budget aside.
    fn pressure(&self, moment: &Moment) -> Pressure;
    /// When something ends or is due, whatever else happens.
    fn timer(&self) -> Option<Instant>;
    /// Cost of the batch that would be formed now, counted no further than `enough`; 0 if its first operation is free.
    fn next_cost(&self, enough: u64) -> u64;
    /// Forms a batch from the oldest operations that the meter admits.
    fn form(&mut self, order: Order<'_>) -> Option<Departure>;
    /// Sends the batch that was formed on its way.
    fn launch(&mut self);
    /// Says when the inbox wakes the engine. True: it would have already.
    fn arm(&self, watch: &Watch) -> bool;
    /// Holds the counters against what is there.
    fn audit(&self) -> Option<Findings>;
    /// Ends everything that waits as `ShutDown`.
    fn shut_down(&mut self, now: Instant);
}

/// What all lanes are judged by.
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) buffer_full: bool,
    pub(crate) draining: bool,
}

pub(crate) enum Pressure {
    /// Nothing to do until something comes in, or ends.
    Rests,
    /// Not before then.
    Until(Instant),
    /// Now, for this reason.
    Ready(FlushReason),
}

/// An order to form a batch.
pub(crate) struct Order<'a> {
    pub(crate) id: BatchId,
    pub(crate) reason: FlushReason,
    pub(crate) now: Instant,
    pub(crate) meter: Option<&'a mut Meter>,
}

/// A batch that is about to leave.
pub(crate) struct Departure {
    pub(crate) watcher: Arc<str>,
    pub(crate) len: usize,
    pub(crate) cost: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_wait: Duration,
}

/// What the engine waits for besides the lane's own limits.
pub(crate) struct Watch {
    /// No batch can start before another has ended, or a pause is over.
    pub(crate) no_slot: bool,
    /// There is no budget, so that company for those who wait changes nothing.
    pub(crate) no_budget: bool,
    /// So much more cost changes the wanted rate.
    pub(crate) headroom: u64,
    /// The engine looks again then.
    pub(crate) wake: Option<Instant>,
}

pub(crate) struct TypedLane<T, R, E> {
    inbox: Arc<Inbox<T, R, E>>,
    handler: Arc<dyn Handler<T, R, E>>,
    queue: Queue<T, R, E>,
    /// What waits for another attempt.
    parked: BinaryHeap<Parked<T, R, E>>,
    /// How many have waited for another attempt, ever.
    parked_ever: u64,
    outstanding: u64,
    blocked_until: Option<Instant>,
    /// No batch was running before the last pull.
    idle: bool,
    /// What the ticks of [`Flush::Every`] are counted from.
    born: Instant,
    spare: Slots<T, R, E>,
    departing: Option<(Running<T, R, E>, Span)>,
}

impl<T, R, E> TypedLane<T, R, E> {
    pub(crate) fn new(inbox: Arc<Inbox<T, R, E>>, handler: Arc<dyn Handler<T, R, E>>) -> Self {
        Self {
            inbox,
            handler,
            queue: Queue::new(),
            parked: BinaryHeap::new(),
            parked_ever: 0,
            outstanding: 0,
            blocked_until: None,
            idle: true,
            born: Instant::now(),
            spare: Slots::new(),
            departing: None,
        }
    }

    fn max_size(&self) -> usize {
        self.inbox.config.max_batch_size.map_or(usize::MAX, NonZeroUsize::get)
    }

    fn max_cost(&self) -> u64 {
        self.inbox.config.max_batch_cost.map_or(u64::MAX, std::num::NonZeroU64::get)
    }

    fn max_bytes(&self) -> u64 {
        self.inbox.config.max_batch_bytes.map_or(u64::MAX, std::num::NonZeroU64::get)
    }

    fn free_slot(&self) -> bool {
        let max = self.inbox.config.max_concurrent_batches;
        max.is_none_or(|max| self.inbox.ledger.batches() < max.get())
    }

    fn next_tick(&self, interval: Duration, since: Instant) -> Instant {
        let interval = interval.as_nanos().max(1);
        let ticks = since.saturating_duration_since(self.born).as_nanos() / interval + 1;
        let nanos = u64::try_from(ticks.saturating_mul(interval)).unwrap_or(u64::MAX);
        later(self.born, Duration::from_nanos(nanos))
    }

    /// What waits is handed back to whoever drains the watcher.
    fn leave(&mut self) {
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
    fn let_go(&self, slot: Slot<T, R, E>, end: impl FnOnce(&Inbox<T, R, E>, Slot<T, R, E>)) {
        if slot.is_abandoned() {
            self.forget(&slot);
        } else {
            self.inbox.free_places(1, slot.operation.terms.bytes.into());
            end(&self.inbox, slot);
        }
    }

    /// A cancelled operation leaves the buffer.
    fn forget(&self, slot: &Slot<T, R, E>) {
        self.inbox.ledger.swept(1);
        self.inbox.free_places(1, slot.operation.terms.bytes.into());
    }

    /// What has waited long enough for another attempt goes to the head of the queue.
    fn wake_parked(&mut self, now: Instant) {
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

    fn end_overdue(&mut self, now: Instant) {
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
    fn sweep(&mut self) {
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

    /// Where the next operation of a batch stands, from that place on.
    fn next_place(&self, from: usize, first: bool) -> Option<usize> {
        (from..self.queue.places())
            .find(|place| self.queue.at(*place).is_some_and(|slot| first || !slot.operation.terms.alone))
    }
}

impl<T, R, E> Lane for TypedLane<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    fn pull(&mut self, now: Instant) {
        self.idle = self.inbox.ledger.batches() == 0;
        let idle_cost = self.inbox.ledger.idle_cost();
        let haul = self.inbox.fetch(&mut self.spare);
        self.outstanding = haul.accepted_cost.saturating_sub(idle_cost);
        self.blocked_until = haul.blocked_until.filter(|until| *until > now);
        if let Some(came) = haul.came {
            self.queue.extend(&mut self.spare, came);
        }
        for slots in haul.returned.now.into_iter().rev() {
            self.queue.put_back(slots, now);
        }
        for (due, slot) in haul.returned.later {
            self.parked_ever += 1;
            self.parked.push(Parked::new(due, self.parked_ever, slot));
        }
        if haul.leave {
            self.leave();
        }
        if !self.parked.is_empty() {
            self.wake_parked(now);
        }
        self.end_overdue(now);
        self.sweep();
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.parked.is_empty()
    }

    fn is_at_rest(&self) -> bool {
        self.queue.is_empty() && self.free_slot() && !self.inbox.is_draining()
    }

    fn is_over(&self) -> bool {
        self.idle && self.inbox.is_draining() && self.is_empty()
    }

    fn farewell(&self) {
        self.inbox.done.send_replace(true);
    }

    fn outstanding(&self) -> u64 {
        self.outstanding
    }

    fn weight(&self) -> u32 {
        self.inbox.config.weight.get()
    }

    fn flush(&mut self) {
        self.queue.flush();
    }

    fn pressure(&self, moment: &Moment) -> Pressure {
        let (Some(since), Some(head)) = (self.queue.oldest(), self.queue.front()) else {
            return Pressure::Rests;
        };
        if let Some(until) = self.blocked_until {
            return Pressure::Until(until);
        }
        if !self.free_slot() {
            return Pressure::Rests;
        }
        let reason = if head.operation.terms.alone {
            FlushReason::Alone
        } else if self.queue.len() >= self.max_size() {
            FlushReason::Size
        } else if self.queue.bytes() >= self.max_bytes() {
            FlushReason::Bytes
        } else if self.queue.cost() >= self.max_cost() {
            FlushReason::Cost
        } else if moment.draining || self.inbox.is_draining() {
            FlushReason::Drain
        } else if self.queue.has_again() {
            FlushReason::Again
        } else if self.queue.is_flushed() {
            FlushReason::Requested
        } else if moment.buffer_full {
            FlushReason::BufferFull
        } else {
            let (due, reason) = match self.inbox.config.flush {
                Flush::Immediate => return Pressure::Ready(FlushReason::Immediate),
                Flush::Adaptive if self.inbox.ledger.batches() == 0 => {
                    return Pressure::Ready(FlushReason::Idle);
                }
                Flush::Every(interval) => (self.next_tick(interval, since), FlushReason::Tick),
                Flush::Adaptive | Flush::Linger => {
                    (later(since, self.inbox.config.linger), FlushReason::Linger)
                }
            };
            if due > moment.now {
                return Pressure::Until(due);
            }
            reason
        };
        Pressure::Ready(reason)
    }

    fn timer(&self) -> Option<Instant> {
        let due = self.parked.peek().map(|parked| parked.due);
        match (due, self.queue.earliest_deadline()) {
            (Some(due), Some(deadline)) => Some(due.min(deadline)),
            (due, deadline) => due.or(deadline),
        }
    }

    fn next_cost(&self, enough: u64) -> u64 {
        let (mut sum, mut bytes, mut len, mut from) = (0, 0, 0, 0);
        while len < self.max_size()
            && let Some(place) = self.next_place(from, len == 0)
            && let Some(slot) = self.queue.at(place)
        {
            let (cost, size) = (slot.cost(), u64::from(slot.operation.terms.bytes));
            if len == 0 && cost == 0 {
                return 0;
            }
            let too_much = sum + cost > self.max_cost() || bytes + size > self.max_bytes();
            if len > 0 && too_much {
                break;
            }
            (sum, bytes, len, from) = (sum + cost, bytes + size, len + 1, place + 1);
            if sum >= enough || slot.operation.terms.alone {
                break;
            }
        }
        sum
    }

    fn form(&mut self, mut order: Order<'_>) -> Option<Departure> {
        let (max_size, max_cost, max_bytes) = (self.max_size(), self.max_cost(), self.max_bytes());
        let oldest = self.queue.oldest().unwrap_or(order.now);
        // How far the budget reaches is not known yet.
        let most = if order.meter.is_some() { 128 } else { usize::MAX };
        let expected = self.queue.len().min(max_size).min(most);
        let (entries, mut seats) = self.inbox.vessels(expected);
        let mut batch = Batch { entries };
        let (mut sum, mut bytes, mut freed, mut swept, mut from) = (0, 0, 0, 0, 0);
        let mut deadline: Option<Instant> = None;
        let span = tracing::debug_span!(
            "batch",
            batch = order.id.0,
            watcher = %self.inbox.name,
            reason = ?order.reason,
            len = tracing::field::Empty,
            cost = tracing::field::Empty,
        );
        while batch.entries.len() < max_size
            && let Some(place) = self.next_place(from, batch.entries.is_empty())
            && let Some(slot) = self.queue.at(place)
        {
            let (cost, size) = (slot.operation.terms.cost, u64::from(slot.operation.terms.bytes));
            let too_much = sum + u64::from(cost) > max_cost || bytes + size > max_bytes;
            if !batch.entries.is_empty() && too_much {
                break;
            }
            if order.meter.as_mut().is_some_and(|meter| !meter.bucket().admits(cost)) {
                break;
            }
            // From here on a ticket can no longer cancel.
            let wanted = slot.cell.as_ref().is_none_or(|cell| cell.try_start());
            from = if place == 0 { 0 } else { place + 1 };
            let Some(Slot { operation, cell }) = self.queue.take(place) else { break };
            freed += size;
            if !wanted {
                swept += 1;
                continue;
            }
            if let Some(meter) = order.meter.as_mut() {
                meter.bucket().take(cost);
            }
            sum += u64::from(cost);
            bytes += size;
            let mut terms = operation.terms;
            terms.attempts = terms.attempts.saturating_add(1);
            if terms.rare.is_some() {
                deadline = [deadline, terms.deadline()].into_iter().flatten().min();
                if let Some(origin) = terms.span() {
                    span.follows_from(origin);
                    origin.in_scope(|| tracing::debug!(batch = order.id.0, "dispatched"));
                }
            }
            let alone = terms.alone;
            seats.push(Seat { cell, cost, attempts: terms.attempts });
            batch.entries.push(Entry { payload: Some(operation.payload), terms });
            if alone {
                break;
            }
        }
        let len = batch.entries.len();
        if swept > 0 {
            self.inbox.ledger.swept(swept);
        }
        self.inbox.free_places(len + swept, freed);
        if len == 0 {
            return None;
        }
        span.record("len", len);
        span.record("cost", sum);
        let limited = order.meter.as_ref().filter(|meter| meter.is_granted());
        let cx = BatchContext {
            id: order.id,
            watcher: Arc::clone(&self.inbox.name),
            reason: order.reason,
            cost: sum,
            bytes,
            deadline,
            start_by: limited.and_then(|meter| meter.grant().start_by(order.now)),
            grant: limited.map(|meter| meter.grant().clone()),
            cancellation: self.inbox.abort.clone(),
        };
        let oldest_wait = order.now.saturating_duration_since(oldest);
        let running = Running::new(batch, seats, cx, Arc::clone(&self.inbox), order.now);
        self.departing = Some((running, span));
        Some(Departure { len, cost: sum, bytes, oldest_wait, watcher: Arc::clone(&self.inbox.name) })
    }

    fn launch(&mut self) {
        if let Some((running, span)) = self.departing.take() {
            let task = running.run(Arc::clone(&self.handler)).instrument(span);
            self.inbox.shared.tracker.spawn(task);
        }
    }

    fn arm(&self, watch: &Watch) -> bool {
        let mut alarm = if watch.no_slot || self.blocked_until.is_some() || !self.free_slot() {
            Alarm::OFF
        } else if self.queue.is_empty() {
            Alarm::NEXT
        } else if watch.no_budget {
            Alarm::OFF
        } else {
            Alarm {
                len: self.max_size().saturating_sub(self.queue.len()).max(1),
                cost: self.max_cost().saturating_sub(self.queue.cost()).max(1),
                bytes: self.max_bytes().saturating_sub(self.queue.bytes()).max(1),
                deadline: None,
            }
        };
        alarm.cost = alarm.cost.min(watch.headroom);
        alarm.deadline = watch.wake;
        self.inbox.arm(alarm)
    }

    fn audit(&self) -> Option<Findings> {
        self.inbox.audit(|| self.queue.iter().filter(|slot| !slot.is_abandoned()).map(Slot::cost).sum())
    }

    fn shut_down(&mut self, now: Instant) {
        self.pull(now);
        while let Some(slot) = self.queue.take(0) {
            self.inbox.end(slot, Outcome::ShutDown, OpError::ShutDown);
        }
        for parked in std::mem::take(&mut self.parked) {
            if parked.slot.unpark(&self.inbox.ledger) {
                self.inbox.end(parked.slot, Outcome::ShutDown, OpError::ShutDown);
            }
        }
        self.inbox.end_waiting();
    }
}
