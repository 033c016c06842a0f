use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{HeldLease, Incarnation, Lease, LeaseError, LeaseId, LossCause, Request, WaitQueue};

/// A pool as it answered just now.
///
/// What a caller may be without the right to know is an `Option`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolDescription {
    /// Time to live of a lease that is not renewed.
    pub ttl: Duration,
    /// Leases can be renewed.
    pub renewable: bool,
    /// Requests of more than one slot are possible.
    pub weighted: bool,
    /// Number of slots.
    pub limit: Option<NonZeroU32>,
    /// Slots taken now.
    pub held: Option<u32>,
    /// Which life of the pool this is.
    pub incarnation: Option<Incarnation>,
    /// How long this life has lasted, by the pool's clock.
    pub age: Option<Duration>,
}

impl PoolDescription {
    /// A pool of which only the time to live is known: no renewal, no weights.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, renewable: false, weighted: false, limit: None, held: None, incarnation: None, age: None }
    }
}

/// A bounded set of expiring slots, shared between processes.
///
/// A value of this type is one process's *handle* on the pool. Callers hold it as `Arc<dyn LeasePool>`; waiting and
/// renewing stand in [`LeasePoolExt`](crate::LeasePoolExt).
///
/// # Contract
///
/// `sluicegate-testkit` holds one test for each clause, which every implementation has to pass, also behind
/// decorators that make it slow, flaky and cut off.
///
/// 1. Never more than `limit` unexpired leases, however many ask at once.
/// 2. A full pool answers `Ok(None)`, never an error; an error never means full.
/// 3. Expiry frees exactly the slot of the expired lease, and not before its time to live has passed.
/// 4. `release` is idempotent, and never frees somebody else's slot.
/// 5. Tokens strictly increase in the order of grants and renewals, also over reset and restart.
/// 6. Ids are never used again.
/// 7. A `try_acquire` whose future is dropped leaves no slot behind once the pool has settled.
/// 8. Raising the limit takes effect at once; lowering it evicts nobody.
/// 9. Evict and reset complete the holder's `lost`.
/// 10. `held` lists all that is held, oldest first, with holder and age.
/// 11. A lease that was lost or released cannot be renewed.
/// 12. A release wakes at least one waiter within one poll interval, and a hint that arrives between a failed
///     attempt and the call of `freed` is not lost.
///
/// And for pools that can renew:
///
/// 13. A renewal keeps the id, raises the token, and keeps the slot beyond the first time to live, also while the
///     pool is full.
///
/// And for those that know weights:
///
/// 14. A request of several slots gets all of them or none, and they all count. Pools without weights say so.
///
/// A lease is advisory unless the resource that it protects checks the fencing token.
#[async_trait]
pub trait LeasePool: fmt::Debug + Send + Sync + 'static {
    /// Asks the pool what it is now.
    ///
    /// # Errors
    /// `NotFound`, `NotPermitted`, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    async fn describe(&self) -> Result<PoolDescription, LeaseError>;

    /// One attempt to get a lease; `Ok(None)` says that the pool is full.
    ///
    /// # Errors
    /// `Unknown` when the attempt may have succeeded and this could not be found out in time: the pool goes on
    /// resolving it, and frees the slot if there is one. `Unsupported` for a weight above one in a pool without
    /// weights, `Invalid` for a weight above the limit.
    ///
    /// # Cancel safety
    /// Safe: a slot that the dropped attempt got is given back (clause 7).
    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError>;

    /// Extends a lease: same id, larger token, later deadline.
    ///
    /// # Errors
    /// `Lost` if it is no longer ours, `Unsupported` if the pool cannot renew. After `Unknown` or `Transient` the
    /// lease is as good as before, until its deadline.
    ///
    /// # Cancel safety
    /// Safe: the lease lasts at least until the deadline it had.
    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError>;

    /// Gives the slot back. `Ok(true)`: freed now. `Ok(false)`: it was already expired, released or evicted.
    ///
    /// # Errors
    /// `Transient` and `Unknown` call for another try: releasing twice is harmless.
    ///
    /// # Cancel safety
    /// The slot may or may not have been freed; release again, or let it expire.
    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError>;

    /// Everything held now, oldest first.
    ///
    /// # Errors
    /// `NotPermitted` for a worker without the right to look, `NotFound`, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError>;

    /// Completes when slots are believed to have become free, with their number. A hint: possibly too high,
    /// possibly lost, so callers also poll. One that came after this handle's last failed `try_acquire` completes
    /// the next call at once.
    ///
    /// # Cancel safety
    /// Safe: a hint that was not delivered completes the next call.
    async fn freed(&self) -> NonZeroU32;

    /// Completes once this lease is known to have ended early: evicted, reset, pool deleted or made anew, time to
    /// live lowered, or found gone. Knows nothing of deadlines: the holder's own clock does
    /// ([`Lease::deadline`]). For a lease that its holder released it never completes.
    ///
    /// # Cancel safety
    /// Safe: the next call completes at once.
    async fn lost(&self, lease: &Lease) -> LossCause;

    /// The line in which this handle's callers wait.
    fn line(&self) -> &WaitQueue;

    /// The time that a caller had for waiting is over, and the pool was still full: for pools that tell others.
    fn waited_in_vain(&self, request: &Request) {
        let _ = request;
    }
}

