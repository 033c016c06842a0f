//! `Governor` and `Permit` over the in-memory pool, on the paused clock.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use sluicegate_core::{
    HeldLease, Holder, Lease, LeaseError, LeaseErrorKind, LeasePool, LeasePoolAdmin, LossCause, MemoryPool,
    PoolDescription, Request, WaitQueue,
};
use sluicegate_governor::{
    Cohort, Governor, GovernorBuilder, GovernorErrorKind, GovernorEvent, Permit, Released, RunError,
};
use sluicegate_testkit::lease::{Fault, Faulty, Switch};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::support::slots;

const TTL: Duration = Duration::from_secs(10);
const MILLI: Duration = Duration::from_millis(1);

fn holder() -> Holder {
    Holder::try_new("worker").expect("a holder")
}

/// As a campaign governor is: leases cannot be renewed.
fn plain(limit: u32) -> MemoryPool {
    MemoryPool::builder(slots(limit), TTL).renewable(false).build()
}

fn governor(pool: &(impl LeasePool + Clone)) -> GovernorBuilder {
    Governor::builder(pool.clone(), holder())
}

async fn held(pool: &impl LeasePool) -> usize {
    pool.held().await.expect("an answer").len()
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_given_back_by_release_and_by_drop() {
    let pool = plain(2);
    let governor = governor(&pool).build();
    let first = governor.acquire().await.unwrap();
    let second = governor.acquire().await.unwrap();
    assert!(second.token() > first.token());
    assert!(governor.try_acquire().await.unwrap().is_none());
    assert_eq!(held(&pool).await, 2);
    assert_eq!(first.release().await.unwrap(), Released::Freed);
    assert_eq!(held(&pool).await, 1);
    drop(second);
    sleep(MILLI).await;
    assert_eq!(held(&pool).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_lost_a_margin_before_its_lease_ends() {
    let pool = plain(1);
    for (margin, expected) in
        [(None, TTL / 20), (Some(Duration::from_secs(2)), Duration::from_secs(2)), (Some(TTL), TTL / 4)]
    {
        let mut builder = governor(&pool);
        if let Some(margin) = margin {
            builder = builder.margin(margin);
        }
        let permit = builder.build().acquire().await.unwrap();
        let left = permit.lease().deadline() - permit.deadline();
        assert!(left.abs_diff(expected) <= TTL / 1000, "{left:?}");
        let token = permit.lost_token();
        assert_eq!(permit.loss(), None);
        assert_eq!(permit.lost().await, LossCause::Expired);
        assert!(Instant::now() < permit.lease().deadline());
        assert!(Instant::now() >= permit.deadline());
        assert_eq!(permit.loss(), Some(LossCause::Expired));
        timeout(MILLI, token.cancelled()).await.expect("the token too");
        assert_eq!(held(&pool).await, 1, "the pool still has it: there is time to stop");
        assert_eq!(permit.release().await.unwrap(), Released::Freed);
    }
}

#[tokio::test(start_paused = true)]
async fn eviction_and_reset_end_permits_at_once() {
    for (renewable, reset) in [(false, false), (false, true), (true, false), (true, true)] {
        let pool = MemoryPool::builder(slots(1), TTL).renewable(renewable).build();
        let permit = governor(&pool).build().acquire().await.unwrap();
        let token = permit.lost_token();
        let begin = Instant::now();
        if reset {
            pool.reset().await.unwrap();
        } else {
            pool.evict(permit.lease().id()).await.unwrap().expect("held");
        }
        let cause = if reset { LossCause::Reset } else { LossCause::Evicted };
        assert_eq!(permit.lost().await, cause);
        assert_eq!(permit.loss(), Some(cause));
        token.cancelled().await;
        assert!(begin.elapsed() <= MILLI);
        assert_eq!(permit.release().await.unwrap(), Released::Gone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_known_without_waiting_for_it() {
    let pool = plain(1);
    let permit = governor(&pool).build().acquire().await.unwrap();
    assert_eq!(permit.loss(), None);
    pool.evict(permit.lease().id()).await.unwrap();
    assert_eq!(permit.loss(), Some(LossCause::Evicted));
}

#[tokio::test(start_paused = true)]
async fn a_renewable_lease_is_kept_for_as_long_as_the_permit_is_out() {
    let pool = MemoryPool::new(slots(1), TTL);
    let permit = governor(&pool).build().acquire().await.unwrap();
    let (first, fence) = (permit.token(), permit.fence());
    assert!(timeout(TTL * 20, permit.lost()).await.is_err());
    assert!(permit.token() > first);
    assert!(permit.fence() > fence);
    drop(permit);
    sleep(MILLI).await;
    assert_eq!(held(&pool).await, 0);

    let not_renewed = governor(&pool).renew(false).build().acquire().await.unwrap();
    assert_eq!(not_renewed.lost().await, LossCause::Expired);
}

#[tokio::test(start_paused = true)]
async fn callers_are_served_in_the_order_of_their_coming() {
    let pool = plain(1);
    let governor = governor(&pool).build();
    let mut permit = governor.acquire().await.unwrap();
    let (sender, mut order) = mpsc::unbounded_channel();
    for n in 0..20 {
        let (governor, sender) = (governor.clone(), sender.clone());
        tokio::spawn(async move {
            let permit = governor.acquire().await.unwrap();
            sender.send((n, permit)).unwrap();
        });
        sleep(MILLI).await;
    }
    for n in 0..20 {
        drop(permit);
        let (served, next) = order.recv().await.unwrap();
        assert_eq!(served, n);
        permit = next;
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_has_bounds_in_time_and_in_number() {
    let pool = plain(1);
    let (observer, mut events) = crate::support::watched();
    let governor = governor(&pool).max_wait(TTL / 5).queue_limit(3).observer(observer).build();
    let _permit = governor.acquire().await.unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let governor = governor.clone();
            tokio::spawn(async move { governor.acquire().await })
        })
        .collect();
    sleep(MILLI).await;
    let error = governor.acquire().await.unwrap_err();
    assert_eq!(error.kind(), GovernorErrorKind::Overloaded, "{error}");
    for waiter in waiting {
        let error = waiter.await.unwrap().unwrap_err();
        assert!(error.is_timeout() && error.is_transient(), "{error}");
    }
    assert!(matches!(events.recv().await, Some(GovernorEvent::Granted { .. })));
    assert!(matches!(events.recv().await, Some(GovernorEvent::Waiting { .. })));
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_leave_nothing_behind() {
    let pool = plain(3);
    let governor = governor(&pool).build();
    let permits = join_all((0..3).map(|_| governor.acquire())).await;
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let governor = governor.clone();
            tokio::spawn(async move { governor.acquire().await.map(drop) })
        })
        .collect();
    sleep(MILLI).await;
    assert_eq!(pool.line().len(), 100);
    drop(permits);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    for waiter in waiting {
        let _ = waiter.await;
    }
    sleep(Duration::from_secs(1)).await;
    assert!(pool.line().is_empty());
    assert_eq!(held(&pool).await, 0);
}

#[tokio::test(start_paused = true)]
async fn work_is_dropped_when_its_permit_is_lost() {
    let pool = plain(1);
    let governor = governor(&pool).build();
    assert_eq!(governor.run(|grant| async move { grant.token().0 }).await.unwrap(), 1);
    assert_eq!(held(&pool).await, 0);

    let (sender, mut dropped) = mpsc::channel::<()>(1);
    let work = governor.run(|_| async move {
        let _sender = sender;
        sleep(TTL * 10).await;
    });
    let (done, ()) = tokio::join!(work, async {
        sleep(MILLI).await;
        pool.reset().await.unwrap();
    });
    assert!(matches!(done, Err(RunError::Lost(LossCause::Reset))), "{done:?}");
    assert_eq!(dropped.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_kept_returns_with_its_time() {
    let pool = plain(1);
    let governor = governor(&pool).keep_on_finish(true).build();
    let begin = Instant::now();
    let permit = governor.acquire().await.unwrap();
    assert_eq!(permit.release().await.unwrap(), Released::Kept);
    drop(governor.acquire().await.unwrap());
    assert!(begin.elapsed() >= TTL, "{:?}", begin.elapsed());
    let report = governor.close(TTL).await;
    assert_eq!((report.released, report.kept, report.abandoned), (0, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_cannot_be_confirmed_gives_the_permit_back_and_goes_on_when_it_is_dropped() {
    let switch = Switch::new();
    let pool = Arc::new(Faulty::new(plain(1), Fault::CutOff(switch.clone())));
    let governor = Governor::builder(Arc::clone(&pool), holder()).build();
    let permit = governor.acquire().await.unwrap();
    switch.cut();
    let error = permit.release().await.unwrap_err();
    assert!(error.lease_error().is_transient() || error.lease_error().is_unknown(), "{error:?}");
    drop(error.into_permit());
    sleep(TTL / 4).await;
    switch.connect();
    sleep(TTL / 4).await;
    assert_eq!(held(&pool).await, 0);
    let report = governor.close(TTL).await;
    assert_eq!((report.released, report.abandoned), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_dropped_goes_on() {
    let pool = Arc::new(Faulty::new(plain(1), Fault::Slow(Duration::from_secs(1))));
    let governor = Governor::builder(Arc::clone(&pool), holder()).build();
    let permit = governor.acquire().await.unwrap();
    assert!(timeout(MILLI, permit.release()).await.is_err());
    sleep(TTL / 2).await;
    assert_eq!(held(&pool).await, 0);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_waiting_awaits_permits_and_ends_those_that_stay() {
    let pool = plain(2);
    let governor = governor(&pool).build();
    let (short, long) = (governor.acquire().await.unwrap(), governor.acquire().await.unwrap());
    let waiter = tokio::spawn({
        let governor = governor.clone();
        async move { governor.acquire().await }
    });
    tokio::spawn(async move {
        sleep(Duration::from_secs(1)).await;
        drop(short);
    });
    let lost = tokio::spawn(async move {
        let cause = long.lost().await;
        drop(long);
        cause
    });
    sleep(MILLI).await;
    let begin = Instant::now();
    let report = governor.close(Duration::from_secs(3)).await;
    assert!(begin.elapsed() >= Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), GovernorErrorKind::Closed);
    assert_eq!(lost.await.unwrap(), LossCause::Closed);
    assert_eq!((report.released, report.kept, report.abandoned), (2, 0, 0));
    assert_eq!(governor.acquire().await.unwrap_err().kind(), GovernorErrorKind::Closed);
    assert_eq!(held(&pool).await, 0);
}

#[tokio::test(start_paused = true)]
async fn closing_counts_what_it_had_to_leave() {
    let pool = plain(2);
    let governor = governor(&pool).build();
    let _stubborn = governor.acquire().await.unwrap();
    let report = governor.close(Duration::from_secs(1)).await;
    assert_eq!((report.released, report.abandoned), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cohort_hands_a_lease_on_within_its_bounds() {
    let pool = plain(1);
    let cohort = Cohort { max_reuse: 3, ..Cohort::default() };
    let governor = governor(&pool).cohort(cohort).build();
    let first = governor.acquire().await.unwrap();
    let (sender, mut served) = mpsc::unbounded_channel::<(usize, Permit)>();
    for n in 0..6 {
        let (governor, sender) = (governor.clone(), sender.clone());
        tokio::spawn(async move {
            let permit = governor.acquire().await.unwrap();
            sender.send((n, permit)).unwrap();
        });
        sleep(MILLI).await;
    }
    let mut permit = first;
    let mut fences = vec![permit.fence()];
    for n in 0..6 {
        let outcome = permit.release().await.unwrap();
        let expected = if n == 3 { Released::Freed } else { Released::HandedOn };
        assert_eq!(outcome, expected, "release {n}");
        let (who, next) = served.recv().await.unwrap();
        assert_eq!(who, n, "in order");
        fences.push(next.fence());
        permit = next;
    }
    assert!(fences.is_sorted() && fences.windows(2).all(|pair| pair[0] != pair[1]), "{fences:?}");
    assert_eq!(fences.iter().map(|fence| fence.reuse).collect::<Vec<_>>(), [0, 1, 2, 3, 0, 1, 2]);
    assert_eq!(fences[0].token, fences[3].token);
    assert!(fences[4].token > fences[3].token);
    assert_eq!(permit.release().await.unwrap(), Released::Freed, "nobody waits any more");
    assert!(pool.line().is_empty());
    assert_eq!(held(&pool).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cohort_ends_with_its_time_with_the_lease_and_with_its_loss() {
    let waiting = |governor: &Governor| {
        let governor = governor.clone();
        tokio::spawn(async move { governor.acquire().await.unwrap() })
    };
    let half = Cohort { max_time: TTL * 10, min_remaining: None, max_reuse: 32 };
    for (cohort, after) in [(Cohort::default(), Duration::from_millis(101)), (half, TTL * 6 / 10)] {
        let pool = plain(1);
        let governor = governor(&pool).cohort(cohort).build();
        let permit = governor.acquire().await.unwrap();
        let next = waiting(&governor);
        sleep(after).await;
        assert_eq!(permit.release().await.unwrap(), Released::Freed, "{cohort:?}");
        assert_eq!(next.await.unwrap().fence().reuse, 0);
    }
    let pool = plain(1);
    let governor = governor(&pool).cohort(half).build();
    let permit = governor.acquire().await.unwrap();
    let next = waiting(&governor);
    sleep(MILLI).await;
    pool.evict(permit.lease().id()).await.unwrap();
    assert_eq!(permit.release().await.unwrap(), Released::Gone, "what is lost is not handed on");
    assert_eq!(next.await.unwrap().fence().reuse, 0);
}

#[tokio::test(start_paused = true)]
async fn an_heir_that_gives_up_hands_on() {
    let pool = plain(1);
    let governor = governor(&pool).cohort(Cohort::default()).build();
    let permit = governor.acquire().await.unwrap();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let governor = governor.clone();
            tokio::spawn(async move { governor.acquire().await.map(drop) })
        })
        .collect();
    sleep(MILLI).await;
    // The first has the lease before it knows, and is gone.
    drop(permit);
    waiters[0].abort();
    for waiter in waiters.into_iter().skip(1) {
        waiter.await.unwrap().unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(held(&pool).await, 0);
    let kind = governor.acquire_as(holder()).await.unwrap_err().kind();
    assert_eq!(kind, GovernorErrorKind::Pool(LeaseErrorKind::Invalid));
}

#[tokio::test(start_paused = true)]
async fn another_process_has_its_turn_beside_a_cohort() {
    let pool = plain(1);
    let cohort = governor(&pool).cohort(Cohort::default()).build();
    for _ in 0..20 {
        let cohort = cohort.clone();
        tokio::spawn(async move {
            while let Ok(permit) = cohort.acquire().await {
                sleep(MILLI).await;
                drop(permit);
            }
        });
    }
    sleep(Duration::from_secs(1)).await;
    let other = Governor::builder(pool.handle(), holder()).build();
    for _ in 0..20 {
        let begin = Instant::now();
        drop(other.acquire().await.unwrap());
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
    cohort.close(TTL).await;
}

/// A pool that is deleted and made anew before each grant, and counts from one.
#[derive(Debug)]
struct Anew {
    pool: MemoryPool,
    epochs: std::sync::atomic::AtomicU64,
}

#[async_trait]
impl LeasePool for Anew {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.pool.describe().await
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        let epoch = self.epochs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let pool = MemoryPool::new(NonZeroU32::MIN, TTL);
        Ok(pool.try_acquire(request).await?.map(|lease| lease.in_epoch(epoch).with_renewal(false)))
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.pool.renew(lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.pool.release(lease).await
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        self.pool.held().await
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

#[tokio::test(start_paused = true)]
async fn fences_order_over_epochs_and_a_strict_governor_refuses_what_tokens_do_not_order() {
    let anew = || Anew { pool: plain(1), epochs: 1.into() };
    let governor = Governor::builder(anew(), holder()).build();
    let (first, second) = (governor.acquire().await.unwrap(), governor.acquire().await.unwrap());
    assert_eq!(first.token(), second.token());
    assert!(second.fence() > first.fence());

    let strict = Governor::builder(anew(), holder()).strict_epoch(true).build();
    let _first = strict.acquire().await.unwrap();
    let error = strict.acquire().await.unwrap_err();
    assert_eq!(error.kind(), GovernorErrorKind::Pool(LeaseErrorKind::Conflict), "{error}");
}
