use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capacity::Departures;
use crate::engine::Lane;
use crate::event::Events;
use crate::ledger::Reading;
use crate::limit::Aimd;
use crate::places::Places;
use crate::{Audit, BatcherConfig, BatcherEvent, DrainReport, Outcomes, Rate, State, Stats};

/// No lock of this crate is held while user code runs, so a poisoned one is as good as new.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The books of one watcher, whatever its types.
pub(crate) trait Books: Send + Sync {
    /// What became of its operations; how many were accepted, and their cost.
    fn reading(&self) -> (Reading, u64, u64);
    /// Nothing is accepted any more.
    fn close(&self);
    /// What the engine has not seen yet ends as `ShutDown`.
    fn end_waiting(&self);
}

/// What the handles, the engine and the running batches have in common.
pub(crate) struct Shared {
    pub(crate) config: BatcherConfig,
    /// There is a capacity.
    pub(crate) limited: bool,
    /// The most that an operation may cost; without a capacity anything goes.
    max: AtomicU64,
    /// Places in the buffer.
    pub(crate) places: Places,
    /// Bytes in the buffer, if they are limited.
    pub(crate) room: Option<Places>,
    /// The engine has been told that the buffer is full, and has not looked yet.
    pub(crate) starved: AtomicBool,
    pub(crate) flush: AtomicBool,
    /// The engine wants to know of batches that end.
    ends_matter: AtomicBool,
    pub(crate) wake: Arc<Notify>,
    pub(crate) events: Events,
    pub(crate) abort: CancellationToken,
    pub(crate) tracker: TaskTracker,
    pub(crate) batches_started: AtomicU64,
    /// Batches that have their budget and have not started.
    pub(crate) departures: Departures,
    pub(crate) batches_running: AtomicUsize,
    /// What the capacity allows, and what of that is made use of.
    pub(crate) rate: AtomicU64,
    pub(crate) effective: AtomicU64,
    pub(crate) brake: Mutex<Brake>,
    pub(crate) audits: Mutex<Vec<oneshot::Sender<Audit>>>,
    lanes: Mutex<Lanes>,
    pub(crate) life: Mutex<Life>,
    report: watch::Sender<Option<DrainReport>>,
}

#[derive(Default)]
struct Lanes {
    /// Not adopted by the engine yet.
    fresh: Vec<Box<dyn Lane>>,
    books: Vec<Arc<dyn Books>>,
    closed: bool,
}

pub(crate) struct Life {
    pub(crate) state: State,
    end: Option<End>,
    /// When a pause is over; none: when somebody says so.
    pub(crate) pause: Option<Option<Instant>>,
}

/// What throttled operations have led to.
pub(crate) struct Brake {
    pub(crate) aimd: Aimd,
    /// What the capacity allowed when last looked at.
    pub(crate) limit: Option<Rate>,
    /// What everybody was told.
    pub(crate) known: Option<Rate>,
    /// Nothing is started before.
    pub(crate) blocked_until: Option<Instant>,
}

/// The end of a batcher has begun.
#[derive(Clone, Copy)]
struct End {
    began: Instant,
    deadline: Instant,
    before: Outcomes,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(config: BatcherConfig, max: Option<Rate>, events: Events) -> Arc<Self> {
        let brake = Brake { aimd: Aimd::new(Instant::now()), limit: None, known: None, blocked_until: None };
        Arc::new(Self {
            places: Places::new(config.buffer.get()),
            room: config.buffer_bytes.map(|bytes| Places::new(bytes.get())),
            config,
            limited: max.is_some(),
            max: AtomicU64::new(max.map_or(u64::MAX, Rate::units)),
            starved: AtomicBool::new(false),
            flush: AtomicBool::new(false),
            ends_matter: AtomicBool::new(true),
            wake: Arc::new(Notify::new()),
            events,
            abort: CancellationToken::new(),
            tracker: TaskTracker::new(),
            batches_started: AtomicU64::new(0),
            departures: Departures::default(),
            batches_running: AtomicUsize::new(0),
            rate: AtomicU64::new(0),
            effective: AtomicU64::new(0),
            brake: Mutex::new(brake),
            audits: Mutex::default(),
            lanes: Mutex::default(),
            life: Mutex::new(Life { state: State::Built, end: None, pause: None }),
            report: watch::Sender::new(None),
        })
    }

    pub(crate) fn add_lane(&self, lane: Box<dyn Lane>, books: Arc<dyn Books>) {
        let mut lanes = lock(&self.lanes);
        if lanes.closed {
            books.close();
        } else {
            lanes.fresh.push(lane);
        }
        lanes.books.push(books);
        drop(lanes);
        self.wake.notify_one();
    }

    pub(crate) fn fresh_lanes(&self) -> Vec<Box<dyn Lane>> {
        std::mem::take(&mut lock(&self.lanes).fresh)
    }

    /// The most that an operation may cost.
    pub(crate) fn max(&self) -> u64 {
        self.max.load(Ordering::Acquire)
    }

    pub(crate) fn set_max(&self, max: Rate) {
        self.max.store(max.units(), Ordering::Release);
    }

    /// Somebody waits for a place in the buffer, or will have to.
    pub(crate) fn is_full(&self) -> bool {
        self.places.is_full() || self.room.as_ref().is_some_and(Places::is_full)
    }

