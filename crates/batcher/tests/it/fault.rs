//! Shared capacity on a pool that misbehaves.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{Batcher, BatcherEvent, Bucket, SharedCapacity};
use sluicegate_core::{Holder, LeaseErrorKind, LeasePool, LossCause, MemoryPool};
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
    let capacity =
        SharedCapacity::builder(faulty, holder).factor(FACTOR).reserved(reserved).build().await.unwrap();
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
    assert!(run.diary.count(|event| matches!(event, BatcherEvent::PoolError { doing: "acquire", .. })) > 0);
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
    let expired =
        run.diary.count(|event| matches!(event, BatcherEvent::LeaseLost { cause: LossCause::Expired, .. }));
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

#[tokio::test(start_paused = true)]
async fn an_answer_too_late_is_no_lease() {
    // Each call takes longer than a lease lives.
    let pool = MemoryPool::new(NonZeroU32::new(2).unwrap(), Duration::from_millis(200));
    #[derive(Debug)]
    struct Late(MemoryPool);
    #[async_trait::async_trait]
    impl LeasePool for Late {
        async fn describe(&self) -> Result<sluicegate_core::PoolDescription, sluicegate_core::LeaseError> {
            self.0.describe().await
        }
        async fn try_acquire(
            &self,
            request: &sluicegate_core::Request,
        ) -> Result<Option<sluicegate_core::Lease>, sluicegate_core::LeaseError> {
            let answer = self.0.try_acquire(request).await;
            sleep(Duration::from_millis(190)).await;
            answer
        }
        async fn renew(
            &self,
            lease: &sluicegate_core::Lease,
        ) -> Result<sluicegate_core::Lease, sluicegate_core::LeaseError> {
            self.0.renew(lease).await
        }
        async fn release(&self, lease: &sluicegate_core::Lease) -> Result<bool, sluicegate_core::LeaseError> {
            self.0.release(lease).await
        }
        async fn held(&self) -> Result<Vec<sluicegate_core::HeldLease>, sluicegate_core::LeaseError> {
            self.0.held().await
        }
        async fn freed(&self) -> NonZeroU32 {
            self.0.freed().await
        }
        async fn lost(&self, lease: &sluicegate_core::Lease) -> LossCause {
            self.0.lost(lease).await
        }
        fn line(&self) -> &sluicegate_core::WaitQueue {
            self.0.line()
        }
    }
    let holder = Holder::try_new("w").unwrap();
    let capacity =
        SharedCapacity::builder(Arc::new(Late(pool.handle())), holder).factor(1_000).build().await.unwrap();
    let (batcher, _engine) = Batcher::builder().capacity(capacity).start(CancellationToken::new()).unwrap();
    let store = Store::fast();
    watcher(&batcher, &store).enqueue(op(1)).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert!(store.sent().is_empty(), "no lease was ever usable");
}
