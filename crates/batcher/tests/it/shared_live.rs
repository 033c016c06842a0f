//! Shared capacity that changes while it is used, and capacity that cannot be built.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{
    Batcher, BatcherEvent, Capacity, ConfigError, EnqueueErrorKind, Fixed, Share, SharedCapacity,
    SharedCapacityBuilder, SharedCapacityHandle,
};
use sluicegate_core::{Holder, LeaseErrorKind, LeasePool, LeasePoolAdmin, MemoryPool, Request};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, TestWatcher, flood, op, settle, watcher, within};

const TTL: Duration = Duration::from_secs(10);

fn some(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn pool(leases: u32) -> MemoryPool {
    MemoryPool::new(some(leases), TTL)
}

fn of(pool: &MemoryPool, name: &str) -> SharedCapacityBuilder {
    SharedCapacity::builder(Arc::new(pool.handle()), Holder::try_new(name).unwrap()).fresh(true)
}

struct Writer {
    batcher: Batcher,
    users: TestWatcher,
    diary: Diary,
    handle: SharedCapacityHandle,
}

async fn start(builder: SharedCapacityBuilder, store: &Store) -> Writer {
    let (diary, capacity) = (Diary::default(), builder.build().await.unwrap());
    let handle = capacity.handle();
    let (batcher, _engine) = Batcher::builder()
        .capacity(capacity)
        .observer(diary.observer())
        .max_operation_time(Duration::from_secs(3_600))
        .start(CancellationToken::new())
        .unwrap();
    let users = watcher(&batcher, store);
    Writer { batcher, users, diary, handle }
}

impl Writer {
    fn rate(&self) -> u64 {
        self.batcher.stats().rate.unwrap()
    }

    async fn until(&self, rate: u64) {
        within(2 * TTL, async || self.rate() == rate).await;
    }
}

#[tokio::test(start_paused = true)]
async fn max_capacity_12000() {
    let capacity = of(&pool(10), "w").factor(1_000).reserved(2_000).build().await.unwrap();
    assert_eq!(capacity.max().units(), 12_000);
    assert_eq!(capacity.handle().max().units(), 12_000);
}

#[tokio::test(start_paused = true)]
async fn partition_count() {
    let max = async |leases, total, factor| {
        let builder = of(&pool(leases), "w").for_total(total, factor);
        builder.build().await.map(|capacity| capacity.max().units())
    };
    assert_eq!(max(10, 10, 1).await.unwrap(), 10);
    assert_eq!(max(10, 10_050, 1_000).await.unwrap(), 10_000);
    let field = async |leases, total, factor| {
        let error = max(leases, total, factor).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");
        let source =
            std::error::Error::source(&error).unwrap().downcast_ref::<ConfigError>().unwrap().clone();
        source.field()
    };
    assert_eq!(field(11, 10_050, 1_000).await, "total", "eleven of them would be worth 11 000");
    assert_eq!(field(10, 999, 1_000).await, "total");
    assert_eq!(field(10, 999, 0).await, "factor");
}

#[tokio::test(start_paused = true)]
async fn more_than_500_partitions_rejected() {
    let error = of(&pool(501), "w").build().await.unwrap_err();
    assert!(error.to_string().contains("max-partitions"), "{error}");
    assert!(of(&pool(501), "w").max_partitions(some(501)).build().await.is_ok());
    assert!(of(&pool(500), "w").build().await.is_ok());
    let error = of(&pool(1), "w").expect_leases(some(501)).build().await.unwrap_err();
    assert!(error.to_string().contains("max-partitions"), "{error}");
    let (pool, store) = (pool(10), Store::fast());
    let writer = start(of(&pool, "w"), &store).await;
    assert_eq!(writer.handle.resize(&pool, some(501)).await.unwrap_err().kind(), LeaseErrorKind::Invalid);
    assert_eq!(pool.describe().await.unwrap().limit, Some(some(10)));
}

#[tokio::test(start_paused = true)]
async fn no_pool_no_provision() {
    let diary = Diary::default();
    let (batcher, _engine) = Batcher::builder()
        .capacity(Fixed::per_second(100))
        .observer(diary.observer())
        .start(CancellationToken::new())
        .unwrap();
    sleep(2 * TTL).await;
    assert_eq!(diary.lines().len(), 1, "{:?}", diary.lines());
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::CapacityChanged { .. })), 1);
    batcher.drain(Duration::ZERO).await;
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::Stopped { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn one_capacity_event_at_start() {
    let writer = start(of(&pool(10), "w").reserved(50), &Store::fast()).await;
    sleep(2 * TTL).await;
    assert_eq!(writer.diary.count(|event| matches!(event, BatcherEvent::CapacityChanged { .. })), 1);
    let provisioned = writer
        .diary
        .count(|event| matches!(event, BatcherEvent::PoolProvisioned { leases: 10, created: 0, .. }));
    assert_eq!((provisioned, writer.diary.lines().len()), (1, 2), "nothing else: nothing is needed");
}

#[tokio::test(start_paused = true)]
async fn set_reserved_changes_both() {
    let store = Store::held_up();
    let writer = start(of(&pool(10), "w").factor(1_000).reserved(2_000), &store).await;
    writer.users.enqueue(op(0).cost(5_000)).await.unwrap();
    writer.until(5_000).await;
    writer.handle.set_reserved(4_000);
    writer.until(5_000).await;
    assert_eq!(writer.handle.max().units(), 14_000);
    settle().await;
    assert!(writer.users.try_enqueue(op(0).cost(14_000)).is_ok());
    let refused = writer.users.try_enqueue(op(0).cost(14_001)).unwrap_err().kind();
    assert_eq!(refused, EnqueueErrorKind::TooExpensive { cost: 14_001, max: 14_000 });
    writer.handle.set_reserved(0);
    settle().await;
    assert!(writer.users.try_enqueue(op(0).cost(10_001)).is_err(), "the maximum falls with it");
}

#[tokio::test(start_paused = true)]
async fn more_reserved_brings_nothing_for_the_time_before() {
    let store = Store::fast();
    let writer = start(of(&pool(1), "w").reserved(10), &store).await;
    sleep(Duration::from_secs(60)).await;
    writer.handle.set_reserved(10_000);
    let raised = Instant::now();
    flood(&writer.users, std::iter::repeat(1));
    sleep(Duration::from_secs(1)).await;
    let mut sum = 0;
    for sent in store.sent() {
        sum += sent.cost;
        let earned = (sent.at - raised).as_micros() as u64 * 10_001 / 1_000_000;
        assert!(sum <= earned + 1, "{sum} of {earned} after {:?}", sent.at - raised);
    }
    assert!(sum >= 9_800, "{sum}");
}

#[tokio::test(start_paused = true)]
async fn resize_10_to_20() {
    let (pool, store) = (pool(10), Store::held_up());
    let writer = start(of(&pool, "w").factor(1_000), &store).await;
    for _ in 0..4 {
        writer.users.enqueue(op(0).cost(5_000)).await.unwrap();
    }
    writer.until(10_000).await;
    let admin: Arc<dyn LeasePoolAdmin> = Arc::new(pool.handle());
    writer.handle.resize(&*admin, some(20)).await.unwrap();
    within(Duration::from_secs(1), async || writer.rate() == 20_000).await;
    assert_eq!((writer.handle.max().units(), writer.handle.leases().get()), (20_000, 20));
    let provisioned = writer
        .diary
        .count(|event| matches!(event, BatcherEvent::PoolProvisioned { leases: 20, created: 10, .. }));
    assert_eq!(provisioned, 1);
    assert!(writer.users.try_enqueue(op(0).cost(20_000)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_one_lease_resized_to_1000() {
    let (pool, store) = (pool(1), Store::held_up());
    let writer = start(of(&pool, "w").max_partitions(some(1_000)), &store).await;
    assert!(writer.users.try_enqueue(op(0).cost(2)).is_err());
    writer.handle.resize(&pool, some(1_000)).await.unwrap();
    settle().await;
    writer.users.try_enqueue(op(0).cost(1_000)).unwrap();
    writer.until(1_000).await;
}

#[tokio::test(start_paused = true)]
async fn resize_keeps_leases() {
    let (pool, store) = (pool(10), Store::held_up());
    let writer = start(of(&pool, "w").factor(1_000).share(Share::Greedy), &store).await;
    writer.users.enqueue(op(0).cost(5_000)).await.unwrap();
    writer.until(5_000).await;
    let ids = async || pool.held().await.unwrap().into_iter().map(|held| held.id).collect::<Vec<_>>();
    let before = ids().await;
    writer.handle.resize(&pool, some(12)).await.unwrap();
    sleep(TTL).await;
    assert_eq!((writer.rate(), ids().await == before), (5_000, true));
    writer.handle.resize(&pool, some(3)).await.unwrap();
    writer.until(3_000).await;
    sleep(2 * TTL).await;
    assert_eq!((writer.rate(), ids().await == before[..3]), (3_000, true), "the oldest");
}

#[tokio::test(start_paused = true)]
async fn expiry_after_shrink_is_harmless() {
    let pool = MemoryPool::builder(some(10), TTL).renewable(false).build();
    let store = Store::held_up();
    let writer = start(of(&pool, "w").factor(1_000), &store).await;
    writer.users.enqueue(op(0).cost(8_000)).await.unwrap();
    writer.until(8_000).await;
    writer.handle.resize(&pool, some(2)).await.unwrap();
    sleep(3 * TTL + Duration::from_secs(1)).await;
    writer.until(2_000).await;
    assert!(pool.held().await.unwrap().len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_size_that_others_changed_is_noticed() {
    let (pool, store) = (pool(4), Store::held_up());
    let writer = start(of(&pool, "w").factor(100), &store).await;
    for _ in 0..10 {
        writer.users.enqueue(op(0).cost(200)).await.unwrap();
    }
    writer.until(400).await;
    pool.resize(some(9)).await.unwrap();
    within(TTL * 12 / 10, async || writer.rate() == 900).await;
    assert_eq!(writer.handle.max().units(), 900);
    pool.resize(some(2)).await.unwrap();
    within(TTL * 12 / 10 + Duration::from_secs(1), async || pool.held().await.unwrap().len() <= 2).await;
}

#[tokio::test(start_paused = true)]
async fn released_leases_not_reacquired() {
    let (pool, store) = (pool(10), Store::held_up());
    let writer = start(of(&pool, "w"), &store).await;
    writer.users.enqueue(op(0).cost(8)).await.unwrap();
    writer.until(8).await;
    store.let_through(1);
    // The debt of eight units, and the hold.
    within(Duration::from_secs(4), async || pool.held().await.unwrap().is_empty()).await;
    sleep(3 * TTL).await;
    let acquired = writer.diary.count(|event| matches!(event, BatcherEvent::LeaseAcquired { .. }));
    assert_eq!((acquired, pool.held().await.unwrap().len()), (8, 0));
}

#[tokio::test(start_paused = true)]
async fn full_pool_acquires_and_releases_nothing() {
    let (pool, store) = (pool(10), Store::fast());
    let others = Request::new(Holder::try_new("others").unwrap()).weight(some(10));
    let lease = pool.try_acquire(&others).await.unwrap().unwrap();
    let writer = start(of(&pool, "w"), &store).await;
    writer.users.enqueue(op(0).cost(8)).await.unwrap();
    sleep(TTL * 8 / 10).await;
    let lines = writer.diary.lines().join("\n");
    assert!(!lines.contains("LeaseAcquired") && !lines.contains("LeaseReleased"), "{lines}");
    assert_eq!(writer.diary.count(|event| matches!(event, BatcherEvent::PoolFull { wanted: 8, .. })), 1);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn the_target_is_told_in_units_and_leases() {
    let (pool, store) = (pool(10), Store::held_up());
    let writer = start(of(&pool, "w").factor(1_000).reserved(500), &store).await;
    writer.users.enqueue(op(0).cost(2_600)).await.unwrap();
    writer.until(3_500).await;
    let told = |units, leases| {
        writer.diary.count(|event| {
            matches!(event, BatcherEvent::TargetChanged { wanted_units, wanted_leases, .. }
                if (*wanted_units, *wanted_leases) == (units, leases))
        })
    };
    assert_eq!(told(2_600, 3), 1);
    store.let_through(1);
    within(Duration::from_secs(1), async || told(0, 0) == 1).await;
}