    /// The engine is about to look at everything: until it says otherwise it wants to know of each batch that ends.
    pub(crate) fn watch_ends(&self) {
        self.ends_matter.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Nothing waits for a batch to end.
    pub(crate) fn ignore_ends(&self) {
        self.ends_matter.store(false, Ordering::SeqCst);
    }

    /// A slot is free again.
    pub(crate) fn batch_ended(&self, urgent: bool) {
        self.batches_running.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if urgent || self.ends_matter.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// An engine works.
    pub(crate) fn has_engine(&self) -> bool {
        !matches!(lock(&self.life).state, State::Built | State::Stopped)
    }

    fn books(&self) -> Vec<Arc<dyn Books>> {
        lock(&self.lanes).books.clone()
    }

    fn outcomes(&self) -> Outcomes {
        let mut sum = Outcomes::default();
        for books in self.books() {
            sum += books.reading().0.outcomes;
        }
        sum
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats {
            state: lock(&self.life).state,
            accepted: 0,
            outcomes: Outcomes::default(),
            buffered: 0,
            backing_off: 0,
            running: 0,
            batches_running: 0,
            batches_started: self.batches_started.load(Ordering::Acquire),
            target: 0,
            retried: 0,
            throttled: 0,
            spent: 0,
            rate: self.limited.then(|| self.rate.load(Ordering::Acquire)),
            adapted: lock(&self.brake).known.map(Rate::units),
            callback_panics: self.events.panics(),
        };
        for books in self.books() {
            let (reading, accepted, accepted_cost) = books.reading();
            stats.accepted += accepted;
            stats.outcomes += reading.outcomes;
            stats.running += reading.running;
            stats.batches_running += reading.batches;
            stats.backing_off += reading.parked;
            stats.retried += reading.retried;
            stats.throttled += reading.throttled;
            stats.spent += reading.spent;
            stats.buffered += accepted.saturating_sub(reading.outcomes.total() + reading.running);
            stats.target += accepted_cost.saturating_sub(reading.idle_cost);
        }
        stats
    }

    /// The engine begins to run. False: the batcher has been stopped before.
    pub(crate) fn start(&self) -> bool {
        let mut life = lock(&self.life);
        match life.state {
            State::Built => {
                life.state = if life.end.is_some() { State::Draining } else { State::Running };
                true
            }
            _ => false,
        }
    }

    /// Refuses everything new.
    fn close(&self) {
        self.places.close();
        if let Some(room) = &self.room {
            room.close();
        }
        let mut lanes = lock(&self.lanes);
        lanes.closed = true;
        let books = lanes.books.clone();
        drop(lanes);
        for books in books {
            books.close();
        }
    }

    /// The end begins: at that deadline everything is cut off. An earlier call's deadline is only ever shortened.
    pub(crate) fn drain_until(&self, deadline: Instant) {
        let now = Instant::now();
        self.close();
        let before = self.outcomes();
        let mut life = lock(&self.life);
        let first = life.end.is_none();
        let end = life.end.get_or_insert(End { began: now, deadline, before });
        end.deadline = end.deadline.min(deadline);
        let paused = life.state == State::Paused;
        if matches!(life.state, State::Running | State::Paused) {
            life.state = State::Draining;
            life.pause = None;
        }
        drop(life);
        if paused {
            self.events.emit(&BatcherEvent::Resumed);
        }
        if first {
            self.events.emit(&BatcherEvent::Draining);
        }
        self.wake.notify_one();
    }

    /// If no engine has begun to run by now, none is waited for any longer.
    pub(crate) fn give_up_engine(&self) {
        let mut life = lock(&self.life);
        if life.state != State::Built {
            return;
        }
        // From here on an engine that comes late finds that it is over.
        life.state = State::Stopped;
        drop(life);
        self.cut_off();
        for mut lane in self.fresh_lanes() {
            lane.shut_down(Instant::now());
        }
        self.stopped(false);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        lock(&self.life).end.map(|end| end.deadline)
    }

    /// Nothing new is accepted or started any more, running handlers are dropped, and what no engine has seen ends.
    pub(crate) fn cut_off(&self) {
        self.close();
        let before = self.outcomes();
        let now = Instant::now();
        lock(&self.life).end.get_or_insert(End { began: now, deadline: now, before });
        self.abort.cancel();
        for books in self.books() {
            books.end_waiting();
        }
    }

    /// Everything has ended; everybody who waits for the report gets it.
    pub(crate) fn stopped(&self, complete: bool) -> DrainReport {
        if let Some(report) = self.report() {
            return report;
        }
        let stats = self.stats();
        let mut life = lock(&self.life);
        life.state = State::Stopped;
        life.pause = None;
        let (began, before) =
            life.end.map_or((Instant::now(), stats.outcomes), |end| (end.began, end.before));
        drop(life);
        let mut outcomes = stats.outcomes - before;
        // Batches whose engine is gone notice that in their own tasks.
        outcomes.shut_down += stats.running;
        let report =
            DrainReport { outcomes, complete: complete && outcomes.shut_down == 0, elapsed: began.elapsed() };
        self.events.emit(&BatcherEvent::Stopped { report });
        self.report.send_replace(Some(report));
        self.refuse_audits();
        report
    }

    pub(crate) fn report(&self) -> Option<DrainReport> {
        *self.report.borrow()
    }

    pub(crate) async fn wait_for_report(&self) -> DrainReport {
        let mut report = self.report.subscribe();
        loop {
            if let Some(report) = *report.borrow_and_update() {
                return report;
            }
            if report.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
