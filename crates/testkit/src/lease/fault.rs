use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::{
    HeldLease, Lease, LeaseError, LeaseErrorKind, LeaseId, LeasePool, LeasePoolAdmin, LossCause,
    PoolDescription, Request, WaitQueue,
};
use tokio::time::sleep;

/// What a [`Faulty`] pool does to the calls that pass through it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Each call takes so much longer, before its effect.
    Slow(Duration),
    /// Each n-th call fails with `Transient`, without effect.
    Flaky(NonZeroU32),
    /// While the switch is off each call fails with `Transient`, without effect.
    CutOff(Switch),
    /// The answer of each n-th call is lost: it takes effect, and the caller gets `Unknown`.
    AnswerLost(NonZeroU32),
}

/// Cuts a [`Fault::CutOff`] pool off, and connects it again; clones share the switch.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    /// A switch that lets everything through.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// From now on everything passes.
    pub fn connect(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether nothing passes.
    pub fn is_cut(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A pool with a fault in front of it. Hints (`freed`) and losses (`lost`) pass unharmed, as do answers to calls the
/// fault spares.
#[derive(Debug)]
pub struct Faulty<P> {
    pool: P,
    fault: Fault,
    calls: AtomicU32,
}

impl<P> Faulty<P> {
    /// Puts the fault in front of the pool.
    pub fn new(pool: P, fault: Fault) -> Self {
        Self { pool, fault, calls: AtomicU32::new(0) }
    }

    fn is_nth(&self, n: NonZeroU32) -> bool {
        (self.calls.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(n.get())
    }

    async fn before(&self) -> Result<(), LeaseError> {
        let failed = match &self.fault {
            Fault::Slow(delay) => {
                sleep(*delay).await;
                false
            }
            Fault::Flaky(n) => self.is_nth(*n),
            Fault::CutOff(switch) => switch.is_cut(),
            Fault::AnswerLost(_) => false,
        };
        if failed {
            return Err(LeaseError::new(LeaseErrorKind::Transient, "injected fault"));
        }
        Ok(())
    }

    fn after<T>(&self, answer: Result<T, LeaseError>) -> Result<T, LeaseError> {
        match &self.fault {
            Fault::AnswerLost(n) if self.is_nth(*n) => {
                Err(LeaseError::new(LeaseErrorKind::Unknown, "injected fault: the answer was lost"))
            }
            _ => answer,
        }
    }
}

#[async_trait]
impl<P: LeasePool> LeasePool for Faulty<P> {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.before().await?;
        self.after(self.pool.describe().await)
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        self.before().await?;
        self.after(self.pool.try_acquire(request).await)
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.before().await?;
        self.after(self.pool.renew(lease).await)
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.before().await?;
        self.after(self.pool.release(lease).await)
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        self.before().await?;
        self.after(self.pool.held().await)
    }

    async fn freed(&self) -> NonZeroU32 {
        self.pool.freed().await
    }

    async fn lost(&self, lease: &Lease) -> LossCause {
        self.pool.lost(lease).await
    }

    fn line(&self) -> &WaitQueue {
        self.pool.line()
    }
}

#[async_trait]
impl<P: LeasePoolAdmin> LeasePoolAdmin for Faulty<P> {
    async fn resize(&self, limit: NonZeroU32) -> Result<(), LeaseError> {
        self.before().await?;
        self.after(self.pool.resize(limit).await)
    }

    async fn set_ttl(&self, ttl: Duration) -> Result<(), LeaseError> {
        self.before().await?;
        self.after(self.pool.set_ttl(ttl).await)
    }

    async fn evict(&self, id: LeaseId) -> Result<Option<HeldLease>, LeaseError> {
        self.before().await?;
        self.after(self.pool.evict(id).await)
    }

    async fn reset(&self) -> Result<u64, LeaseError> {
        self.before().await?;
        self.after(self.pool.reset().await)
    }

    async fn delete(&self) -> Result<(), LeaseError> {
        self.before().await?;
        self.after(self.pool.delete().await)
    }
}
