use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::Random;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::queue::{Came, Slots};
use super::running::Seat;
use super::slot::{Again, Refused, Returned, Slot};
use crate::handler::Entry;
use crate::ledger::{Ledger, Outcome, Reading};
use crate::operation::Terms;
use crate::places::Places;
use crate::shared::{Books, Shared, lock};
use crate::ticket::{Cell, Told};
use crate::{
    BatchId, BatcherEvent, DeadLetter, DeadLetterSink, Findings, OnTimeout, OpError, Operation, Retry,
    WatcherConfig,
};

/// Where the callers put operations and the engine fetches them, all at once; and what callers, engine and running
/// batches of one watcher have in common.
pub(crate) struct Inbox<T, R, E> {
    pub(crate) name: Arc<str>,
    pub(crate) config: WatcherConfig,
    pub(crate) retry: Option<Retry<E>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ledger: Arc<Ledger>,
    /// Its own bound on what waits.
    pub(crate) places: Option<Places>,
    /// Nothing more is accepted.
    pub(crate) closed: AtomicBool,
    pub(crate) closing: CancellationToken,
    /// Running handlers are dropped.
    pub(crate) abort: CancellationToken,
    /// What waits leaves without waiting for company.
    pub(crate) draining: AtomicBool,
    /// Everything has ended, and the engine has let go of it.
    pub(crate) done: watch::Sender<bool>,
    dead_letters: Option<Arc<dyn DeadLetterSink<T, E>>>,
    random: Mutex<Random>,
    /// Empty, to be filled again.
    vessels: Mutex<Vec<Vessels<T, R, E>>>,
    content: Mutex<Content<T, R, E>>,
}

struct Content<T, R, E> {
    slots: Slots<T, R, E>,
    /// Sums over `slots`.
    cost: u64,
    bytes: u64,
    /// When the first of `slots` came.
    since: Option<Instant>,
    /// The earliest deadline of `slots`.
    deadline: Option<Instant>,
    accepted: u64,
    accepted_cost: u64,
    alarm: Alarm,
    returned: Returned<T, R, E>,
    /// Nothing of this watcher is started before.
    blocked_until: Option<Instant>,
    closed: bool,
    /// Nobody will fetch anything any more, but one who asks for what is left.
    ended: bool,
    /// Is to be handed back to the caller instead of being started.
    left: Option<Vec<Operation<T>>>,
}

/// When an inbox wakes the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    /// From so many operations on.
    pub(crate) len: usize,
    /// From so much cost on.
    pub(crate) cost: u64,
    /// From so many bytes on.
    pub(crate) bytes: u64,
    /// For a deadline before that; none: for any.
    pub(crate) deadline: Option<Instant>,
}

impl Alarm {
    /// At the next operation.
    pub(crate) const NEXT: Self = Self { len: 1, cost: u64::MAX, bytes: u64::MAX, deadline: None };
    /// Not for operations as such: something else will.
    pub(crate) const OFF: Self = Self { len: usize::MAX, ..Self::NEXT };
    /// It has rung.
    const RUNG: Self = Self { cost: u64::MAX, ..Self::OFF };
}

/// What an inbox held.
pub(super) struct Haul<T, R, E> {
    pub(super) came: Option<Came>,
    pub(crate) accepted_cost: u64,
    pub(crate) returned: Returned<T, R, E>,
    pub(crate) blocked_until: Option<Instant>,
    /// What waits is to be left over.
    pub(crate) leave: bool,
}

impl<T, R, E> Content<T, R, E> {
    fn is_due(&self) -> bool {
        let Some(_) = self.since else { return false };
        let early = match (self.deadline, self.alarm.deadline) {
            (Some(deadline), Some(alarm)) => deadline < alarm,
            (deadline, None) => deadline.is_some(),
            (None, Some(_)) => false,
        };
        self.slots.len() >= self.alarm.len
            || self.cost >= self.alarm.cost
            || self.bytes >= self.alarm.bytes
            || early
    }
}

