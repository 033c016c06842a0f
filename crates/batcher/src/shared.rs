use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::Lane;
use crate::event::Events;
use crate::{BatcherConfig, BatcherEvent, DrainReport, Outcomes, Rate, State, Stats};

/// No lock of this crate is held while user code runs, so a poisoned one is as good as new.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The books of one watcher, whatever its types.
pub(crate) trait Books: Send + Sync {
    fn tally(&self) -> Tally;
    /// Nothing is accepted any more.
    fn close(&self);
    /// What the engine has not seen yet ends as `ShutDown`.
    fn end_waiting(&self);
}

/// A reading of the books.
pub(crate) struct Tally {
    pub(crate) outcomes: Outcomes,
    pub(crate) running: u64,
    pub(crate) batches: u64,
    pub(crate) ended_cost: u64,
    pub(crate) accepted: u64,
    pub(crate) accepted_cost: u64,
}

/// What the handles, the engine and the running batches have in common.
pub(crate) struct Shared {
    pub(crate) config: BatcherConfig,
    /// The most that an operation may cost; without a capacity anything goes.
    pub(crate) max: Option<Rate>,
    /// Free places in the buffer. Its line is the order in which callers wait for one.
    pub(crate) places: Semaphore,
    /// Operations that wait again after their places were given away.
    pub(crate) overdraft: AtomicUsize,
    /// The engine has been told that the buffer is full, and has not looked yet.
    pub(crate) starved: AtomicBool,
    pub(crate) flush: AtomicBool,
    pub(crate) wake: Arc<Notify>,
    pub(crate) events: Events,
    pub(crate) abort: CancellationToken,
    pub(crate) tracker: TaskTracker,
    pub(crate) batches_started: AtomicU64,
    pub(crate) batches_running: AtomicUsize,
    pub(crate) rate: AtomicU64,
    lanes: Mutex<Lanes>,
    life: Mutex<Life>,
    report: watch::Sender<Option<DrainReport>>,
}

#[derive(Default)]
struct Lanes {
    /// Not adopted by the engine yet.
    fresh: Vec<Box<dyn Lane>>,
    books: Vec<Arc<dyn Books>>,
    closed: bool,
}

struct Life {
    state: State,
    end: Option<End>,
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
        Arc::new(Self {
            places: Semaphore::new(config.buffer.get()),
            config,
            max,
            overdraft: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
            flush: AtomicBool::new(false),
            wake: Arc::new(Notify::new()),
            events,
            abort: CancellationToken::new(),
            tracker: TaskTracker::new(),
            batches_started: AtomicU64::new(0),
            batches_running: AtomicUsize::new(0),
            rate: AtomicU64::new(0),
            lanes: Mutex::default(),
            life: Mutex::new(Life { state: State::Built, end: None }),
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

    /// So many operations wait no longer.
    pub(crate) fn free_places(&self, places: usize) {
        let take = |owed: usize| (owed > 0).then(|| owed.saturating_sub(places));
        let owed = self.overdraft.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).unwrap_or(0);
        self.places.add_permits(places.saturating_sub(owed));
    }

    fn books(&self) -> Vec<Arc<dyn Books>> {
        lock(&self.lanes).books.clone()
    }

    fn outcomes(&self) -> Outcomes {
        let mut sum = Outcomes::default();
        for books in self.books() {
            sum += books.tally().outcomes;
        }
        sum
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats {
            state: lock(&self.life).state,
            accepted: 0,
            outcomes: Outcomes::default(),
            buffered: 0,
            running: 0,
            batches_running: 0,
            batches_started: self.batches_started.load(Ordering::Acquire),
            target: 0,
            rate: self.max.map(|_| self.rate.load(Ordering::Acquire)),
            observer_panics: self.events.panics(),
        };
        for books in self.books() {
            let tally = books.tally();
            stats.accepted += tally.accepted;
            stats.outcomes += tally.outcomes;
            stats.running += tally.running;
            stats.batches_running += tally.batches;
            stats.buffered += tally.accepted.saturating_sub(tally.outcomes.total() + tally.running);
            stats.target += tally.accepted_cost.saturating_sub(tally.ended_cost);
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
        if life.state == State::Running {
            life.state = State::Draining;
        }
        drop(life);
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
            lane.shut_down();
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
