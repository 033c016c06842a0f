use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluicegate_core::{FencingToken, Lease, LeaseId};
use tokio::time::Instant;

use super::SharedCapacity;

/// Units of cost per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(u64);

impl Rate {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);

    /// That many units per second.
    pub const fn per_second(units: u64) -> Self {
        Self(units)
    }

    /// Units per second.
    pub const fn units(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// One leased part of a [`Grant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasedShare {
    /// What it is worth.
    pub rate: Rate,
    /// It earns from here.
    pub from: Instant,
    /// It earns until here, exclusive: the lease's deadline less a guard.
    pub until: Instant,
    /// What was paid for with it has to have started by then: the lease's deadline.
    pub deadline: Instant,
    /// Which lease.
    pub lease: LeaseId,
    /// Its newest token, for a datastore that checks it.
    pub token: FencingToken,
}

impl LeasedShare {
    /// That lease, worth so much, from then on until the guard before its deadline.
    pub(super) fn of(lease: &Lease, rate: Rate, from: Instant) -> Self {
        let deadline = lease.deadline();
        let until = deadline - SharedCapacity::GUARD;
        Self { rate, from, until, deadline, lease: lease.id(), token: lease.token() }
    }
}

/// What may be spent: an immutable snapshot that is evaluated at the moment of spending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    reserved: Rate,
    /// Before that instant less was reserved: so much.
    rise: Option<(Instant, Rate)>,
    shares: Arc<[LeasedShare]>,
}

impl Grant {
    /// Without leased parts.
    pub fn reserved_only(rate: Rate) -> Self {
        Self { reserved: rate, rise: None, shares: Arc::new([]) }
    }

    /// With leased parts.
    pub fn new(reserved: Rate, shares: impl IntoIterator<Item = LeasedShare>) -> Self {
        Self { reserved, rise: None, shares: shares.into_iter().collect() }
    }

    /// The part that is this process's own.
    pub fn reserved(&self) -> Rate {
        self.reserved
    }

    /// From `now` on another rate is reserved. More of it earns nothing for the time before, whenever this is noticed.
    pub(super) fn set_reserved(&mut self, rate: Rate, now: Instant) {
        let before = self.reserved_at(now);
        self.rise = (rate > before).then_some((now, before));
        self.reserved = rate;
    }

    /// Other parts are leased now.
    pub(super) fn set_shares(&mut self, shares: impl IntoIterator<Item = LeasedShare>) {
        self.shares = shares.into_iter().collect();
    }

    fn reserved_at(&self, at: Instant) -> Rate {
        match self.rise {
            Some((since, before)) if at < since => before,
            _ => self.reserved,
        }
    }

    /// The leased parts.
    pub fn shares(&self) -> &[LeasedShare] {
        &self.shares
    }

    /// What is leased at that instant.
    pub fn leased_at(&self, at: Instant) -> Rate {
        let usable = self.shares.iter().filter(|share| share.from <= at && at < share.until);
        Rate(usable.fold(0, |sum, share| sum.saturating_add(share.rate.0)))
    }

    /// The rate at that instant.
    pub fn rate_at(&self, at: Instant) -> Rate {
        Rate(self.reserved_at(at).0.saturating_add(self.leased_at(at).0))
    }

    /// By when what is paid for at that instant has to have started: the earliest deadline of the parts that earn.
    pub fn start_by(&self, at: Instant) -> Option<Instant> {
        let usable = self.shares.iter().filter(|share| share.from <= at && at < share.until);
        usable.map(|share| share.deadline).min()
    }

    /// When the rate changes by itself, after that instant.
    pub fn next_edge(&self, after: Instant) -> Option<Instant> {
        let edges = self.shares.iter().flat_map(|share| [share.from, share.until]);
        edges.chain(self.rise.map(|(since, _)| since)).filter(|edge| *edge > after).min()
    }
}
