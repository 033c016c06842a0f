//! Shared capacity on a pool that misbehaves.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_batcher::{Batcher, BatcherEvent, Bucket, SharedCapacity};
use sluicegate_core::{
    HeldLease, Holder, Lease, LeaseError, LeaseErrorKind, LeasePool, LossCause, MemoryPool, PoolDescription,
    Request, WaitQueue,
};
use sluicegate_testkit::lease::{Fault, Faulty, Switch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, flood, op, watcher, within, worst_window};

const TTL: Duration = Duration::from_secs(10);
const FACTOR: u64 = 100;

struct Run {
    pool: MemoryPool,
    batcher: Batcher,
    store: Store,
    diary: Diary,
}

async fn start(leases: u32, reserved: u64, fault: Fault) -> Run {
    let pool = MemoryPool::new(NonZeroU32::new(leases).unwrap(), TTL);
    let faulty = Arc::new(Faulty::new(pool.handle(), fault));
    let holder = Holder::try_new("w").unwrap();
    let capacity = SharedCapacity::builder(faulty, holder)
        .factor(FACTOR)
        .reserved(reserved)
        .fresh(true)
        .build()
        .await
        .unwrap();
    let diary = Diary::default();
    let (batcher, _engine) = Batcher::builder()
        .capacity(capacity)
        .observer(diary.observer())
        .start(CancellationToken::new())
        .unwrap();
    let store = Store::fast();
    flood(&watcher(&batcher, &store), std::iter::repeat(1));
    Run { pool, batcher, store, diary }
}

impl Run {
    fn rate(&self) -> u64 {
        self.batcher.stats().rate.unwrap()
    }

    fn assert_law(&self, leases: u64, reserved: u64) {
        let rate = leases * FACTOR + reserved;
        let extra = i128::from(rate) * (Duration::from_millis(10) + Bucket::SLACK).as_nanos() as i128;
        let excess = worst_window(&self.store.sent(), rate, extra);
        assert!(excess <= 0, "{} units too many", excess / 1_000_000_000);
    }
}

