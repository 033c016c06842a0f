use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Holder, LeaseError, LeaseErrorKind, LeasePool, PoolDescription, Request};
use tokio::sync::watch;
use tokio::time::Instant;

use super::handle::TOO_MANY;
use super::terms::{Inner, Terms};
use super::{Grant, Rate, Share, SharedCapacity};
use crate::ConfigError;

/// How many leases of `factor` units a pool needs for a total: rounded down, as all of them together must not be
/// worth more.
///
/// # Errors
/// Names `factor` if it is zero, and `total` if it is not even worth one lease.
pub fn leases_for_total(total: u64, factor: u64) -> Result<NonZeroU32, ConfigError> {
    let Some(leases) = total.checked_div(factor) else { return Err(ConfigError::new("factor", NO_WORTH)) };
    if leases == 0 {
        return Err(ConfigError::new(
            "total",
            "is less than one lease is worth: make the factor smaller, or the total larger",
        ));
    }
    u32::try_from(leases)
        .ok()
        .and_then(NonZeroU32::new)
        .ok_or(ConfigError::new("total", "takes more leases than a pool can have: make the factor larger"))
}

const NO_WORTH: &str = "must not be zero: a lease has to be worth something";

/// Makes a [`SharedCapacity`].
#[derive(Clone, Debug)]
#[must_use = "a capacity exists once build() is called"]
pub struct SharedCapacityBuilder {
    pool: Arc<dyn LeasePool>,
    holder: Holder,
    factor: u64,
    reserved: u64,
    share: Share,
    borrow: bool,
    hold: Duration,
    fresh: bool,
    max_partitions: NonZeroU32,
    total: Option<u64>,
    expected: Option<NonZeroU32>,
    expected_ttl: Option<Duration>,
}

impl SharedCapacityBuilder {
    pub(super) fn new(pool: Arc<dyn LeasePool>, holder: Holder) -> Self {
        Self {
            pool,
            holder,
            factor: 1,
            reserved: 0,
            share: Share::default(),
            borrow: true,
            hold: Duration::from_secs(1),
            fresh: false,
            max_partitions: NonZeroU32::MIN.saturating_add(499),
            total: None,
            expected: None,
            expected_ttl: None,
        }
    }

    /// What one lease is worth, in units per second. Default 1.
    pub fn factor(mut self, units: u64) -> Self {
        self.factor = units;
        self
    }

    /// All processes together get at most `total` units per second from the pool, in leases of `factor` units; see
    /// [`leases_for_total`]. A pool with more leases than that is refused.
    pub fn for_total(mut self, total: u64, factor: u64) -> Self {
        self.total = Some(total);
        self.factor(factor)
    }

    /// What this process may always spend, pool or no pool, in units per second. Default 0.
    pub fn reserved(mut self, units: u64) -> Self {
        self.reserved = units;
        self
    }

    /// How much of the pool this process may hold. Default [`Share::Equal`].
    pub fn share(mut self, share: Share) -> Self {
        self.share = share;
        self
    }

    /// Whether more than the share is used while nobody else needs it. Default true.
    pub fn borrow(mut self, borrow: bool) -> Self {
        self.borrow = borrow;
        self
    }

    /// How long leases that are not needed any more are kept. Default 1 s.
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// The pool is new, and nobody has ever held a lease of one of that name: nothing has to run out before this
    /// process acquires. Default false: a pool that is younger than its time to live may be one that has forgotten
    /// its leases, and is left alone until it is not.
    pub fn fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }

    /// Most leases that the pool may have. Each costs three requests in a time to live. Default 500.
    pub fn max_partitions(mut self, leases: NonZeroU32) -> Self {
        self.max_partitions = leases;
        self
    }

    /// Builds without asking the pool, which has so many leases. Until it has answered, only what is reserved can be
    /// used. What it then says replaces what was expected.
    pub fn expect_leases(mut self, leases: NonZeroU32) -> Self {
        self.expected = Some(leases);
        self
    }

    /// As [`expect_leases`](Self::expect_leases), for processes without the right to ask a pool what it is: its
    /// leases live that long.
    pub fn expect_pool(mut self, leases: NonZeroU32, ttl: Duration) -> Self {
        self.expected_ttl = Some(ttl);
        self.expect_leases(leases)
    }

    /// Asks the pool what it is, unless that was [expected](Self::expect_leases).
    ///
    /// # Errors
    /// Those of [`LeasePool::describe`]; `Invalid` for an option that cannot be, with a [`ConfigError`] as its
    /// source; `NotPermitted` when the pool does not tell its size; `Misconfigured` when its time to live is below
    /// 200 ms.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn build(self) -> Result<SharedCapacity, LeaseError> {
        if self.factor == 0 {
            return Err(ConfigError::new("factor", NO_WORTH).into());
        }
        let most = self.total.map(|total| leases_for_total(total, self.factor)).transpose()?;
        let asked_at = Instant::now();
        let described = match self.expected {
            Some(_) => None,
            None => Some(self.pool.describe().await?),
        };
        let ttl = described.as_ref().map(|pool| pool.ttl).or(self.expected_ttl);
        if ttl.is_some_and(is_hasty) {
            return Err(LeaseError::new(LeaseErrorKind::Misconfigured, HASTY));
        }
        let Some(leases) = self.expected.or(described.as_ref().and_then(|pool| pool.limit)) else {
            let context = "the pool does not tell how many leases it has: use expect_pool";
            return Err(LeaseError::new(LeaseErrorKind::NotPermitted, context));
        };
        if leases > self.max_partitions {
            return Err(ConfigError::new("max-partitions", TOO_MANY).into());
        }
        if most.is_some_and(|most| leases > most) {
            let problem = "is less than the leases of the pool are worth together: make the pool smaller";
            return Err(ConfigError::new("total", problem).into());
        }
        Ok(self.with(leases, ttl, described, asked_at))
    }

    fn with(
        self,
        leases: NonZeroU32,
        ttl: Option<Duration>,
        described: Option<PoolDescription>,
        asked_at: Instant,
    ) -> SharedCapacity {
        let terms = Terms {
            reserved: self.reserved,
            leases,
            ttl,
            renewable: described.as_ref().is_some_and(|pool| pool.renewable),
        };
        SharedCapacity::new(Inner {
            pool: self.pool,
            request: Request::new(self.holder),
            factor: self.factor,
            share: self.share,
            borrow: self.borrow,
            hold: self.hold,
            max_partitions: self.max_partitions,
            fresh: self.fresh,
            first: described.map(|pool| (pool, asked_at)),
            terms: watch::Sender::new(terms),
            grant: watch::Sender::new(Grant::reserved_only(Rate::per_second(self.reserved))),
            want: watch::Sender::new(Rate::ZERO),
        })
    }
}

pub(super) const HASTY: &str = "the pool's time to live is below 200ms: too short to be renewed in time";

pub(super) fn is_hasty(ttl: Duration) -> bool {
    ttl < 10 * SharedCapacity::GUARD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_never_exceeded() {
        let leases = |total, factor| leases_for_total(total, factor).map(NonZeroU32::get);
        assert_eq!(leases(10, 1), Ok(10));
        assert_eq!(leases(10_050, 1_000), Ok(10));
        assert_eq!(leases(999, 1_000).unwrap_err().field(), "total");
        assert_eq!(leases(u64::MAX, 1).unwrap_err().field(), "total");
        assert_eq!(leases(1, 0).unwrap_err().field(), "factor");
    }
}
