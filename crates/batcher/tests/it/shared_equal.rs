//! How a pool is divided among those who want more than there is.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{Batcher, BatcherEvent, Capacity, Share, SharedCapacity, SharedCapacityBuilder};
use sluicegate_core::{Holder, LeasePool, LeasePoolAdmin, MemoryPool};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, op, watcher, within};

const TTL: Duration = Duration::from_secs(10);
const FACTOR: u64 = 10;

struct Writer {
    batcher: Batcher,
    diary: Diary,
    engine: JoinHandle<sluicegate_batcher::DrainReport>,
}

async fn start(
    pool: &MemoryPool,
    name: &str,
    with: impl FnOnce(SharedCapacityBuilder) -> SharedCapacityBuilder,
) -> Writer {
    let builder = SharedCapacity::builder(Arc::new(pool.handle()), Holder::try_new(name).unwrap());
    let capacity = with(builder.factor(FACTOR).fresh(true)).build().await.unwrap();
    let diary = Diary::default();
    let need = capacity.max().units() as u32;
    let batcher = Batcher::builder().capacity(capacity).observer(diary.observer());
    let batcher = batcher.max_operation_time(Duration::from_secs(100_000));
    let (batcher, engine) = batcher.start(CancellationToken::new()).unwrap();
    // They never end, so that all of it is needed all the time, and even more than that.
    let users = watcher(&batcher, &Store::held_up());
    for _ in 0..3 {
        users.enqueue(op(0).cost(need)).await.unwrap();
    }
    Writer { batcher, diary, engine }
}

impl Writer {
    fn leases(&self) -> u64 {
        self.batcher.stats().rate.unwrap() / FACTOR
    }

    fn yielded(&self) -> usize {
        self.diary.count(|event| matches!(event, BatcherEvent::LeaseYielded { .. }))
    }
}

fn pool(leases: u32) -> MemoryPool {
    MemoryPool::new(NonZeroU32::new(leases).unwrap(), TTL)
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_gets_its_share() {
    for leases in [2, 3, 20] {
        let pool = pool(leases);
        let first = start(&pool, "first", |builder| builder).await;
        sleep(3 * TTL).await;
        assert!(first.leases() + 1 >= leases.into(), "{} of {leases}", first.leases());
        let second = start(&pool, "second", |builder| builder).await;
        let share = u64::from(leases) / 2;
        within(5 * TTL, async || second.leases() >= share).await;
        sleep(2 * TTL).await;
        let third = start(&pool, "third", |builder| builder).await;
        if leases >= 3 {
            let share = u64::from(leases) / 3;
            within(5 * TTL, async || third.leases() >= share).await;
        }
        assert!(pool.held().await.unwrap().len() <= leases as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn many_that_come_at_once_end_up_alike() {
    let pool = pool(20);
    let mut writers = vec![start(&pool, "0", |builder| builder).await];
    sleep(Duration::from_secs(1)).await;
    for name in ["1", "2", "3"] {
        writers.push(start(&pool, name, |builder| builder).await);
    }
    sleep(8 * TTL).await;
    let mut sums = [0; 4];
    for _ in 0..200 {
        sleep(TTL / 10).await;
        for (sum, writer) in sums.iter_mut().zip(&writers) {
            *sum += writer.leases();
        }
    }
    assert!(sums.iter().all(|sum| (800..=1_200).contains(sum)), "{sums:?} of 1000 each");
    assert!(sums.iter().sum::<u64>() >= 3_880, "{sums:?}: hardly anything idles");
}

#[tokio::test(start_paused = true)]
async fn what_a_crashed_one_held_is_taken_over() {
    let pool = pool(20);
    let first = start(&pool, "first", |builder| builder).await;
    let second = start(&pool, "second", |builder| builder).await;
    within(6 * TTL, async || first.leases() == 10 && second.leases() == 10).await;
    second.engine.abort();
    within(TTL + Duration::from_millis(300), async || first.leases() >= 19).await;
}

#[tokio::test(start_paused = true)]
async fn alone_it_offers_a_little_and_gets_it_back() {
    let pool = pool(20);
    let writer = start(&pool, "alone", |builder| builder).await;
    sleep(Duration::from_secs(1)).await;
    sleep(20 * TTL).await;
    let yielded = writer.yielded();
    assert!((18..=23).contains(&yielded), "{yielded}: one in a time to live");
    let full = writer.diary.count(|event| matches!(event, BatcherEvent::PoolFull { .. }));
    assert_eq!(full, 0);
}

#[tokio::test(start_paused = true)]
async fn without_borrowing_there_is_room_for_one_more() {
    let pool = pool(20);
    let first = start(&pool, "first", |builder| builder.borrow(false)).await;
    sleep(2 * TTL).await;
    assert_eq!(first.leases(), 10);
    let second = start(&pool, "second", |builder| builder.borrow(false)).await;
    sleep(4 * TTL).await;
    assert_eq!((first.leases(), second.leases()), (6, 6));
    assert_eq!(first.yielded() + second.yielded(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_weighted_share_is_left_to_its_owner() {
    let pool = pool(20);
    let part = |weight| Share::Weighted {
        weight: NonZeroU32::new(weight).unwrap(),
        of: NonZeroU32::new(4).unwrap(),
    };
    let small = start(&pool, "small", |builder| builder.share(part(1))).await;
    sleep(TTL).await;
    assert!(small.leases() >= 18, "borrowed: {}", small.leases());
    let large = start(&pool, "large", |builder| builder.share(part(3))).await;
    within(6 * TTL, async || large.leases() == 15).await;
    sleep(5 * TTL).await;
    assert_eq!((small.leases(), large.leases()), (5, 15), "and for good");
}

#[tokio::test(start_paused = true)]
async fn a_lowered_limit_is_divided_too() {
    let pool = pool(20);
    let first = start(&pool, "first", |builder| builder).await;
    let second = start(&pool, "second", |builder| builder).await;
    within(6 * TTL, async || first.leases() == 10 && second.leases() == 10).await;
    pool.resize(NonZeroU32::new(10).unwrap()).await.unwrap();
    within(8 * TTL, async || pool.held().await.unwrap().len() <= 10).await;
    sleep(5 * TTL).await;
    let held = (first.leases(), second.leases());
    assert!(held.0.abs_diff(5) <= 1 && held.1.abs_diff(5) <= 1, "{held:?}");
}
