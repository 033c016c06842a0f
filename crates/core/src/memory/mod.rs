//! A pool in this process's memory: the reference implementation of the contract, and a product for tests,
//! simulations and single-process use.

mod state;

use std::fmt;
use std::future::pending;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use self::state::{HandleId, State};
use crate::{
    HeldLease, Incarnation, Lease, LeaseError, LeaseErrorKind, LeaseId, LeasePool, LeasePoolAdmin, LossCause,
    PoolDescription, Request, WaitQueue,
};

/// A [`LeasePool`] in memory.
///
/// Each *handle* stands for one process: [`MemoryPool::handle`] makes another one on the same pool, while `clone`
/// shares this one. Slots go to waiting handles in the order in which they began to wait; a slot that was promised
/// to a waiting handle is kept for it until it asks (for at most 100 ms). A request of several slots may have to wait
/// longer than later ones of fewer. Time is tokio's, so a paused clock works.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{num::NonZeroU32, time::Duration};
/// use sluicegate_core::{Holder, LeasePool, LeasePoolExt, MemoryPool, Request, Wait};
///
/// let pool = MemoryPool::new(NonZeroU32::MIN, Duration::from_secs(10));
/// let request = Request::new(Holder::try_new("host1")?);
/// let lease = pool.acquire(&request, &Wait::new()).await?.expect("waits without end");
/// assert!(pool.try_acquire(&request).await?.is_none(), "full");
/// assert!(pool.release(&lease).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryPool(Arc<Handle>);

/// Makes a [`MemoryPool`] that is not the plain one.
#[derive(Clone, Debug)]
pub struct MemoryPoolBuilder {
    limit: NonZeroU32,
    ttl: Duration,
    renewable: bool,
    weighted: bool,
}

impl MemoryPoolBuilder {
    /// Whether leases can be renewed. Default: they can.
    #[must_use]
    pub fn renewable(mut self, renewable: bool) -> Self {
        self.renewable = renewable;
        self
    }

    /// Whether a request may ask for several slots. Default: it may.
    #[must_use]
    pub fn weighted(mut self, weighted: bool) -> Self {
        self.weighted = weighted;
        self
    }

    /// The pool, and its first handle.
    pub fn build(self) -> MemoryPool {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(self.limit, self.ttl.max(Duration::from_millis(1)))),
            renewable: self.renewable,
            weighted: self.weighted,
            made: Instant::now(),
        });
        MemoryPool(Handle::attach(shared))
    }
}

struct Shared {
    state: Mutex<State>,
    renewable: bool,
    weighted: bool,
    made: Instant,
}

struct Handle {
    shared: Arc<Shared>,
    id: HandleId,
    hint: Arc<Notify>,
    /// Lets one caller of `freed` after the other wait for the hint.
    turn: Semaphore,
    line: WaitQueue,
}

impl Handle {
    fn attach(shared: Arc<Shared>) -> Arc<Self> {
        let hint = Arc::new(Notify::new());
        let id = shared.lock().attach(Arc::clone(&hint));
        Arc::new(Self { shared, id, hint, turn: Semaphore::new(1), line: WaitQueue::new() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().detach(self.id, Instant::now());
    }
}

/// A handle that waits for a hint.
struct Standing<'a>(&'a Handle);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.shared.lock().step_away(self.0.id, Instant::now());
    }
}

impl Shared {
    /// The state after everything that was due by now.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.expire(Instant::now());
        state
    }
}

impl MemoryPool {
    /// A pool of that many slots: renewable, weighted, with that time to live (a millisecond at least, the grain of
    /// the clock).
    pub fn new(limit: NonZeroU32, ttl: Duration) -> Self {
        Self::builder(limit, ttl).build()
    }

    /// A pool with some property changed.
    pub fn builder(limit: NonZeroU32, ttl: Duration) -> MemoryPoolBuilder {
        MemoryPoolBuilder { limit, ttl, renewable: true, weighted: true }
    }

    /// Another process's handle on the same pool.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self(Handle::attach(Arc::clone(&self.0.shared)))
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, LeaseError> {
        let state = self.0.shared.lock();
        if state.is_deleted() {
            return Err(LeaseError::new(LeaseErrorKind::NotFound, "the pool was deleted"));
        }
        Ok(state)
    }
}

