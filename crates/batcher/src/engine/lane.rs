use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;

use sluicegate_core::later;
use tokio::time::Instant;

use super::inbox::{Alarm, Inbox, Slot};
use super::running::{Departure, Running};
use crate::handler::{Batch, Entry};
use crate::limit::Meter;
use crate::shared::Shared;
use crate::{BatchContext, BatchId, Flush, FlushReason, Handler, WatcherConfig};

/// One watcher's queue as the engine sees it; called once a batch, never once an operation.
pub(crate) trait Lane: Send {
    /// Fetches what has come in.
    fn pull(&mut self);
    fn is_empty(&self) -> bool;
    /// Sum of the costs of what was accepted and has not ended, as of the last pull.
    fn outstanding(&self) -> u64;
    /// What waits now is to leave without waiting for company.
    fn flush(&mut self);
    /// Whether a batch would leave now, budget aside.
    fn pressure(&mut self, moment: &Moment) -> Pressure;
    /// Cost of the batch that would be formed now, counted no further than `enough`; 0 if its first operation is free.
    fn next_cost(&mut self, enough: u64) -> u64;
    /// Forms a batch from the oldest operations that the meter admits.
    fn form(&mut self, order: Order<'_>) -> Option<Departure>;
    /// Says when the inbox wakes the engine. True: it would have already.
    fn arm(&self, watch: &Watch) -> bool;
    /// Ends everything that waits as `ShutDown`.
    fn shut_down(&mut self);
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
    /// The oldest operation has lingered enough then.
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

/// What the engine waits for besides the lane's own limits.
pub(crate) struct Watch {
    /// No batch can start before another has ended.
    pub(crate) no_slot: bool,
    /// There is no budget, so that company for those who wait changes nothing.
    pub(crate) no_budget: bool,
    /// So much more cost changes the wanted rate.
    pub(crate) headroom: u64,
}

pub(crate) struct TypedLane<T, R, E> {
    inbox: Arc<Inbox<T, R, E>>,
    shared: Arc<Shared>,
    handler: Arc<dyn Handler<T, R, E>>,
    config: WatcherConfig,
    queue: VecDeque<Slot<T, R, E>>,
    /// Sum of the costs in `queue`.
    cost: u64,
    /// How many operations of `queue` came not before when, oldest first.
    ages: VecDeque<(Instant, usize)>,
    /// So many operations at the head are to leave without waiting for company.
    flush: usize,
    outstanding: u64,
    spare: Vec<Slot<T, R, E>>,
}

impl<T, R, E> TypedLane<T, R, E> {
    pub(crate) fn new(
        inbox: Arc<Inbox<T, R, E>>,
        shared: Arc<Shared>,
        handler: Arc<dyn Handler<T, R, E>>,
        config: WatcherConfig,
    ) -> Self {
        Self {
            inbox,
            shared,
            handler,
            config,
            queue: VecDeque::new(),
            cost: 0,
            ages: VecDeque::new(),
            flush: 0,
            outstanding: 0,
            spare: Vec::new(),
        }
    }

    fn max_size(&self) -> usize {
        self.config.max_batch_size.map_or(usize::MAX, NonZeroUsize::get)
    }

    fn max_cost(&self) -> u64 {
        self.config.max_batch_cost.map_or(u64::MAX, std::num::NonZeroU64::get)
    }

    fn free_slot(&self) -> bool {
        self.config.max_concurrent_batches.is_none_or(|max| self.inbox.ledger().batches() < max.get())
    }

    /// Takes the oldest operation out of all counts but the books.
    fn pop(&mut self) -> Option<Slot<T, R, E>> {
        let slot = self.queue.pop_front()?;
        self.cost -= u64::from(slot.operation.cost);
        self.flush = self.flush.saturating_sub(1);
        if let Some((_, count)) = self.ages.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.ages.pop_front();
            }
        }
        Some(slot)
    }

    /// Operations that have left before are the first to leave again.
    fn take_back(&mut self, slots: Vec<Slot<T, R, E>>) {
        self.ages.push_front((Instant::now(), slots.len()));
        self.flush += slots.len();
        for slot in slots.into_iter().rev() {
            self.cost += u64::from(slot.operation.cost);
            self.queue.push_front(slot);
        }
    }

    /// Removes cancelled operations at the head; all of them once they are a quarter of the queue.
    fn sweep(&mut self) {
        let ledger = Arc::clone(self.inbox.ledger());
        let mut swept = 0;
        if ledger.abandoned() > 0 && ledger.abandoned() * 4 >= self.queue.len() {
            let mut kept = VecDeque::with_capacity(self.queue.len());
            let mut ages = VecDeque::with_capacity(self.ages.len());
            let flush = self.flush;
            let mut kept_flush = 0;
            for (since, count) in std::mem::take(&mut self.ages) {
                let before = kept.len();
                for slot in self.queue.drain(..count) {
                    if is_abandoned(&slot) {
                        self.cost -= u64::from(slot.operation.cost);
                        swept += 1;
                    } else {
                        kept_flush += usize::from(kept.len() + swept < flush);
                        kept.push_back(slot);
                    }
                }
                if kept.len() > before {
                    ages.push_back((since, kept.len() - before));
                }
            }
            self.queue = kept;
            self.ages = ages;
            self.flush = kept_flush;
        } else if ledger.abandoned() > 0 {
            while self.queue.front().is_some_and(is_abandoned) {
                self.pop();
                swept += 1;
            }
        }
        if swept > 0 {
            ledger.swept(swept);
            self.shared.free_places(swept);
        }
    }
}

