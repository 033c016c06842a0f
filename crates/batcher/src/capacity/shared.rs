use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::{Holder, LeasePool};
use tokio::sync::watch;

use super::holdings::Holdings;
use super::terms::Inner;
use super::{Capacity, Driver, Grant, Rate, SharedCapacityBuilder, SharedCapacityHandle};

/// A rate that is shared with other processes by leasing parts of it from a [`LeasePool`]: no daemon, no election.
///
/// Each lease is worth `factor` units per second. Leases are acquired as the need grows (several at once, more and
/// more of them while that succeeds), renewed at a third of their time to live, and released, youngest first, when
/// the need has been smaller for `hold`. A lease counts from the moment the pool's answer has arrived until 20 ms
/// before its deadline, and earns nothing from the moment it is known to be lost. When the pool cannot be reached,
/// the leases run out and what is `reserved` remains.
///
/// How much of the pool one process may hold while others want some too is what its [`Share`](crate::Share) says; what
/// is above is borrowed, and offered back once in a time to live. The pool is asked once in a time to live what it is,
/// as long as anything is held or wanted, so that a pool that others have resized is noticed. What may change
/// otherwise, changes through the [`handle`](Self::handle).
///
/// # Guarantee
///
/// Let C = Σ reserved + k · factor over all processes that share a pool of k leases, s the slice, j the timer slack
/// ([`Bucket::SLACK`](crate::Bucket::SLACK)) and b = factor · (s + j). Then at every instant the rates of all of them
/// together are at most C, and for every window of length w the cost dispatched by all of them together is at most
///
/// > C·w + k·b + Σ reserved·(s + j) + Σ max(0, c_max − burst)
///
/// where the last term is what operations that cost more than their process's burst may add, once in the life of
/// each process. A clock that is fast by a thousandth adds a thousandth to what its process earns.
///
/// *Proof:* the lemma of [`Bucket`](crate::Bucket) for each process; the balances at the start of the window add up to
/// at most k·b and the reserved part; a new lease brings no balance, and one that goes takes its part of what was
/// saved with it. It is also checked on random schedules with crashes, freezes, partitions, late answers, drifting
/// clocks, other sizes and pools that forget, and mutants of it are caught there.
///
/// It holds under these conditions:
///
/// - The pool never shows more than k unexpired leases (clause 1 of its contract). After k was made smaller, the
///   larger one counts until processes have come down.
/// - Clocks of pool and processes drift apart by less than 0.1 %, and the pool's does not jump forward by more than
///   [`GUARD`](Self::GUARD) in all.
/// - A handler passes on what it was given within its own time. One that was frozen before its start does not start
///   (`StartedTooLate`); one that is frozen later can only be stopped by a datastore that checks the fencing tokens.
/// - Whoever ends leases by authority (evicts, resets, lowers the time to live) knows that holders who cannot be told
///   go on until their own deadline.
/// - **A pool that forgets its leases shows it**: by another incarnation and a young age in what it says of itself,
///   by a later epoch or a lower token of a lease, or by losing leases that their holders believe in. Then nobody
///   acquires anything for one time to live, and the old owners run out meanwhile (`LearningStarted`). So does a
///   process that begins at a pool younger than that, unless the pool is declared [`fresh`]. A pool that is kept in
///   files and told apart by incarnations does all of this; one that is kept in memory, and comes back with the same
///   name and age, cannot be noticed by those who hold nothing.
///
/// A process that crashes leaves its part idle until its leases have expired: for a time to live and 0.3 s at most.
/// One that is cut off goes on with what is reserved once its leases have run out, and grows again when the pool is
/// back.
///
/// # Pools that cannot renew
///
/// Leases run out and are asked for anew. In between there is a gap: the guard, the thousandth of the time to live by
/// which a deadline is early, and what the pool takes to notice. Nothing is offered back, as it changes hands anyway.
///
/// # Requests
///
/// For each lease and time to live three renewals; one look for each process and time to live, and a second one while
/// it waits for a full pool; two requests for a lease that changes hands, or is offered and taken back. None while
/// nothing is held or wanted. A pool that tells its lives apart is looked at once more after the first lease.
///
/// [`fresh`]: crate::SharedCapacityBuilder::fresh
#[derive(Debug)]
pub struct SharedCapacity {
    inner: Arc<Inner>,
}

impl SharedCapacity {
    /// Between taking budget under a lease and the handler's start, at most: so long a lease is not used any more
    /// before its deadline.
    pub const GUARD: Duration = Duration::from_millis(20);

    /// Parts of a rate from that pool. The holder has to be unique for each process.
    pub fn builder(pool: Arc<dyn LeasePool>, holder: Holder) -> SharedCapacityBuilder {
        SharedCapacityBuilder::new(pool, holder)
    }

    pub(super) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// What changes it while the batcher runs.
    pub fn handle(&self) -> SharedCapacityHandle {
        SharedCapacityHandle::new(Arc::clone(&self.inner))
    }
}

#[async_trait]
impl Capacity for SharedCapacity {
    fn max(&self) -> Rate {
        self.inner.max()
    }

    fn current(&self) -> watch::Receiver<Grant> {
        self.inner.grant.subscribe()
    }

    fn want(&self, rate: Rate) {
        self.inner.want.send_replace(rate);
    }

    async fn drive(&self, driver: Driver) {
        let mut holdings = Holdings::new(&self.inner, driver.clone());
        holdings.keep_up(&driver).await;
        holdings.give_all_back().await;
    }
}
