use std::future::pending;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_core::later;
use tokio::sync::watch;
use tokio::time::Instant;

use super::schedule::{Berth, Rest};
use crate::limit::Meter;
use crate::shared::Shared;
use crate::{BatcherEvent, Capacity, Grant, Rate};

/// Where the budget comes from: a capacity, and what the datastore turned out to bear.
pub(super) struct Supply<'a> {
    capacity: Option<&'a dyn Capacity>,
    grants: Option<watch::Receiver<Grant>>,
    /// None: nothing is limited.
    meter: Option<Meter>,
    slice: Duration,
    adapted: Option<Rate>,
    /// What the capacity was told last, and when.
    told: Option<(Rate, Instant)>,
    interval: Duration,
    horizon: Duration,
}

impl<'a> Supply<'a> {
    pub(super) fn new(capacity: Option<&'a dyn Capacity>, shared: &Shared) -> Self {
        let config = &shared.config;
        let now = Instant::now();
        let mut grants = capacity.map(|capacity| capacity.current());
        let meter = grants.as_mut().map(|grants| {
            let grant = grants.borrow_and_update().clone();
            announce(shared, &grant, None, now);
            if let Some(capacity) = capacity {
                shared.set_max(capacity.max());
            }
            Meter::new(grant, config.slice, now)
        });
        Self {
            capacity,
            grants,
            meter,
            slice: config.slice,
            adapted: None,
            told: None,
            interval: config.capacity_interval,
            horizon: config.horizon,
        }
    }

    pub(super) fn meter(&mut self) -> Option<&mut Meter> {
        self.meter.as_mut()
    }

    /// Brings the meter up to date, with the newest grant and with what the datastore bears.
    pub(super) fn follow(&mut self, shared: &Shared, now: Instant, rest: &mut Option<Instant>) {
        if let Some(grants) = &mut self.grants
            && let Some(meter) = &mut self.meter
            && grants.has_changed().unwrap_or(false)
        {
            let grant = grants.borrow_and_update().clone();
            meter.set_grant(grant);
            if let Some(capacity) = self.capacity {
                shared.set_max(capacity.max());
            }
        }
        if let Some(meter) = &mut self.meter {
            meter.advance(now);
        }
        let limit = self.capacity.and(self.meter.as_ref()).map(|meter| meter.grant().rate_at(now));
        let (adapted, step) = shared.adapted_rate(now, limit);
        *rest = step;
        if adapted != self.adapted {
            self.adapt(adapted, now);
        }
        if let (Some(_), Some(meter)) = (self.capacity, &self.meter) {
            announce_change(shared, meter.grant(), adapted, now);
        }
    }

    fn adapt(&mut self, adapted: Option<Rate>, now: Instant) {
        self.adapted = adapted;
        match (&mut self.meter, adapted) {
            (Some(_), None) if self.capacity.is_none() => self.meter = None,
            (Some(meter), adapted) => meter.set_ceiling(adapted, now),
            (None, Some(_)) => self.meter = Some(Meter::unlimited(self.slice, adapted, now)),
            (None, None) => {}
        }
    }

    /// Tells the capacity what is needed, if that has changed. Returns how much more cost would change it again.
    pub(super) fn demand(&mut self, berths: &[Berth], now: Instant, shared: &Shared, rest: &mut Rest) -> u64 {
        let (Some(capacity), Some(meter)) = (self.capacity, &mut self.meter) else { return u64::MAX };
        let debt = meter.bucket().debt();
        if debt > 0 {
            rest.wake_at(meter.bucket().ready_at(1));
        }
        // What is owed has to be earned too, so the shares that earn it are kept.
        let target = berths.iter().map(|berth| berth.lane.outstanding()).fold(debt, u64::saturating_add);
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
            capacity.want(wanted);
            self.told = Some((wanted, now));
            if shared.config.verbose_events {
                shared.events.emit(&BatcherEvent::CapacityRequested { target });
            }
        }
        let enough = u64::try_from(u128::from(wanted.units()) * horizon / second).unwrap_or(u64::MAX);
        enough.saturating_sub(target).saturating_add(1)
    }

    /// Completes when there is another grant.
    pub(super) async fn changed(&mut self) {
        let Some(receiver) = &mut self.grants else { return pending().await };
        if receiver.changed().await.is_err() {
            // Its last word stands.
            self.grants = None;
        } else {
            receiver.mark_changed();
        }
    }
}

pub(super) fn announce_change(shared: &Shared, grant: &Grant, adapted: Option<Rate>, now: Instant) {
    let rate = grant.rate_at(now);
    let ceiling = adapted.map_or(u64::MAX, Rate::units);
    if rate.units() != shared.rate.load(Ordering::Acquire)
        || rate.units().min(ceiling) != shared.effective.load(Ordering::Acquire)
    {
        announce(shared, grant, adapted, now);
    }
}

fn announce(shared: &Shared, grant: &Grant, adapted: Option<Rate>, now: Instant) {
    let rate = grant.rate_at(now);
    let effective = adapted.map_or(rate, |adapted| adapted.min(rate));
    shared.rate.store(rate.units(), Ordering::Release);
    shared.effective.store(effective.units(), Ordering::Release);
    shared.events.emit(&BatcherEvent::CapacityChanged {
        rate,
        reserved: grant.reserved(),
        leased: grant.leased_at(now),
        effective,
    });
}