/// A pool that the caller has authority to manage. Workers need none of this.
#[async_trait]
pub trait LeasePoolAdmin: LeasePool {
    /// Sets the number of slots, at once. Lowering it evicts nobody: new grants wait until fewer are held.
    ///
    /// # Errors
    /// `NotFound`, `NotPermitted`, `Transient`, `Unknown` (repeat: the call is idempotent).
    async fn resize(&self, limit: NonZeroU32) -> Result<(), LeaseError>;

    /// Sets the time to live. Whether it applies to leases already held is the pool's to say; holders whose lease
    /// ends by it are told (`lost`).
    ///
    /// # Errors
    /// As `resize`, and `Invalid` for a time the pool cannot keep.
    async fn set_ttl(&self, ttl: Duration) -> Result<(), LeaseError>;

    /// Ends one lease and tells whose it was; `None` if it was not held. The holder is told (`lost`).
    ///
    /// # Errors
    /// As `resize`.
    async fn evict(&self, id: LeaseId) -> Result<Option<HeldLease>, LeaseError>;

    /// Ends every lease and tells how many there were. Holders are told (`lost`).
    ///
    /// # Errors
    /// As `resize`.
    async fn reset(&self) -> Result<u64, LeaseError>;

    /// Removes the pool. Holders are told (`lost`).
    ///
    /// # Errors
    /// As `resize`.
    async fn delete(&self) -> Result<(), LeaseError>;
}

#[async_trait]
impl<P: LeasePool + ?Sized> LeasePool for Arc<P> {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        (**self).describe().await
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        (**self).try_acquire(request).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        (**self).renew(lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        (**self).release(lease).await
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        (**self).held().await
    }

    async fn freed(&self) -> NonZeroU32 {
        (**self).freed().await
    }

    async fn lost(&self, lease: &Lease) -> LossCause {
        (**self).lost(lease).await
    }

    fn line(&self) -> &WaitQueue {
        (**self).line()
    }

    fn waited_in_vain(&self, request: &Request) {
        (**self).waited_in_vain(request);
    }
}

#[async_trait]
impl<P: LeasePoolAdmin + ?Sized> LeasePoolAdmin for Arc<P> {
    async fn resize(&self, limit: NonZeroU32) -> Result<(), LeaseError> {
        (**self).resize(limit).await
    }

    async fn set_ttl(&self, ttl: Duration) -> Result<(), LeaseError> {
        (**self).set_ttl(ttl).await
    }

    async fn evict(&self, id: LeaseId) -> Result<Option<HeldLease>, LeaseError> {
        (**self).evict(id).await
    }

    async fn reset(&self) -> Result<u64, LeaseError> {
        (**self).reset().await
    }

    async fn delete(&self) -> Result<(), LeaseError> {
        (**self).delete().await
    }
}
