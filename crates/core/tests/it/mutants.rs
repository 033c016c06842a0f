//! The suite is believed because it catches these: each mutant breaks one clause, and that clause's test must fail.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::{
    FencingToken, HeldLease, Lease, LeaseError, LeaseErrorKind, LeaseId, LeasePool, LeasePoolAdmin,
    LossCause, MemoryPool, PoolDescription, Request, WaitQueue,
};
use sluicegate_testkit::lease::{PoolFixture, suite};
use tokio::sync::Notify;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    GrantsOneMore,
    FullIsAnError,
    ExpiresEarly,
    ReleasesTheOldest,
    RepeatsTokens,
    ReusesIds,
    LeaksDroppedAttempts,
    ShrinkingEvicts,
    NeverTellsOfLoss,
    ListsBackwards,
    RenewsTheLost,
    NeverHints,
    HintsOnlyItself,
    RenewalDoesNotExtend,
    CountsWeightsAsOne,
    ForgetsAges,
    CallsTheReleasedLost,
    NewLimitOnlyHere,
}

#[derive(Debug)]
struct Mutant {
    pool: MemoryPool,
    defect: Defect,
    /// Releases through this handle.
    own: Notify,
    /// The limit that this handle believes in.
    believed: OnceLock<u32>,
}

impl Mutant {
    fn new(pool: MemoryPool, defect: Defect) -> Self {
        Self { pool, defect, own: Notify::new(), believed: OnceLock::new() }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn with_token(lease: &Lease, id: LeaseId, token: FencingToken) -> Lease {
        let request = Request::new(lease.holder().clone());
        Lease::granted(id, token, &request, tokio::time::Instant::now(), lease.remaining())
    }
}

#[async_trait]
impl LeasePool for Mutant {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.pool.describe().await
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        if self.has(Defect::NewLimitOnlyHere) {
            let now = self.pool.describe().await?;
            let limit = now.limit.map_or(0, NonZeroU32::get);
            let believed = *self.believed.get_or_init(|| limit);
            if now.held >= Some(believed) {
                return Ok(None);
            }
        }
        let light = Request::new(request.holder().clone());
        let request = if self.has(Defect::CountsWeightsAsOne) { &light } else { request };
        let lease = self.pool.try_acquire(request).await?;
        if self.has(Defect::LeaksDroppedAttempts) {
            tokio::task::yield_now().await;
        }
        match lease {
            None if self.has(Defect::FullIsAnError) => {
                Err(LeaseError::new(LeaseErrorKind::Misconfigured, "the pool is full"))
            }
            Some(lease) if self.has(Defect::RepeatsTokens) => {
                Ok(Some(Self::with_token(&lease, lease.id(), FencingToken(1))))
            }
            Some(lease) if self.has(Defect::ReusesIds) => {
                Ok(Some(Self::with_token(&lease, LeaseId(1 + lease.id().0 % 2), lease.token())))
            }
            other => Ok(other),
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        if self.has(Defect::RenewalDoesNotExtend) {
            return Ok(lease.renewed(
                FencingToken(lease.token().0 + 1),
                tokio::time::Instant::now(),
                lease.remaining(),
            ));
        }
        match self.pool.renew(lease).await {
            Err(error) if error.is_lost() && self.has(Defect::RenewsTheLost) => {
                let again = self.pool.try_acquire(&Request::new(lease.holder().clone())).await?;
                again.ok_or(error)
            }
            other => other,
        }
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        if self.has(Defect::ReleasesTheOldest)
            && let Some(oldest) = self.pool.held().await?.first()
        {
            return Ok(self.pool.evict(oldest.id).await?.is_some());
        }
        let freed = self.pool.release(lease).await;
        self.own.notify_one();
        freed
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        let mut held = self.pool.held().await?;
        if self.has(Defect::ListsBackwards) {
            held.reverse();
        }
        if self.has(Defect::ForgetsAges) {
            held.iter_mut().for_each(|lease| lease.age = Duration::ZERO);
        }
        Ok(held)
    }

    async fn freed(&self) -> NonZeroU32 {
        match self.defect {
            Defect::NeverHints => std::future::pending().await,
            Defect::HintsOnlyItself => {
                self.own.notified().await;
                NonZeroU32::MIN
            }
            _ => self.pool.freed().await,
        }
    }

