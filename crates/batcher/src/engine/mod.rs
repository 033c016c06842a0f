mod audit;
mod conclude;
mod inbox;
mod lane;
mod parked;
mod queue;
mod running;
mod schedule;
mod slot;
mod supply;

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::audit::Audit;
use self::audit::Audits;
pub(crate) use self::inbox::{Inbox, Particulars};
pub(crate) use self::lane::{Lane, TypedLane};
use self::lane::{Moment, Watch};
use self::schedule::{Berth, Rest, Schedule};
use self::supply::{Supply, announce_change};
use crate::shared::Shared;
use crate::{Capacity, DrainReport, Driver};

/// What makes a [`Batcher`](crate::Batcher) work: forms batches, keeps the rate, starts the handlers.
///
/// Dropping it, or the future of [`run`](Engine::run), is an abort: every accepted operation ends as `ShutDown`.
/// Leases are not given back then; they expire.
#[must_use = "nothing leaves the batcher unless its engine runs"]
pub struct Engine {
    shared: Arc<Shared>,
    capacity: Option<Box<dyn Capacity>>,
    berths: Vec<Berth>,
    finished: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, capacity: Option<Box<dyn Capacity>>) -> Self {
        Self { shared, capacity, berths: Vec::new(), finished: false }
    }

    /// Works until the batcher is drained, or the token is cancelled, which aborts it: nothing new starts, running
    /// handlers are dropped, every accepted operation ends as `ShutDown`. Either way leases are given back before it
    /// returns, as far as the pool can be reached.
    ///
    /// # Cancel safety
    /// Dropping it is an abort, without giving leases back.
    pub async fn run(mut self, token: CancellationToken) -> DrainReport {
        if !self.shared.start() {
            self.finished = true;
            return self.shared.wait_for_report().await;
        }
        let capacity = self.capacity.take();
        let stop = CancellationToken::new();
        let mut drive = Drive(capacity.as_ref().map(|capacity| {
            capacity.drive(Driver::new(
                stop.clone(),
                self.shared.events.clone(),
                self.shared.departures.clone(),
            ))
        }));
        let complete = drive.beside(self.work(capacity.as_deref(), &token)).await;
        drive.beside(self.wind_up()).await;
        stop.cancel();
        drive.end().await;
        if let Some(capacity) = &capacity {
            announce_change(&self.shared, &capacity.current().borrow(), None, Instant::now());
        }
        self.finished = true;
        self.shared.stopped(complete)
    }

    /// Until there is nothing more to do; false: cut off.
    async fn work(&mut self, capacity: Option<&dyn Capacity>, token: &CancellationToken) -> bool {
        let mut cancelled = pin!(token.cancelled());
        let mut supply = Supply::new(capacity, &self.shared);
        let (mut schedule, mut audits) = (Schedule::default(), Audits::new(&self.shared.config));
        let mut timer = Timer::new();
        loop {
            let deadline = self.shared.deadline();
            let now = Instant::now();
            if token.is_cancelled() || deadline.is_some_and(|deadline| deadline <= now) {
                return false;
            }
            self.shared.watch_ends();
            // Before the lanes are pulled: a batch that is put back is in its inbox before it counts as ended.
            let none_running = self.shared.batches_running.load(Ordering::Acquire) == 0;
            self.pull(now);
            let all_empty = self.berths.iter().all(|berth| berth.lane.is_empty());
            if deadline.is_some() && none_running && all_empty {
                return true;
            }
            let mut rest = self.dispatch(&mut schedule, &mut supply, now, deadline.is_some());
            rest.wake_at(deadline);
            for berth in &self.berths {
                rest.wake_at(berth.lane.timer());
            }
            rest.wake_at(audits.look(&self.berths, &self.shared, now, all_empty && none_running));
            let headroom = supply.demand(&self.berths, now, &self.shared, &mut rest);
            let Rest { wake, no_slot, no_budget } = rest;
            let watch = Watch { no_slot, no_budget, headroom, wake };
            let mut due = false;
            for berth in &self.berths {
                due |= berth.lane.arm(&watch);
            }
            if due {
                tokio::task::yield_now().await;
                continue;
            }
            // A batch that ends frees a slot, lowers the need for capacity, and may be the last of a drain.
            if capacity.is_none()
                && deadline.is_none()
                && !no_slot
                && self.berths.iter().all(|berth| berth.lane.is_at_rest())
            {
                self.shared.ignore_ends();
            }
            timer.set(wake);
            tokio::select! {
                biased;
                () = &mut cancelled => {}
                () = self.shared.wake.notified() => {}
                () = supply.changed() => {}
                () = timer.fired() => {}
            }
        }
    }

    /// Fetches what has come in, lanes included; lets go of those that are over.
    fn pull(&mut self, now: Instant) {
        self.berths.extend(self.shared.fresh_lanes().into_iter().map(Berth::new));
        for berth in &mut self.berths {
            berth.lane.pull(now);
        }
        self.berths.retain(|berth| {
            let over = berth.lane.is_over();
            if over {
                berth.lane.farewell();
            }
            !over
        });
        if self.shared.flush.swap(false, Ordering::AcqRel) {
            for berth in &mut self.berths {
                berth.lane.flush();
            }
        }
    }

    fn dispatch(
        &mut self,
        schedule: &mut Schedule,
        supply: &mut Supply<'_>,
        now: Instant,
        draining: bool,
    ) -> Rest {
        self.shared.starved.store(false, Ordering::Release);
        let mut step = None;
        supply.follow(&self.shared, now, &mut step);
        let mut rest = match self.shared.standstill(now) {
            Some(wake) => Rest { wake, no_slot: true, no_budget: false },
            None => {
                let moment = Moment { now, buffer_full: self.shared.is_full(), draining };
                schedule.dispatch(&mut self.berths, &moment, supply.meter(), &self.shared)
            }
        };
        if rest.no_budget {
            rest.wake_at(step);
        }
        rest
    }

    async fn wind_up(&mut self) {
        self.end_all();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }

    fn end_all(&mut self) {
        self.shared.cut_off();
        self.berths.extend(self.shared.fresh_lanes().into_iter().map(Berth::new));
        for berth in &mut self.berths {
            berth.lane.shut_down(Instant::now());
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.finished {
            self.end_all();
            self.shared.stopped(false);
        }
    }
}

/// The capacity at work.
struct Drive<'a>(Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>);

impl Drive<'_> {
    /// Does the work, and lets the capacity do its own meanwhile.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let done = work.as_mut().poll(cx);
            if let Some(drive) = &mut self.0
                && drive.as_mut().poll(cx).is_ready()
            {
                self.0 = None;
            }
            done
        })
        .await
    }

    async fn end(&mut self) {
        if let Some(drive) = mem::take(&mut self.0) {
            drive.await;
        }
    }
}

/// Wakes the engine. To set a timer costs more than to be woken once too early, so one that is set stays, unless an
/// earlier one is needed.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    set: bool,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())), set: false }
    }

    fn set(&mut self, wake: Option<Instant>) {
        if let Some(wake) = wake
            && (!self.set || wake < self.sleep.deadline())
        {
            self.sleep.as_mut().reset(wake);
            self.set = true;
        }
    }

    async fn fired(&mut self) {
        if !self.set {
            return pending().await;
        }
        self.sleep.as_mut().await;
        self.set = false;
    }
}
