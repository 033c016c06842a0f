//! A process in its own time: grant, meter, learning and deadlines are the real ones.

use std::time::Duration;

use sluicegate_core::{
    FencingToken, Holder, Incarnation, Lease, LeaseId, LossCause, PoolDescription, Request,
};
use tokio::time::Instant;

use super::super::learning::{Learning, Standing};
use super::super::{Grant, LeasedShare, Rate};
use super::world::Bend;
use crate::limit::Meter;

pub(super) const FACTOR: u64 = 1_000;
pub(super) const SLICE: Duration = Duration::from_millis(10);

pub(super) struct Process {
    bend: Bend,
    base: Instant,
    /// How its clock runs beside the pool's, in millionths.
    drift: i64,
    pub(super) life: u64,
    pub(super) alive: bool,
    pub(super) frozen_until: u64,
    pub(super) cut_until: u64,
    pub(super) held: Vec<(Lease, Instant)>,
    unproven: Vec<(Lease, Instant)>,
    pub(super) learning: Learning,
    pub(super) looked: Option<Instant>,
    grant: Grant,
    published: bool,
    meter: Meter,
    pub(super) batches: Vec<Batch>,
    /// Out of the grant, and given back once no batch waits.
    pub(super) leaving: Vec<u64>,
}

/// Taken, and not started yet.
pub(super) struct Batch {
    pub(super) taken: u64,
    pub(super) starts: u64,
    pub(super) cost: u64,
    pub(super) by: Option<Instant>,
    pub(super) leases: Vec<u64>,
}

impl Process {
    pub(super) fn new(bend: Bend, base: Instant, drift: i64, reserved: u64, fresh: bool, now: u64) -> Self {
        let grant = Grant::reserved_only(Rate::per_second(reserved));
        let mut process = Self {
            bend,
            base,
            drift,
            life: 0,
            alive: true,
            frozen_until: 0,
            cut_until: 0,
            held: Vec::new(),
            unproven: Vec::new(),
            learning: Learning::new(fresh),
            looked: None,
            meter: Meter::new(grant.clone(), SLICE, base),
            grant,
            published: false,
            batches: Vec::new(),
            leaving: Vec::new(),
        };
        process.meter = Meter::new(process.grant.clone(), SLICE, process.local(now));
        process
    }

    /// Its own clock.
    pub(super) fn local(&self, real: u64) -> Instant {
        let drift = i128::from(real) * i128::from(self.drift) / 1_000_000;
        self.base + Duration::from_nanos((i128::from(real) + drift) as u64)
    }

    /// Works just now.
    pub(super) fn is_up(&self, real: u64) -> bool {
        self.alive && self.frozen_until <= real
    }

    /// Whether it would ask for leases.
    pub(super) fn may_ask(&self, now: Instant, ttl: Duration) -> bool {
        let recent = self.looked.is_some_and(|at| now < at + ttl);
        recent && (self.learning.until(now).is_none() || self.bend == Bend::DoesNotLearn)
    }

    pub(super) fn granted(
        &mut self,
        (id, token, epoch): (u64, u64, u64),
        (sent, mark): (Instant, FencingToken),
        ttl: Duration,
        now: Instant,
    ) -> Option<Standing> {
        let sent = if self.bend == Bend::CountsFromTheReply { now } else { sent };
        let request = Request::new(Holder::from_wire(b"p"));
        let lease = Lease::granted(LeaseId(id), FencingToken(token), &request, sent, ttl).in_epoch(epoch);
        let mut standing = self.learning.granted(&lease, mark, ttl, now);
        if self.bend == Bend::DoesNotLearn {
            standing = Standing::Sound;
        }
        match standing {
            Standing::Sound if self.unproven.is_empty() => self.take(lease, now),
            Standing::Sound | Standing::Unproven => self.unproven.push((lease, now)),
            Standing::Early | Standing::Anew => self.leaving.push(id),
        }
        Some(standing)
    }

    fn take(&mut self, lease: Lease, now: Instant) {
        if lease.deadline() <= now + super::super::SharedCapacity::GUARD {
            self.leaving.push(lease.id().0);
            return;
        }
        self.held.push((lease, now));
        self.publish();
        if self.bend == Bend::BringsABalance {
            let rate = self.grant.rate_at(now);
            self.meter = Meter::new(Grant::reserved_only(rate), SLICE, now);
        }
    }

