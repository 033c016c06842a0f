use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{LeasePool, PoolDescription, Request};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Grant, Rate, Share};

/// What a capacity, its handle and its driver have in common.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pool: Arc<dyn LeasePool>,
    pub(super) request: Request,
    pub(super) factor: u64,
    pub(super) share: Share,
    pub(super) borrow: bool,
    pub(super) hold: Duration,
    pub(super) max_partitions: NonZeroU32,
    pub(super) fresh: bool,
    /// What the pool said when the capacity was built, and when that was.
    pub(super) first: Option<(PoolDescription, Instant)>,
    pub(super) terms: watch::Sender<Terms>,
    pub(super) grant: watch::Sender<Grant>,
    pub(super) want: watch::Sender<Rate>,
}

/// What may change while the batcher runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) reserved: u64,
    /// Leases of the pool, as far as known; as expected before.
    pub(super) leases: NonZeroU32,
    /// Time to live of a lease. None: nobody has said yet.
    pub(super) ttl: Option<Duration>,
    pub(super) renewable: bool,
}

impl Inner {
    /// The most that can ever be had under these terms.
    pub(super) fn max(&self) -> Rate {
        let terms = *self.terms.borrow();
        let leased = self.factor.saturating_mul(self.limit(&terms, 1) as u64);
        Rate::per_second(terms.reserved.saturating_add(leased))
    }

    /// Most leases that this process may hold, among so many.
    pub(super) fn limit(&self, terms: &Terms, parties: usize) -> usize {
        let leases = terms.leases.min(self.max_partitions).get() as usize;
        if self.borrow { leases } else { self.share.hard_limit(leases, parties).min(leases) }
    }

    /// How many leases that rate takes.
    pub(super) fn leases_for(&self, rate: Rate, terms: &Terms, parties: usize) -> usize {
        let leases = rate.units().saturating_sub(terms.reserved).div_ceil(self.factor);
        usize::try_from(leases).unwrap_or(usize::MAX).min(self.limit(terms, parties))
    }

    /// Changes the terms. The engine looks at `max` again whenever there is a grant, so there is one.
    pub(super) fn change(&self, change: impl FnOnce(&mut Terms), now: Instant) {
        let changed = self.terms.send_if_modified(|terms| {
            let before = *terms;
            change(terms);
            *terms != before
        });
        if changed {
            let reserved = Rate::per_second(self.terms.borrow().reserved);
            self.grant.send_modify(|grant| grant.set_reserved(reserved, now));
        }
    }
}
