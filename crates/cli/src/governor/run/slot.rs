//! A slot of ours, and the pool it is from.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_core::{LeaseError, LeasePool, LossCause};
use sluicegate_governor::{CampaignPool, NativePool, Permit, Released};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::environment::Told;
use super::voice::Voice;
use crate::output::timestamp;

/// How long a look at the pool may take, after a time in which nothing could be noticed.
const LOOK: Duration = Duration::from_secs(2);

/// A handle of either wire.
#[derive(Clone, Debug)]
pub(super) enum Pool {
    Campaign(CampaignPool),
    Native(NativePool),
}

impl Pool {
    pub(super) fn handle(&self) -> &dyn LeasePool {
        match self {
            Self::Campaign(pool) => pool,
            Self::Native(pool) => pool,
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        match self {
            Self::Campaign(pool) => pool.ttl(),
            Self::Native(pool) => pool.ttl(),
        }
    }

    pub(super) fn limit(&self) -> Option<NonZeroU32> {
        match self {
            Self::Campaign(pool) => pool.limit(),
            Self::Native(pool) => pool.limit(),
        }
    }

    /// Resolves what was left open, so that no slot stays behind.
    pub(super) async fn close(&self, within: Duration) -> Result<(), LeaseError> {
        match self {
            Self::Campaign(pool) => pool.close(within).await,
            Self::Native(pool) => pool.close(within).await,
        }
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    permit: Permit,
    pool: Pool,
    ttl: Duration,
    since: Instant,
    /// For how long the machine slept while it was held, which the clock of its deadline did not count.
    slept: Cell<Duration>,
}

impl Slot {
    pub(super) fn new(permit: Permit, pool: Pool) -> Self {
        let ttl = pool.ttl();
        Self { permit, pool, ttl, since: Instant::now(), slept: Cell::new(Duration::ZERO) }
    }

    pub(super) fn id(&self) -> u64 {
        self.permit.lease().id().0
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// When the work has to stop, unless the lease is renewed by then.
    pub(super) fn deadline(&self) -> Instant {
        self.permit.deadline()
    }

    /// When the slot may be given to somebody else.
    pub(super) fn end(&self) -> Instant {
        self.permit.lease().deadline()
    }

    pub(super) fn held(&self) -> Duration {
        self.since.elapsed()
    }

    pub(super) fn told(&self) -> Told {
        let lease = self.permit.lease();
        let fence = self.permit.fence();
        Told {
            slot: lease.id().0,
            token: fence.token.0,
            epoch: fence.epoch,
            deadline: timestamp(OffsetDateTime::now_utc() + lease.remaining()),
            renewed: self.is_renewed(),
        }
    }

    pub(super) fn is_renewed(&self) -> bool {
        self.permit.lease().is_renewable()
    }

    pub(super) async fn lost(&self) -> LossCause {
        self.permit.lost().await
    }

    /// Whether it is lost, as the pool says; after a time in which the machine slept for so long. Where the pool does
    /// not say it, the deadline does, less that time.
    pub(super) async fn look(&self, slept: Duration) -> Option<LossCause> {
        self.slept.set(self.slept.get() + slept);
        if let Some(cause) = self.permit.loss() {
            return Some(cause);
        }
        let id = self.permit.lease().id();
        match timeout(LOOK, self.pool.handle().held()).await {
            Ok(Ok(held)) => held.iter().all(|lease| lease.id != id).then_some(LossCause::Gone),
            _ => (Instant::now() + self.slept.get() >= self.deadline()).then_some(LossCause::Expired),
        }
    }

    /// Gives it back, and says what became of it.
    pub(super) async fn release(self, voice: &Voice, exit: Option<u8>) {
        let (id, held) = (self.id(), self.held());
        match self.permit.release().await {
            Ok(Released::Kept) => voice.released(id, held, exit, "kept until it expires"),
            Ok(Released::Gone) => voice.released(id, held, exit, "gone before"),
            Ok(_) => voice.released(id, held, exit, "released"),
            Err(error) => voice.not_released(id, &error.lease_error().to_string()),
        }
    }
}