fn is_abandoned<T, R, E>(slot: &Slot<T, R, E>) -> bool {
    slot.cell.as_ref().is_some_and(|cell| cell.is_abandoned())
}

impl<T, R, E> Lane for TypedLane<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    fn pull(&mut self) {
        let ended_cost = self.inbox.ledger().ended_cost();
        let haul = self.inbox.fetch(&mut self.spare);
        self.outstanding = haul.accepted_cost.saturating_sub(ended_cost);
        if let Some(since) = haul.since {
            self.ages.push_back((since, self.spare.len()));
            self.cost += haul.cost;
            self.queue.extend(self.spare.drain(..));
        }
        for slots in haul.returned.into_iter().rev() {
            self.take_back(slots);
        }
        self.sweep();
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn outstanding(&self) -> u64 {
        self.outstanding
    }

    fn flush(&mut self) {
        self.flush = self.queue.len();
    }

    fn pressure(&mut self, moment: &Moment) -> Pressure {
        let Some((since, _)) = self.ages.front() else { return Pressure::Rests };
        if !self.free_slot() {
            return Pressure::Rests;
        }
        let idle = self.inbox.ledger().batches() == 0;
        let lingered = later(*since, self.config.linger);
        let reason = if self.queue.len() >= self.max_size() {
            FlushReason::Size
        } else if self.cost >= self.max_cost() {
            FlushReason::Cost
        } else if moment.draining {
            FlushReason::Drain
        } else if self.flush > 0 {
            FlushReason::Requested
        } else if self.config.flush == Flush::Immediate {
            FlushReason::Immediate
        } else if self.config.flush == Flush::Adaptive && idle {
            FlushReason::Idle
        } else if moment.buffer_full {
            FlushReason::BufferFull
        } else if lingered <= moment.now {
            FlushReason::Linger
        } else {
            return Pressure::Until(lingered);
        };
        Pressure::Ready(reason)
    }

    fn next_cost(&mut self, enough: u64) -> u64 {
        let mut sum = 0;
        for (at, slot) in self.queue.iter().take(self.max_size()).enumerate() {
            let cost = u64::from(slot.operation.cost);
            if at == 0 && cost == 0 {
                return 0;
            }
            if at > 0 && sum + cost > self.max_cost() {
                break;
            }
            sum += cost;
            if sum >= enough {
                break;
            }
        }
        sum
    }

    fn form(&mut self, mut order: Order<'_>) -> Option<Departure> {
        let (max_size, max_cost) = (self.max_size(), self.max_cost());
        let oldest = self.ages.front().map_or(order.now, |(since, _)| *since);
        // How far the budget reaches is not known yet.
        let most = if order.meter.is_some() { 128 } else { usize::MAX };
        let expected = self.queue.len().min(max_size).min(most);
        let mut batch = Batch { entries: Vec::with_capacity(expected) };
        let mut cells = Vec::with_capacity(expected);
        let (mut sum, mut swept) = (0, 0);
        while batch.entries.len() < max_size
            && let Some(slot) = self.queue.front()
        {
            let cost = slot.operation.cost;
            if !batch.entries.is_empty() && sum + u64::from(cost) > max_cost {
                break;
            }
            if order.meter.as_mut().is_some_and(|meter| !meter.bucket().admits(cost)) {
                break;
            }
            // From here on a ticket can no longer cancel.
            let wanted = slot.cell.as_ref().is_none_or(|cell| cell.try_start());
            let Some(Slot { operation, cell }) = self.pop() else { break };
            if !wanted {
                swept += 1;
                continue;
            }
            if let Some(meter) = order.meter.as_mut() {
                meter.bucket().take(cost);
            }
            sum += u64::from(cost);
            batch.entries.push(Entry { payload: Some(operation.payload), cost });
            cells.push(cell);
        }
        self.inbox.ledger().swept(swept);
        let len = batch.entries.len();
        self.shared.free_places(len + swept);
        if len == 0 {
            return None;
        }
        let cx = BatchContext {
            id: order.id,
            watcher: Arc::clone(self.inbox.name()),
            reason: order.reason,
            cost: sum,
            start_by: order.meter.as_ref().and_then(|meter| meter.grant().start_by(order.now)),
            grant: order.meter.map(|meter| meter.grant().clone()),
            cancellation: self.shared.abort.clone(),
        };
        let oldest_wait = order.now.saturating_duration_since(oldest);
        let running = Running::new(batch, cells, cx, Arc::clone(&self.inbox), Arc::clone(&self.shared));
        let handler = Arc::clone(&self.handler);
        Some(Departure {
            len,
            cost: sum,
            oldest_wait,
            watcher: Arc::clone(self.inbox.name()),
            task: Box::pin(running.run(handler)),
        })
    }

    fn arm(&self, watch: &Watch) -> bool {
        let mut alarm = if watch.no_slot || !self.free_slot() {
            Alarm::OFF
        } else if self.queue.is_empty() {
            Alarm::NEXT
        } else if watch.no_budget {
            Alarm::OFF
        } else {
            Alarm {
                len: self.max_size().saturating_sub(self.queue.len()).max(1),
                cost: self.max_cost().saturating_sub(self.cost).max(1),
            }
        };
        alarm.cost = alarm.cost.min(watch.headroom);
        self.inbox.arm(alarm)
    }

    fn shut_down(&mut self) {
        self.pull();
        while let Some(slot) = self.pop() {
            slot.shut_down(self.inbox.ledger());
        }
    }
}

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