    pub(super) fn renewed(
        &mut self,
        id: u64,
        answer: Option<u64>,
        sent: Instant,
        ttl: Duration,
        now: Instant,
    ) {
        let Some(at) = self.held.iter().position(|(lease, _)| lease.id().0 == id) else { return };
        if self.held[at].0.deadline() <= now {
            let _ = self.held.remove(at);
            self.publish();
            return;
        }
        let Some(token) = answer else {
            self.lost(id, LossCause::Gone, ttl, now);
            return;
        };
        let sent = if self.bend == Bend::CountsFromTheReply { now } else { sent };
        let before = self.held[at].0.token();
        let lease = self.held[at].0.renewed(FencingToken(token), sent, ttl);
        if self.learning.granted(&lease, before, ttl, now) == Standing::Anew {
            let _ = self.held.remove(at);
            self.leaving.push(id);
        } else {
            self.held[at].0 = lease;
        }
        self.publish();
    }

    pub(super) fn lost(&mut self, id: u64, cause: LossCause, ttl: Duration, now: Instant) {
        let Some(at) = self.held.iter().position(|(lease, _)| lease.id().0 == id) else { return };
        let (lease, _) = self.held.remove(at);
        self.publish();
        if lease.deadline() > now {
            self.learning.lost(cause, ttl, now);
        }
    }

    pub(super) fn described(&mut self, ttl: u64, epoch: u64, age: u64, asked: Instant, now: Instant) {
        let mut description = PoolDescription::new(Duration::from_nanos(ttl));
        description.incarnation = Some(Incarnation::new(epoch.to_string()));
        description.age = Some(Duration::from_nanos(age));
        self.learning.described(&description, now);
        self.looked = Some(now);
        // A look that was made before says nothing of them.
        let before = |(_, granted): &mut (Lease, Instant)| *granted <= asked;
        for (lease, _) in self.unproven.extract_if(.., before).collect::<Vec<_>>() {
            if self.learning.until(now).is_none() || self.bend == Bend::DoesNotLearn {
                self.take(lease, now);
            } else {
                self.leaving.push(lease.id().0);
            }
        }
    }

    /// Takes the youngest out of the grant.
    pub(super) fn let_go(&mut self) {
        if let Some((lease, _)) = self.held.pop() {
            self.leaving.push(lease.id().0);
            self.publish();
        }
    }

    pub(super) fn publish(&mut self) {
        let rate = Rate::per_second(FACTOR);
        let bend = self.bend;
        let shares = self.held.iter().map(|(lease, from)| {
            let share = LeasedShare::of(lease, rate, *from);
            let until = if bend == Bend::HasNoGuard { share.deadline } else { share.until };
            LeasedShare { until, ..share }
        });
        self.grant.set_shares(shares);
        self.published = true;
    }

    /// How many leases it would use.
    pub(super) fn usable(&self, now: Instant) -> usize {
        self.grant.shares().iter().filter(|share| share.from <= now && now < share.until).count()
    }

    /// Takes all there is, in operations of that cost: what an engine does that has a backlog.
    pub(super) fn spend(&mut self, cost: u32, taken: u64, starts: u64) {
        let now = self.local(taken);
        if std::mem::take(&mut self.published) {
            self.meter.set_grant(self.grant.clone());
        }
        self.meter.advance(now);
        let mut sum = 0;
        while self.meter.bucket().admits(cost) {
            self.meter.bucket().take(cost);
            sum += u64::from(cost);
        }
        if sum > 0 {
            let usable = self.grant.shares().iter().filter(|share| share.from <= now && now < share.until);
            let leases = usable.map(|share| share.lease.0).collect();
            self.batches.push(Batch { taken, starts, cost: sum, by: self.grant.start_by(now), leases });
        }
    }

    /// The batches whose handlers start now, and those that do not any more.
    pub(super) fn start(&mut self, real: u64) -> Vec<(Batch, bool)> {
        let now = self.local(real);
        let due = |batch: &Batch| batch.starts <= real;
        if !self.batches.iter().any(due) {
            return Vec::new();
        }
        let (due, rest) = std::mem::take(&mut self.batches).into_iter().partition(due);
        self.batches = rest;
        let check = |batch: Batch| {
            let late = batch.by.is_some_and(|by| by <= now) && self.bend != Bend::StartsTooLate;
            (batch, !late)
        };
        Vec::into_iter(due).map(check).collect()
    }

    /// What may be given back now.
    pub(super) fn given_back(&mut self) -> Vec<u64> {
        if self.batches.is_empty() || self.bend == Bend::GivesBackBeforeTheStart {
            std::mem::take(&mut self.leaving)
        } else {
            Vec::new()
        }
    }
}
