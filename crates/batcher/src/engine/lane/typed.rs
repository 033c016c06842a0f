use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::{Departure, Lane, Moment, Order, Pressure, Watch};
use crate::engine::inbox::{Alarm, Inbox};
use crate::engine::parked::Parked;
use crate::engine::queue::{Queue, Slots};
use crate::engine::running::Running;
use crate::engine::slot::Slot;
use crate::ledger::Outcome;
use crate::shared::Books;
use crate::{Findings, Flush, FlushReason, Handler, OpError};

pub(crate) struct TypedLane<T, R, E> {
    pub(super) inbox: Arc<Inbox<T, R, E>>,
    pub(super) handler: Arc<dyn Handler<T, R, E>>,
    pub(super) queue: Queue<T, R, E>,
    /// What waits for another attempt.
    pub(super) parked: BinaryHeap<Parked<T, R, E>>,
    /// How many have waited for another attempt, ever.
    parked_ever: u64,
    outstanding: u64,
    blocked_until: Option<Instant>,
    /// No batch was running before the last pull.
    idle: bool,
    /// What the ticks of [`Flush::Every`] are counted from.
    born: Instant,
    spare: Slots<T, R, E>,
    pub(super) departing: Option<(Running<T, R, E>, Span)>,
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

    pub(super) fn max_size(&self) -> usize {
        self.inbox.config.max_batch_size.map_or(usize::MAX, NonZeroUsize::get)
    }

    pub(super) fn max_cost(&self) -> u64 {
        self.inbox.config.max_batch_cost.map_or(u64::MAX, std::num::NonZeroU64::get)
    }

    pub(super) fn max_bytes(&self) -> u64 {
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
        self.cost_of_next(enough)
    }

    fn form(&mut self, order: Order<'_>) -> Option<Departure> {
        self.form_batch(order)
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
