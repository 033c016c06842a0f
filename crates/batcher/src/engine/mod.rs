mod inbox;
mod lane;
mod running;
mod schedule;

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_core::later;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::inbox::Inbox;
pub(crate) use self::lane::{Lane, TypedLane};
use self::lane::{Moment, Watch};
use self::schedule::{Rest, Schedule};
use crate::limit::Meter;
use crate::shared::Shared;
use crate::{BatcherEvent, Capacity, DrainReport, Driver, Grant, Rate};

/// What makes a [`Batcher`](crate::Batcher) work: forms batches, keeps the rate, starts the handlers.
///
/// Dropping it, or the future of [`run`](Engine::run), is an abort: every accepted operation ends as `ShutDown`.
/// Leases are not given back then; they expire.
#[must_use = "nothing leaves the batcher unless its engine runs"]
pub struct Engine {
    shared: Arc<Shared>,
    capacity: Option<Box<dyn Capacity>>,
    lanes: Vec<Box<dyn Lane>>,
    finished: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, capacity: Option<Box<dyn Capacity>>) -> Self {
        Self { shared, capacity, lanes: Vec::new(), finished: false }
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
        let mut drive = Drive(
            capacity
                .as_ref()
                .map(|capacity| capacity.drive(Driver::new(stop.clone(), self.shared.events.clone()))),
        );
        let complete = drive.beside(self.work(capacity.as_deref(), &token)).await;
        drive.beside(self.wind_up()).await;
        stop.cancel();
        drive.end().await;
        if let Some(capacity) = &capacity {
            announce_change(&self.shared, &capacity.current().borrow(), Instant::now());
        }
        self.finished = true;
        self.shared.stopped(complete)
    }

    /// Until there is nothing more to do; false: cut off.
    async fn work(&mut self, capacity: Option<&dyn Capacity>, token: &CancellationToken) -> bool {
        let mut cancelled = pin!(token.cancelled());
        let mut supply = capacity.map(|capacity| Supply::new(capacity, &self.shared));
        let mut schedule = Schedule::default();
        loop {
            let deadline = self.shared.deadline();
            let now = Instant::now();
            if token.is_cancelled() || deadline.is_some_and(|deadline| deadline <= now) {
                return false;
            }
            // Before the lanes are pulled: a batch that is put back is in its inbox before it counts as ended.
            let none_running = self.shared.batches_running.load(Ordering::Acquire) == 0;
            self.lanes.extend(self.shared.fresh_lanes());
            for lane in &mut self.lanes {
                lane.pull();
            }
            if deadline.is_some() && none_running && self.lanes.iter().all(|lane| lane.is_empty()) {
                return true;
            }
            if self.shared.flush.swap(false, Ordering::AcqRel) {
                for lane in &mut self.lanes {
                    lane.flush();
                }
            }
            let mut rest = self.dispatch(&mut schedule, &mut supply, now, deadline.is_some());
            rest.wake_at(deadline);
            let headroom = match &mut supply {
                Some(supply) => supply.demand(&self.lanes, now, &mut rest),
                None => u64::MAX,
            };
            let watch = Watch { no_slot: rest.no_slot, no_budget: rest.no_budget, headroom };
            let mut due = false;
            for lane in &self.lanes {
                due |= lane.arm(&watch);
            }
            if due {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                () = &mut cancelled => {}
                () = self.shared.wake.notified() => {}
                () = Supply::changed(&mut supply) => {}
                () = sleep_to(rest.wake) => {}
            }
        }
    }

    fn dispatch(
        &mut self,
        schedule: &mut Schedule,
        supply: &mut Option<Supply<'_>>,
        now: Instant,
        draining: bool,
    ) -> Rest {
        self.shared.starved.store(false, Ordering::Release);
        let buffer_full = self.shared.places.available_permits() == 0;
        let moment = Moment { now, buffer_full, draining };
        let meter = supply.as_mut().map(|supply| {
            supply.follow(&self.shared, now);
            &mut supply.meter
        });
        schedule.dispatch(&mut self.lanes, &moment, meter, &self.shared)
    }

    async fn wind_up(&mut self) {
        self.end_all();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }

    fn end_all(&mut self) {
        self.shared.cut_off();
        self.lanes.extend(self.shared.fresh_lanes());
        for lane in &mut self.lanes {
            lane.shut_down();
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

/// The capacity as the engine uses it.
struct Supply<'a> {
    capacity: &'a dyn Capacity,
    grants: Option<watch::Receiver<Grant>>,
    meter: Meter,
    /// What the capacity was told last, and when.
    told: Option<(Rate, Instant)>,
    interval: Duration,
    horizon: Duration,
}

impl<'a> Supply<'a> {
    fn new(capacity: &'a dyn Capacity, shared: &Shared) -> Self {
        let mut grants = capacity.current();
        let grant = grants.borrow_and_update().clone();
        let now = Instant::now();
        announce(shared, &grant, now);
        let config = &shared.config;
        Self {
            capacity,
            grants: Some(grants),
            meter: Meter::new(grant, config.slice, now),
            told: None,
            interval: config.capacity_interval,
            horizon: config.horizon,
        }
    }

    /// Brings the meter up to date, with the newest grant.
    fn follow(&mut self, shared: &Shared, now: Instant) {
        let meter = &mut self.meter;
        if let Some(grants) = &mut self.grants
            && grants.has_changed().unwrap_or(false)
        {
            let grant = grants.borrow_and_update().clone();
            meter.set_grant(grant);
        }
        meter.advance(now);
        announce_change(shared, meter.grant(), now);
    }

    /// Tells the capacity what is needed, if that has changed. Returns how much more cost would change it again.
    fn demand(&mut self, lanes: &[Box<dyn Lane>], now: Instant, rest: &mut Rest) -> u64 {
        let debt = self.meter.bucket().debt();
        if debt > 0 {
            rest.wake_at(self.meter.bucket().ready_at(1));
        }
        // What is owed has to be earned too, so the shares that earn it are kept.
        let target = lanes.iter().map(|lane| lane.outstanding()).fold(debt, u64::saturating_add);
        let horizon = self.horizon.as_nanos();
        let second = Duration::from_secs(1).as_nanos();
        let wanted = u64::try_from((u128::from(target) * second).div_ceil(horizon)).unwrap_or(u64::MAX);
        let wanted = Rate::per_second(wanted);
        if let Some((told, at)) = self.told
            && told != wanted
            && now < later(at, self.interval)
        {
            rest.wake_at(Some(later(at, self.interval)));
            return u64::MAX;
        }
        if self.told.is_none_or(|(told, _)| told != wanted) {
            self.capacity.want(wanted);
            self.told = Some((wanted, now));
        }
        let enough = u64::try_from(u128::from(wanted.units()) * horizon / second).unwrap_or(u64::MAX);
        enough.saturating_sub(target).saturating_add(1)
    }

    async fn changed(supply: &mut Option<Self>) {
        let Some(Self { grants, .. }) = supply else { return pending().await };
        let Some(receiver) = grants else { return pending().await };
        if receiver.changed().await.is_err() {
            // Its last word stands.
            *grants = None;
        } else {
            receiver.mark_changed();
        }
    }
}

fn announce_change(shared: &Shared, grant: &Grant, now: Instant) {
    if grant.rate_at(now).units() != shared.rate.load(Ordering::Acquire) {
        announce(shared, grant, now);
    }
}

fn announce(shared: &Shared, grant: &Grant, now: Instant) {
    let rate = grant.rate_at(now);
    shared.rate.store(rate.units(), Ordering::Release);
    let leased = grant.leased_at(now);
    shared.events.emit(&BatcherEvent::CapacityChanged { rate, reserved: grant.reserved(), leased });
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

async fn sleep_to(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