impl fmt::Debug for MemoryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.shared.lock();
        f.debug_struct("MemoryPool").field("limit", &state.limit()).field("held", &state.used()).finish()
    }
}

#[async_trait]
impl LeasePool for MemoryPool {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        let shared = &self.0.shared;
        let state = self.open()?;
        Ok(PoolDescription {
            ttl: state.ttl(),
            renewable: shared.renewable,
            weighted: shared.weighted,
            limit: Some(state.limit()),
            held: Some(state.used()),
            incarnation: Some(Incarnation::new("memory")),
            age: Some(shared.made.elapsed()),
        })
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        if request.slots() > NonZeroU32::MIN && !self.0.shared.weighted {
            return Err(LeaseError::new(
                LeaseErrorKind::Unsupported,
                "this pool has no weights: ask for one slot",
            ));
        }
        let mut state = self.open()?;
        if request.slots() > state.limit() {
            let context = format!("weight {} is above the limit {}", request.slots(), state.limit());
            return Err(LeaseError::new(LeaseErrorKind::Invalid, context));
        }
        let lease = state.acquire(self.0.id, request, Instant::now());
        Ok(lease.map(|lease| lease.with_renewal(self.0.shared.renewable)))
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        if !self.0.shared.renewable {
            return Err(LeaseError::new(LeaseErrorKind::Unsupported, "this pool cannot renew"));
        }
        let renewed = self.open()?.renew(lease, Instant::now());
        renewed.ok_or_else(|| LeaseError::new(LeaseErrorKind::Lost, format!("lease {}", lease.id())))
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let mut state = self.0.shared.lock();
        Ok(state.end(lease.id(), None, Instant::now()))
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        Ok(self.open()?.held(Instant::now()))
    }

    async fn freed(&self) -> NonZeroU32 {
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        let _turn = self.0.turn.acquire().await.expect("never closed");
        let _standing = Standing(&self.0);
        loop {
            let hint = self.0.hint.notified();
            let next_expiry = {
                let mut state = self.0.shared.lock();
                if let Some(slots) = state.take_hint(self.0.id) {
                    return slots;
                }
                state.next_expiry()
            };
            match next_expiry {
                None => hint.await,
                Some(at) => tokio::select! {
                    biased;
                    () = hint => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    async fn lost(&self, lease: &Lease) -> LossCause {
        let watched = self.0.shared.lock().watch(lease.id(), Instant::now());
        let Some(mut early) = watched else { return pending().await };
        loop {
            let planned = *early.borrow_and_update();
            let changed = match planned {
                Some((at, cause)) => tokio::select! {
                    biased;
                    () = sleep_until(at) => return cause,
                    changed = early.changed() => changed,
                },
                None => early.changed().await,
            };
            if changed.is_err() {
                // The lease has ended: early, or because its holder released it or let it run out.
                let ended = *early.borrow();
                match ended {
                    Some((at, cause)) if at <= Instant::now() => return cause,
                    _ => return pending().await,
                }
            }
        }
    }

    fn line(&self) -> &WaitQueue {
        &self.0.line
    }
}

#[async_trait]
impl LeasePoolAdmin for MemoryPool {
    async fn resize(&self, limit: NonZeroU32) -> Result<(), LeaseError> {
        self.open()?.resize(limit, Instant::now());
        Ok(())
    }

    async fn set_ttl(&self, ttl: Duration) -> Result<(), LeaseError> {
        if ttl.is_zero() {
            return Err(LeaseError::new(
                LeaseErrorKind::Invalid,
                "ttl is zero: every lease would be born expired",
            ));
        }
        self.open()?.set_ttl(ttl, Instant::now());
        Ok(())
    }

    async fn evict(&self, id: LeaseId) -> Result<Option<HeldLease>, LeaseError> {
        let mut state = self.open()?;
        let held = state.held(Instant::now()).into_iter().find(|held| held.id == id);
        state.end(id, Some(LossCause::Evicted), Instant::now());
        Ok(held)
    }

    async fn reset(&self) -> Result<u64, LeaseError> {
        Ok(self.open()?.end_all(LossCause::Reset, Instant::now()))
    }

    async fn delete(&self) -> Result<(), LeaseError> {
        self.open()?.delete(Instant::now());
        Ok(())
    }
}