/// Watchers of other names have other chances, and each the same in every run.
fn seed(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// What the operations of a batch are kept in.
type Vessels<T, R, E> = (Vec<Entry<T>>, Vec<Seat<R, E>>);

/// So many are kept for more batches, each for so many operations at most.
const VESSELS: usize = 8;
const VESSEL: usize = 1_024;

/// What is particular to a watcher, beside its options.
pub(crate) struct Particulars<T, E> {
    pub(crate) retry: Option<Retry<E>>,
    pub(crate) dead_letters: Option<Arc<dyn DeadLetterSink<T, E>>>,
}

impl<T, R, E> Inbox<T, R, E> {
    pub(crate) fn new(
        config: WatcherConfig,
        particulars: Particulars<T, E>,
        shared: &Arc<Shared>,
    ) -> Arc<Self> {
        let content = Content {
            slots: Slots::new(),
            cost: 0,
            bytes: 0,
            since: None,
            deadline: None,
            accepted: 0,
            accepted_cost: 0,
            alarm: Alarm::NEXT,
            returned: Returned::default(),
            blocked_until: None,
            closed: false,
            ended: false,
            left: None,
        };
        Arc::new(Self {
            name: config.name.as_str().into(),
            retry: particulars.retry,
            dead_letters: particulars.dead_letters,
            ledger: Arc::new(Ledger::new(Arc::clone(&shared.wake))),
            places: config.max_queued.map(|places| Places::new(places.get())),
            closed: AtomicBool::new(false),
            closing: CancellationToken::new(),
            abort: shared.abort.child_token(),
            draining: AtomicBool::new(false),
            done: watch::Sender::new(false),
            shared: Arc::clone(shared),
            vessels: Mutex::default(),
            random: Mutex::new(Random::seeded(seed(&config.name))),
            content: Mutex::new(content),
            config,
        })
    }

    /// Accepts an operation, which has its places already. `Ok(true)`: wake the engine. A closed inbox gives it back.
    pub(crate) fn push(
        &self,
        operation: Operation<T>,
        cell: Option<Arc<Cell<R, E>>>,
    ) -> Result<bool, Operation<T>> {
        let mut content = lock(&self.content);
        if content.closed {
            return Err(operation);
        }
        if content.since.is_none() {
            content.since = Some(Instant::now());
        }
        let cost = u64::from(operation.terms.cost);
        content.cost += cost;
        content.bytes += u64::from(operation.terms.bytes);
        content.accepted += 1;
        content.accepted_cost += cost;
        if let Some(deadline) = operation.terms.deadline() {
            content.deadline = Some(content.deadline.map_or(deadline, |earliest| earliest.min(deadline)));
        }
        if content.slots.len() == content.slots.capacity() {
            self.grow(&mut content.slots);
        }
        content.slots.push_back(Some(Slot { operation, cell }));
        let due = content.is_due();
        if due {
            let deadline = content.deadline.or(content.alarm.deadline);
            content.alarm = Alarm { deadline, ..Alarm::RUNG };
        }
        Ok(due)
    }

    /// Doubles, but beyond the buffer there is nothing to make room for.
    #[cold]
    fn grow(&self, slots: &mut Slots<T, R, E>) {
        let len = slots.len();
        let most = self.shared.config.buffer.get().max(len + 1);
        slots.reserve_exact((2 * len).clamp(16.min(most), most) - len);
    }

    /// Swaps the content for the empty `spare`.
    pub(super) fn fetch(&self, spare: &mut Slots<T, R, E>) -> Haul<T, R, E> {
        let mut content = lock(&self.content);
        mem::swap(&mut content.slots, spare);
        Haul {
            came: content.since.take().map(|since| Came {
                since,
                cost: mem::take(&mut content.cost),
                bytes: mem::take(&mut content.bytes),
                timed: content.deadline.take().is_some(),
            }),
            accepted_cost: content.accepted_cost,
            returned: mem::take(&mut content.returned),
            blocked_until: content.blocked_until,
            leave: content.left.is_some(),
        }
    }

    /// A batch is over: takes back what is to be tried again, while the books say so. What nobody wants to be tried
    /// again, and everything at the end of everything, comes back.
    pub(crate) fn conclude(
        &self,
        batch: BatchId,
        again: Again<T, R, E>,
        ended_cost: u64,
    ) -> Refused<T, R, E> {
        let mut refused = Refused { forsaken: Vec::new(), too_late: Vec::new() };
        if again.is_empty() {
            self.ledger.handed_back(batch, ended_cost);
            return refused;
        }
        let mut content = lock(&self.content);
        let (mut front, mut cost) = (Vec::with_capacity(again.now.len()), ended_cost);
        for (slot, cause) in again.now {
            if content.ended {
                refused.too_late.push(slot);
            } else if slot.cell.as_ref().is_none_or(|cell| cell.requeue()) {
                front.push(slot);
            } else {
                refused.forsaken.push((slot, cause));
            }
        }
        for (due, slot, cause) in again.later {
            self.ledger.park(slot.operation.terms.cost);
            if !content.ended && slot.cell.as_ref().is_none_or(|cell| cell.park()) {
                content.returned.later.push((due, slot));
                continue;
            }
            self.ledger.unpark(slot.operation.terms.cost);
            if content.ended {
                refused.too_late.push(slot);
            } else {
                refused.forsaken.push((slot, cause));
            }
        }
        if !front.is_empty() {
            content.returned.now.push(front);
        }
        cost += refused
            .forsaken
            .iter()
            .map(|(slot, _)| slot)
            .chain(&refused.too_late)
            .map(Slot::cost)
            .sum::<u64>();
        self.ledger.handed_back(batch, cost);
        refused
    }

    /// Nothing is started before.
    pub(crate) fn block(&self, until: Instant) {
        let mut content = lock(&self.content);
        content.blocked_until = Some(content.blocked_until.map_or(until, |other| other.max(until)));
    }

    /// Sets the alarm. True: it would have rung already.
    pub(crate) fn arm(&self, alarm: Alarm) -> bool {
        let mut content = lock(&self.content);
        content.alarm = alarm;
        content.is_due()
    }

    /// Whatever waits, here or in the engine, is to be handed back. With no engine to do so it is done here.
    pub(crate) fn leave(&self, engine: bool) {
        let mut content = lock(&self.content);
        content.left.get_or_insert_default();
        drop(content);
        if !engine {
            let mut slots = Slots::new();
            let haul = self.fetch(&mut slots);
            self.unpark_all(&haul.returned);
            for slot in haul.returned.into_slots().chain(slots.into_iter().flatten()) {
                self.leave_one(slot);
            }
        }
    }

    /// One operation ends as `ShutDown` for its ticket, and is handed back to whoever drains the watcher.
    pub(crate) fn leave_one(&self, slot: Slot<T, R, E>) {
        let Slot { operation, cell } = slot;
        let cost = operation.terms.cost;
        let told =
            cell.map_or(Told::Nobody(Err(OpError::ShutDown)), |cell| cell.settle(Err(OpError::ShutDown)));
        if !matches!(told, Told::Cancelled) {
            self.ledger.end(Outcome::ShutDown, 1);
            self.ledger.end_cost(cost.into());
            lock(&self.content).left.get_or_insert_default().push(operation);
        }
    }

    fn unpark_all(&self, returned: &Returned<T, R, E>) {
        for (_, slot) in &returned.later {
            slot.unpark(&self.ledger);
        }
    }

    pub(crate) fn take_left(&self) -> Vec<Operation<T>> {
        lock(&self.content).left.as_mut().map(mem::take).unwrap_or_default()
    }

    /// Something to keep so many operations in.
    pub(crate) fn vessels(&self, capacity: usize) -> Vessels<T, R, E> {
        let kept = lock(&self.vessels).pop();
        kept.unwrap_or_else(|| (Vec::with_capacity(capacity), Vec::with_capacity(capacity)))
    }

    /// Takes back what the operations of a batch were kept in.
    pub(crate) fn recycle(&self, entries: &mut Vec<Entry<T>>, seats: &mut Vec<Seat<R, E>>) {
        entries.clear();
        seats.clear();
        if entries.capacity() <= VESSEL && seats.capacity() <= VESSEL {
            let mut kept = lock(&self.vessels);
            if kept.len() < VESSELS {
                kept.push((mem::take(entries), mem::take(seats)));
            }
        }
    }

    /// How long a handler may take, and what happens then.
    pub(crate) fn time_limit(&self) -> (Duration, OnTimeout) {
        let (own, all) = (&self.config, &self.shared.config);
        (own.max_operation_time.unwrap_or(all.max_operation_time), own.on_timeout.unwrap_or(all.on_timeout))
    }

    /// How long an operation waits after so many attempts.
    pub(crate) fn retry_delay(&self, attempts: u32) -> Duration {
        let mut random = lock(&self.random);
        self.retry.as_ref().map_or(Duration::ZERO, |retry| retry.delay(attempts, &mut random))
    }

    /// Up to a fifth longer, so that processes do not come back together.
    pub(crate) fn breather(&self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 + lock(&self.random).unit() / 5.0)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Places of operations that wait no longer.
    pub(crate) fn free_places(&self, operations: usize, bytes: u64) {
        self.shared.places.free(operations);
        if let Some(room) = &self.shared.room {
            room.free(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        if let Some(places) = &self.places {
            places.free(operations);
        }
    }

    /// Places of operations that wait again.
    pub(crate) fn owe_places(&self, operations: usize, bytes: u64) {
        self.shared.places.owe(operations);
        if let Some(room) = &self.shared.room {
            room.owe(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        if let Some(places) = &self.places {
            places.owe(operations);
        }
    }

    /// Ends an operation that waits, unless it had been cancelled.
    pub(crate) fn end(&self, slot: Slot<T, R, E>, outcome: Outcome, error: OpError<E>) {
        let Slot { operation: Operation { payload, terms }, cell } = slot;
        let told = match cell {
            Some(cell) => cell.settle(Err(error)),
            None => Told::Nobody(Err(error)),
        };
        if matches!(told, Told::Cancelled) {
            return;
        }
        self.ledger.end(outcome, 1);
        self.ledger.end_cost(terms.cost.into());
        if let Told::Nobody(Err(cause)) = told {
            self.bury(Some(payload), &terms, cause);
        }
    }

    /// Nobody waits for an operation that did not end well.
    pub(crate) fn bury(&self, payload: Option<T>, terms: &Terms, cause: OpError<E>) {
        let Some(sink) = &self.dead_letters else { return };
        self.shared.events.emit(&BatcherEvent::DeadLettered {
            watcher: Arc::clone(&self.name),
            attempts: terms.attempts,
            cause: cause.to_string().into(),
        });
        let letter = DeadLetter { payload, cost: terms.cost, attempts: terms.attempts, cause };
        self.shared.events.guarded("the dead-letter sink", || sink.bury(letter));
    }

    /// Holds the counters against what is really there: `queued` counts the engine's part anew. `None`: too much
    /// moved to say.
    pub(crate) fn audit(&self, queued: impl Fn() -> u64) -> Option<Findings> {
        for _ in 0..3 {
            let content = lock(&self.content);
            let found = self.ledger.with_flights(|flights| {
                let idle = self.ledger.idle_cost();
                let waiting = content.slots.iter().flatten().chain(content.returned.now.iter().flatten());
                let here: u64 = waiting.filter(|slot| !slot.is_abandoned()).map(Slot::cost).sum();
                let expected = here + queued() + flights.cost;
                let counted = content.accepted_cost.saturating_sub(idle);
                let batches = (flights.batches as u64, self.ledger.batches() as u64);
                if self.ledger.idle_cost() != idle {
                    return None;
                }
                let findings = Findings {
                    target: (expected != counted).then_some((expected, counted)),
                    in_flight: (batches.0 != batches.1).then_some(batches),
                };
                if !findings.is_empty() {
                    self.ledger.repair(content.accepted_cost - expected, flights);
                }
                (flights.overdue == 0 || !findings.is_empty()).then_some(findings)
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl<T, R, E> Books for Inbox<T, R, E>
where
    T: Send,
    R: Send,
    E: Send + Sync,
{
    fn reading(&self) -> (Reading, u64, u64) {
        let reading = self.ledger.reading();
        let content = lock(&self.content);
        (reading, content.accepted, content.accepted_cost)
    }

    fn close(&self) {
        lock(&self.content).closed = true;
        self.closed.store(true, Ordering::Release);
        self.closing.cancel();
        if let Some(places) = &self.places {
            places.close();
        }
    }

    fn end_waiting(&self) {
        lock(&self.content).ended = true;
        let mut slots = Slots::new();
        let haul = self.fetch(&mut slots);
        self.unpark_all(&haul.returned);
        for slot in haul.returned.into_slots().chain(slots.into_iter().flatten()) {
            self.end(slot, Outcome::ShutDown, OpError::ShutDown);
        }
        self.done.send_replace(true);
    }
}
