use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::{Holder, LeaseError, LeaseErrorKind, LeasePool, Request};
use tokio::sync::watch;

use super::holdings::Holdings;
use super::{Capacity, Driver, Grant, Rate};

/// How much of the pool one process may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Share {
    /// As much as it needs and can get. Unfair: renewal lets the first one keep everything for as long as it is busy.
    #[default]
    Greedy,
    /// At most `weight` parts of `of`, rounded up to whole leases, however idle the others are.
    Weighted {
        /// This process's parts.
        weight: NonZeroU32,
        /// All parts together.
        of: NonZeroU32,
    },
}

/// A rate that is shared with other processes by leasing parts of it from a [`LeasePool`]: no daemon, no election.
///
/// Each lease is worth `factor` units per second. Leases are acquired as the need grows (several at once, more and
/// more of them while that succeeds), renewed at a third of their time to live, and released, youngest first, when
/// the need has been smaller for `hold`. A lease counts from the moment the pool's answer has arrived until 20 ms
/// before its deadline, and earns nothing from the moment it is known to be lost. When the pool cannot be reached,
/// the leases run out and what is `reserved` remains.
///
/// **Guarantee.** Let C = Σ reserved + k · factor over all processes that share a pool of k leases, s the slice, j
/// the timer slack ([`Bucket::SLACK`](crate::Bucket::SLACK)) and b = factor · (s + j). If the pool never shows more
/// than k unexpired leases, and clocks drift apart by less than 0.1 %, then for every window of length w the cost
/// dispatched by all of them together is at most
///
/// > C·w + k·b + Σ reserved·(s + j) + Σ max(0, c_max − burst)
///
/// where the last term is what operations that cost more than their process's burst may add, once in the life of
/// each process. *Proof:* the lemma of [`Bucket`](crate::Bucket) for each process; the balances at the start of the
/// window add up to at most k·b and the reserved part; a new lease brings no balance, and one that goes takes its
/// part of what was saved with it.
///
/// A process that crashes leaves its part idle until its leases have expired.
#[derive(Debug)]
pub struct SharedCapacity {
    pub(super) source: Source,
    pub(super) grant: watch::Sender<Grant>,
    pub(super) want: watch::Sender<Rate>,
}

/// What is asked of which pool.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) pool: Arc<dyn LeasePool>,
    pub(super) request: Request,
    pub(super) ttl: Duration,
    pub(super) renewable: bool,
    pub(super) factor: u64,
    pub(super) reserved: u64,
    /// Most leases that this process may hold.
    pub(super) cap: u32,
    pub(super) hold: Duration,
}

/// Makes a [`SharedCapacity`].
#[derive(Clone, Debug)]
#[must_use = "a capacity exists once build() is called"]
pub struct SharedCapacityBuilder {
    pool: Arc<dyn LeasePool>,
    holder: Holder,
    factor: u64,
    reserved: u64,
    share: Share,
    hold: Duration,
    expected: Option<NonZeroU32>,
}

impl SharedCapacity {
    /// Between taking budget under a lease and the handler's start, at most; as long a lease is not used any more
    /// before its deadline, and not given back after it has left the grant.
    pub const GUARD: Duration = Duration::from_millis(20);

    /// Parts of a rate from that pool. The holder has to be unique for each process.
    pub fn builder(pool: Arc<dyn LeasePool>, holder: Holder) -> SharedCapacityBuilder {
        SharedCapacityBuilder {
            pool,
            holder,
            factor: 1,
            reserved: 0,
            share: Share::default(),
            hold: Duration::from_secs(1),
            expected: None,
        }
    }
}

impl SharedCapacityBuilder {
    /// What one lease is worth, in units per second. Default 1.
    pub fn factor(mut self, units: u64) -> Self {
        self.factor = units;
        self
    }

    /// What this process may always spend, pool or no pool, in units per second. Default 0.
    pub fn reserved(mut self, units: u64) -> Self {
        self.reserved = units;
        self
    }

    /// How much of the pool this process may hold. Default [`Share::Greedy`].
    pub fn share(mut self, share: Share) -> Self {
        self.share = share;
        self
    }

    /// How long leases that are not needed any more are kept. Default 1 s.
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// How many leases the pool has, for processes without the right to ask it.
    pub fn expect_leases(mut self, leases: NonZeroU32) -> Self {
        self.expected = Some(leases);
        self
    }

    /// Asks the pool what it is.
    ///
    /// # Errors
    /// Those of [`LeasePool::describe`]; `Invalid` for an option that cannot be; `NotPermitted` when the pool does
    /// not tell its size and [`expect_leases`](Self::expect_leases) does not either; `Misconfigured` when its time to
    /// live is below 200 ms.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn build(self) -> Result<SharedCapacity, LeaseError> {
        if self.factor == 0 {
            return Err(LeaseError::new(
                LeaseErrorKind::Invalid,
                "factor is zero: a lease has to be worth something",
            ));
        }
        let described = self.pool.describe().await?;
        if described.ttl < 10 * SharedCapacity::GUARD {
            let context = "the pool's time to live is below 200ms: too short to be renewed in time";
            return Err(LeaseError::new(LeaseErrorKind::Misconfigured, context));
        }
        let Some(leases) = self.expected.or(described.limit) else {
            let context = "the pool does not tell how many leases it has: use expect_leases";
            return Err(LeaseError::new(LeaseErrorKind::NotPermitted, context));
        };
        let cap = match self.share {
            Share::Greedy => leases.get(),
            Share::Weighted { weight, of } => {
                let cap = (u64::from(leases.get()) * u64::from(weight.get())).div_ceil(of.get().into());
                u32::try_from(cap).unwrap_or(u32::MAX).min(leases.get())
            }
        };
        let source = Source {
            pool: self.pool,
            request: Request::new(self.holder),
            ttl: described.ttl,
            renewable: described.renewable,
            factor: self.factor,
            reserved: self.reserved,
            cap,
            hold: self.hold,
        };
        let grant = Grant::reserved_only(Rate::per_second(self.reserved));
        Ok(SharedCapacity { source, grant: watch::Sender::new(grant), want: watch::Sender::new(Rate::ZERO) })
    }
}

impl Source {
    /// How many leases that rate takes.
    pub(super) fn leases_for(&self, rate: Rate) -> usize {
        let leases = rate.units().saturating_sub(self.reserved).div_ceil(self.factor);
        leases.min(self.cap.into()) as usize
    }
}

#[async_trait]
impl Capacity for SharedCapacity {
    fn max(&self) -> Rate {
        let leased = self.source.factor.saturating_mul(self.source.cap.into());
        Rate::per_second(self.source.reserved.saturating_add(leased))
    }

    fn current(&self) -> watch::Receiver<Grant> {
        self.grant.subscribe()
    }

    fn want(&self, rate: Rate) {
        self.want.send_replace(rate);
    }

    async fn drive(&self, driver: Driver) {
        let mut holdings = Holdings::new(self, driver.clone());
        holdings.keep_up(&driver).await;
        holdings.give_all_back().await;
    }
}