    async fn lost(&self, lease: &Lease) -> LossCause {
        match self.defect {
            Defect::NeverTellsOfLoss => std::future::pending().await,
            Defect::CallsTheReleasedLost => loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if self.pool.held().await.unwrap_or_default().iter().all(|held| held.id != lease.id()) {
                    return LossCause::Gone;
                }
            },
            _ => self.pool.lost(lease).await,
        }
    }

    fn line(&self) -> &WaitQueue {
        self.pool.line()
    }
}

#[async_trait]
impl LeasePoolAdmin for Mutant {
    async fn resize(&self, limit: NonZeroU32) -> Result<(), LeaseError> {
        self.pool.resize(limit).await?;
        if self.has(Defect::ShrinkingEvicts) {
            for surplus in self.pool.held().await?.iter().skip(limit.get() as usize) {
                self.pool.evict(surplus.id).await?;
            }
        }
        Ok(())
    }

    async fn set_ttl(&self, ttl: Duration) -> Result<(), LeaseError> {
        self.pool.set_ttl(ttl).await
    }

    async fn evict(&self, id: LeaseId) -> Result<Option<HeldLease>, LeaseError> {
        self.pool.evict(id).await
    }

    async fn reset(&self) -> Result<u64, LeaseError> {
        self.pool.reset().await
    }

    async fn delete(&self) -> Result<(), LeaseError> {
        self.pool.delete().await
    }
}

#[derive(Debug)]
struct Broken {
    pool: OnceLock<MemoryPool>,
    defect: Defect,
}

#[async_trait]
impl PoolFixture for Broken {
    async fn create(&self, limit: NonZeroU32, ttl: Duration) -> Arc<dyn LeasePoolAdmin> {
        let limit = if self.defect == Defect::GrantsOneMore { limit.saturating_add(1) } else { limit };
        let ttl = if self.defect == Defect::ExpiresEarly { ttl * 9 / 10 } else { ttl };
        let pool = self.pool.get_or_init(|| MemoryPool::new(limit, ttl)).clone();
        Arc::new(Mutant::new(pool, self.defect))
    }

    async fn attach(&self) -> Arc<dyn LeasePoolAdmin> {
        let pool = self.pool.get().expect("created before").handle();
        Arc::new(Mutant::new(pool, self.defect))
    }

    async fn restart(&self) -> bool {
        false
    }

    fn expiry_grace(&self) -> Duration {
        Duration::ZERO
    }
}

macro_rules! must_be_caught {
    ($($test:ident: $defect:ident by $($clause:ident),+;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $test() {
                $({
                    let fixture = Broken { pool: OnceLock::new(), defect: Defect::$defect };
                    let run = tokio::spawn(async move { suite::$clause(&fixture).await });
                    let caught = run.await.is_err_and(|error| error.is_panic());
                    assert!(caught, "{} lets {:?} pass", stringify!($clause), Defect::$defect);
                })+
            }
        )*
    };
}

must_be_caught! {
    one_slot_too_many: GrantsOneMore by clause_01_never_more_than_limit, clause_02_full_is_none, clause_08_resize;
    full_as_an_error: FullIsAnError by clause_02_full_is_none;
    early_expiry: ExpiresEarly by clause_03_expiry_frees_that_slot_and_not_early;
    release_by_rank: ReleasesTheOldest by clause_04_release_is_idempotent_and_frees_only_its_own;
    repeated_tokens: RepeatsTokens by clause_05_tokens_strictly_increase;
    reused_ids: ReusesIds by clause_06_ids_are_never_reused;
    leaked_attempts: LeaksDroppedAttempts by clause_07_dropped_attempt_leaves_nothing;
    eviction_by_resize: ShrinkingEvicts by clause_08_resize;
    silent_loss: NeverTellsOfLoss by clause_09_evict_and_reset_are_seen_by_the_holder;
    wrong_order: ListsBackwards by clause_10_held_lists_everything;
    renewal_from_the_dead: RenewsTheLost by clause_11_lost_lease_cannot_be_renewed;
    no_hints: NeverHints by clause_12_release_wakes_a_waiter;
    no_hints_for_others: HintsOnlyItself by clause_12_release_wakes_a_waiter;
    hollow_renewal: RenewalDoesNotExtend by clause_13_renewal_keeps_the_slot;
    weightless: CountsWeightsAsOne by clause_14_weights_are_all_or_nothing;
    ageless: ForgetsAges by clause_10_held_lists_everything;
    false_alarm: CallsTheReleasedLost by clause_09_evict_and_reset_are_seen_by_the_holder;
    stale_limit: NewLimitOnlyHere by clause_08_resize;
}