#[tokio::test(start_paused = true)]
async fn pool_slow() {
    let run = start(20, 0, Fault::Slow(Duration::from_millis(200))).await;
    within(Duration::from_secs(3), async || run.rate() == 2_000).await;
    sleep(3 * TTL).await;
    assert_eq!(run.rate(), 2_000, "renewed in time");
    run.assert_law(20, 0);
    assert!(run.batcher.drain(Duration::ZERO).await.outcomes.shut_down > 0);
    assert!(run.pool.held().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pool_flaky() {
    let run = start(20, 0, Fault::Flaky(NonZeroU32::new(3).unwrap())).await;
    within(Duration::from_secs(30), async || run.rate() == 2_000).await;
    sleep(5 * TTL).await;
    assert_eq!(run.rate(), 2_000, "renewals are tried again in time");
    let lost = run.diary.count(|event| matches!(event, BatcherEvent::LeaseLost { .. }));
    let failed = run.diary.count(|event| {
        matches!(event, BatcherEvent::PoolError { kind: LeaseErrorKind::Transient, doing: "renew", .. })
    });
    assert!(lost == 0 && failed > 0, "{lost} lost, {failed} failures");
    run.assert_law(20, 0);
    run.batcher.drain(Duration::ZERO).await;
    assert!(run.pool.held().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pool_error_is_not_full() {
    let switch = Switch::new();
    let run = start(2, 0, Fault::CutOff(switch.clone())).await;
    within(Duration::from_secs(1), async || run.rate() == 200).await;
    switch.cut();
    sleep(2 * TTL).await;
    assert_eq!(run.diary.count(|event| matches!(event, BatcherEvent::PoolFull { .. })), 0);
    assert!(run.diary.count(|event| matches!(event, BatcherEvent::PoolError { doing: "describe", .. })) > 0);
}

#[tokio::test(start_paused = true)]
async fn pool_cut_off_falls_to_reserved_and_back() {
    let switch = Switch::new();
    let run = start(10, 50, Fault::CutOff(switch.clone())).await;
    within(Duration::from_secs(2), async || run.rate() == 1_050).await;
    switch.cut();
    within(TTL, async || run.rate() == 50).await;
    let before = run.store.total_cost();
    sleep(Duration::from_secs(10)).await;
    let meanwhile = run.store.total_cost() - before;
    assert!((490..=510).contains(&meanwhile), "{meanwhile} in 10 s at 50/s");
    let expired = run.diary.count(|event| matches!(event, BatcherEvent::LeaseExpired { .. }));
    assert_eq!(expired, 10);
    switch.connect();
    // The longest delay between two attempts, stretched by a quarter, and a ramp.
    within(Duration::from_secs(4), async || run.rate() == 1_050).await;
    run.assert_law(10, 50);
}

#[tokio::test(start_paused = true)]
async fn cut_off_at_the_end_leaves_leases_to_expire() {
    let switch = Switch::new();
    let run = start(10, 0, Fault::CutOff(switch.clone())).await;
    within(Duration::from_secs(2), async || run.rate() == 1_000).await;
    switch.cut();
    let report = run.batcher.drain(Duration::ZERO).await;
    assert!(report.elapsed <= Duration::from_secs(3), "{report:?}");
    within(TTL, async || run.pool.held().await.unwrap().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_neither_full_nor_ours() {
    // Every fourth answer is lost: an acquired lease of which we do not know idles until it expires.
    let run = start(8, 0, Fault::AnswerLost(NonZeroU32::new(4).unwrap())).await;
    sleep(Duration::from_secs(120)).await;
    let unknown = run
        .diary
        .count(|event| matches!(event, BatcherEvent::PoolError { kind: LeaseErrorKind::Unknown, .. }));
    assert!(unknown > 0);
    run.assert_law(8, 0);
    assert!(run.store.total_cost() >= 800 * 120 / 2, "{}", run.store.total_cost());
}

/// A pool that is asked for leases in an odd way.
#[derive(Debug)]
struct Odd {
    pool: MemoryPool,
    asked: AtomicU32,
    /// How late the answer to the n-th question is, from 1; may panic instead.
    late: fn(u32) -> Duration,
}

impl Odd {
    fn over(pool: &MemoryPool, late: fn(u32) -> Duration) -> Arc<Self> {
        Arc::new(Self { pool: pool.handle(), asked: AtomicU32::new(0), late })
    }
}

#[async_trait]
impl LeasePool for Odd {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.pool.describe().await
    }
    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        let late = (self.late)(self.asked.fetch_add(1, Ordering::Relaxed) + 1);
        let answer = self.pool.try_acquire(request).await;
        sleep(late).await;
        answer
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
async fn an_answer_too_late_is_no_lease() {
    // Each call takes longer than a lease lives.
    let pool = MemoryPool::new(NonZeroU32::new(2).unwrap(), Duration::from_millis(200));
    let late = Odd::over(&pool, |_| Duration::from_millis(190));
    let holder = Holder::try_new("w").unwrap();
    let capacity = SharedCapacity::builder(late, holder).factor(1_000).fresh(true).build().await.unwrap();
    let (batcher, _engine) = Batcher::builder().capacity(capacity).start(CancellationToken::new()).unwrap();
    let store = Store::fast();
    watcher(&batcher, &store).enqueue(op(1)).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert!(store.sent().is_empty(), "no lease was ever usable");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_panics_leaves_the_others_under_way() {
    let pool = MemoryPool::new(NonZeroU32::new(4).unwrap(), TTL);
    // The second and the third are asked at once: the answer to one comes after the other has panicked.
    let odd = Odd::over(&pool, |n| {
        assert!(n != 3, "asked to panic");
        Duration::from_millis(u64::from(n == 2))
    });
    let capacity =
        SharedCapacity::builder(odd.clone(), Holder::try_new("w").unwrap()).factor(FACTOR).fresh(true);
    let (batcher, _engine) =
        Batcher::builder().capacity(capacity.build().await.unwrap()).start(CancellationToken::new()).unwrap();
    flood(&watcher(&batcher, &Store::fast()), std::iter::repeat(1));
    within(Duration::from_secs(2), async || batcher.stats().rate == Some(4 * FACTOR)).await;
    assert!(odd.asked.load(Ordering::Relaxed) >= 5, "one question in vain");
    batcher.drain(Duration::ZERO).await;
    assert!(pool.held().await.unwrap().is_empty());
}
