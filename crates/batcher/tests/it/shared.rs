//! Shared capacity on the pool in memory.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{BatchId, Batcher, BatcherEvent, Share, SharedCapacity, SharedCapacityBuilder};
use sluicegate_core::{Holder, LeaseErrorKind, LeasePool, LeasePoolAdmin, LossCause, MemoryPool, Request};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, TestWatcher, assert_books, op, settle, watcher, within};

const TTL: Duration = Duration::from_secs(10);

fn pool(leases: u32) -> MemoryPool {
    MemoryPool::new(NonZeroU32::new(leases).unwrap(), TTL)
}

fn of(pool: &MemoryPool, name: &str) -> SharedCapacityBuilder {
    SharedCapacity::builder(Arc::new(pool.handle()), Holder::try_new(name).unwrap()).fresh(true)
}

struct Writer {
    batcher: Batcher,
    users: TestWatcher,
    diary: Diary,
}

async fn start(builder: SharedCapacityBuilder, store: &Store) -> Writer {
    let diary = Diary::default();
    let (batcher, _engine) = Batcher::builder()
        .capacity(builder.build().await.unwrap())
        .observer(diary.observer())
        .max_operation_time(Duration::from_secs(3_600))
        .start(CancellationToken::new())
        .unwrap();
    let users = watcher(&batcher, store);
    Writer { batcher, users, diary }
}

/// The rate that a need of so much settles on.
async fn rate_for(builder: SharedCapacityBuilder, need: u32) -> u64 {
    // Held up, so that the need stays what it is.
    let store = Store::held_up();
    let writer = start(builder, &store).await;
    writer.users.enqueue(op(0).cost(need)).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    writer.batcher.stats().rate.unwrap()
}

#[tokio::test(start_paused = true)]
async fn want_2500_reserved_2000_gives_3000() {
    assert_eq!(rate_for(of(&pool(10), "w").factor(1_000).reserved(2_000), 2_500).await, 3_000);
}

#[tokio::test(start_paused = true)]
async fn want_below_reserved_asks_for_nothing() {
    let pool = pool(10);
    assert_eq!(rate_for(of(&pool, "w").factor(1_000).reserved(2_000), 1_800).await, 2_000);
    assert!(pool.held().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn want_4000_four_leases() {
    let pool = pool(10);
    assert_eq!(rate_for(of(&pool, "w").factor(1_000), 4_000).await, 4_000);
    assert_eq!(pool.held().await.unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn factor_777() {
    assert_eq!(rate_for(of(&pool(12), "w").factor(777), 1_800).await, 2_331);
}

#[tokio::test(start_paused = true)]
async fn want_beyond_max_takes_all() {
    let pool = pool(10);
    let store = Store::held_up();
    let writer = start(of(&pool, "w").factor(10), &store).await;
    for _ in 0..50 {
        writer.users.enqueue(op(0).cost(100)).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!((writer.batcher.stats().rate, pool.held().await.unwrap().len()), (Some(100), 10));
    assert_eq!(
        writer.diary.count(|event| matches!(event, BatcherEvent::PoolFull { .. })),
        0,
        "never asked for more"
    );
}

#[tokio::test(start_paused = true)]
async fn need_gone_releases_after_hold() {
    let pool = pool(10);
    let store = Store::held_up();
    let writer = start(of(&pool, "w"), &store).await;
    writer.users.enqueue(op(0).cost(10)).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(pool.held().await.unwrap().len(), 10);
    store.let_through(1);
    // The interval of want, the hold, and the guard before a lease is given back.
    let idle = within(Duration::from_secs(2), async || pool.held().await.unwrap().is_empty()).await;
    assert!(idle >= Duration::from_millis(900), "{idle:?}: kept for a while");
    assert_eq!(writer.batcher.stats().rate, Some(0));
    assert_eq!(writer.diary.count(|event| matches!(event, BatcherEvent::LeaseReleased { .. })), 10);
}

#[tokio::test(start_paused = true)]
async fn leases_may_be_kept_for_ever() {
    let pool = pool(10);
    let writer = start(of(&pool, "w").hold(Duration::MAX), &Store::fast()).await;
    writer.users.call(op(0).cost(10)).await.unwrap();
    sleep(10 * TTL).await;
    assert_eq!(writer.batcher.stats().rate, Some(10));
    assert!(writer.batcher.drain(Duration::MAX).await.complete);
    assert!(pool.held().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lease_stays_until_the_debt_is_paid() {
    let pool = pool(1);
    let writer = start(of(&pool, "w").factor(100).hold(Duration::from_millis(10)), &Store::fast()).await;
    writer.users.call(op(0).cost(100)).await.unwrap();
    assert_eq!(writer.batcher.needs_capacity(), 0);
    let kept = within(Duration::from_secs(2), async || pool.held().await.unwrap().is_empty()).await;
    assert!(kept >= Duration::from_millis(900), "{kept:?}: it takes a second to earn 99 units");
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_beyond_their_first_life() {
    let pool = pool(4);
    let store = Store::held_up();
    let writer = start(of(&pool, "w").factor(100).share(Share::Greedy), &store).await;
    writer.users.enqueue(op(0).cost(400)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let before: Vec<_> = pool.held().await.unwrap().iter().map(|held| held.id).collect();
    sleep(10 * TTL).await;
    let after: Vec<_> = pool.held().await.unwrap().iter().map(|held| held.id).collect();
    assert_eq!((before.len(), &before), (4, &after), "the same leases");
    assert_eq!(writer.batcher.stats().rate, Some(400));
    assert_eq!(writer.diary.count(|event| matches!(event, BatcherEvent::LeaseLost { .. })), 0);
}

#[tokio::test(start_paused = true)]
async fn weighted_share_lets_three_writers_live() {
    let pool = pool(20);
    let third = Share::Weighted { weight: NonZeroU32::MIN, of: NonZeroU32::new(3).unwrap() };
    let store = Store::fast();
    let mut writers = Vec::new();
    for name in ["one", "two", "three"] {
        let writer = start(of(&pool, name).factor(10).share(third).borrow(false), &store).await;
        for _ in 0..100 {
            writer.users.enqueue(op(0).cost(70)).await.unwrap();
        }
        sleep(Duration::from_secs(1)).await;
        writers.push(writer);
    }
    let rates: Vec<_> = writers.iter().map(|writer| writer.batcher.stats().rate.unwrap()).collect();
    assert_eq!(rates, [70, 70, 60]);
    let waiting =
        writers[2].diary.count(|event| matches!(event, BatcherEvent::PoolFull { held: 6, wanted: 7, .. }));
    assert_eq!(waiting, 1);
}

#[tokio::test(start_paused = true)]
async fn a_freed_lease_is_taken_at_once() {
    let pool = pool(1);
    let other = Request::new(Holder::try_new("other").unwrap());
    let lease = pool.try_acquire(&other).await.unwrap().unwrap();
    let store = Store::fast();
    let writer = start(of(&pool, "w").factor(100), &store).await;
    writer.users.enqueue(op(0)).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert!(store.sent().is_empty());
    pool.release(&lease).await.unwrap();
    let taken = within(Duration::from_millis(100), async || !store.sent().is_empty()).await;
    assert!(taken <= Duration::from_millis(50), "{taken:?}");
    assert!(writer.diary.count(|event| matches!(event, BatcherEvent::PoolFull { .. })) >= 1);
}

#[tokio::test(start_paused = true)]
async fn evicted_lease_dropped_at_once() {
    let pool = pool(10);
    let store = Store::fast();
    let writer = start(of(&pool, "w").factor(10), &store).await;
    for _ in 0..100 {
        writer.users.enqueue(op(0).cost(10)).await.unwrap();
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(writer.batcher.stats().rate, Some(100));
    // Nobody may take the place of what is evicted.
    pool.resize(NonZeroU32::MIN).await.unwrap();
    for held in pool.held().await.unwrap() {
        pool.evict(held.id).await.unwrap();
    }
    let evicted = Instant::now();
    settle().await;
    assert_eq!(evicted.elapsed(), Duration::ZERO);
    assert!(writer.batcher.stats().rate.unwrap() <= 10, "at once");
    let evictions = writer
        .diary
        .count(|event| matches!(event, BatcherEvent::LeaseLost { cause: LossCause::Evicted, .. }));
    assert_eq!(evictions, 10);
}

#[tokio::test(start_paused = true)]
async fn drain_gives_leases_back_before_it_returns() {
    for abort in [false, true] {
        let pool = pool(10);
        let token = CancellationToken::new();
        let capacity = of(&pool, "w").factor(100).build().await.unwrap();
        let (batcher, engine) = Batcher::builder().capacity(capacity).start(token.clone()).unwrap();
        let users = watcher(&batcher, &Store::fast());
        for _ in 0..100 {
            users.enqueue(op(0).cost(5)).await.unwrap();
        }
        within(Duration::from_secs(1), async || pool.held().await.unwrap().len() == 5).await;
        if abort {
            token.cancel();
            engine.await.unwrap();
        } else {
            assert!(batcher.drain(Duration::from_secs(10)).await.complete);
        }
        assert!(pool.held().await.unwrap().is_empty(), "abort: {abort}");
        assert_eq!(batcher.stats().rate, Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn pool_that_cannot_renew_is_asked_anew() {
    let pool = MemoryPool::builder(NonZeroU32::new(4).unwrap(), TTL).renewable(false).build();
    let store = Store::fast();
    let writer = start(of(&pool, "w").factor(10), &store).await;
    for _ in 0..1_000 {
        writer.users.enqueue(op(0)).await.unwrap();
    }
    sleep(Duration::from_secs(25)).await;
    assert!(store.total_cost() >= 40 * 25 * 95 / 100, "{}", store.total_cost());
    assert_eq!(writer.diary.count(|event| matches!(event, BatcherEvent::LeaseExpired { .. })), 8);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_each_share_is_in_the_grant() {
    use sluicegate_batcher::{BatchContext, Watcher, by_value};
    let pool = pool(3);
    let capacity = of(&pool, "w").factor(10).build().await.unwrap();
    let (batcher, _engine) = Batcher::builder().capacity(capacity).start(CancellationToken::new()).unwrap();
    let users: Watcher<u32, u64, String> = batcher
        .watcher(by_value(|payloads: Vec<u32>, cx: BatchContext| async move {
            let newest = cx.grant().and_then(|grant| grant.shares().iter().map(|share| share.token.0).max());
            Ok(vec![newest.unwrap_or(0); payloads.len()])
        }))
        .build()
        .unwrap();
    let first = users.call(op(1)).await.unwrap();
    assert!(first >= 1);
}

/// Between the budget and the handler's start a minute passes.
#[tokio::test(start_paused = true)]
async fn frozen_process_sends_nothing_late() {
    let pool = pool(1);
    let diary = Diary::default();
    let (frozen, observer) = (Arc::new(Notify::new()), diary.observer());
    let freeze = Arc::clone(&frozen);
    let capacity = of(&pool, "w").factor(1_000).build().await.unwrap();
    let (batcher, _engine) = Batcher::builder()
        .capacity(capacity)
        .buffer(2)
        .observer(move |event: &BatcherEvent| {
            observer(event);
            if matches!(event, BatcherEvent::BatchStarted { batch: BatchId(1), .. }) {
                freeze.notify_one();
            }
        })
        .start(CancellationToken::new())
        .unwrap();
    // Woken before the batch's task is spawned, so it runs before it.
    tokio::spawn(async move {
        frozen.notified().await;
        tokio::time::advance(Duration::from_secs(60)).await;
    });
    let start = Instant::now();
    let store = Store::fast();
    let users = watcher(&batcher, &store);
    let dropped = users.submit(op(1)).await.unwrap();
    let kept = users.submit(op(2)).await.unwrap();
    within(Duration::from_secs(61), async || batcher.stats().batches_started == 1).await;
    settle().await;
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::StartedTooLate { len: 2, .. })), 1);
    assert_books(&batcher);
    drop(dropped);
    assert_eq!(kept.await.unwrap(), 2);
    assert_eq!(store.payloads(), [[2]]);
    assert!(store.sent()[0].at >= start + Duration::from_secs(60));
    assert_books(&batcher);
    for payload in 3..5 {
        users.try_enqueue(op(payload)).expect("as many places as before");
    }
    assert!(users.try_enqueue(op(5)).is_err(), "and not more");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_built_says_why() {
    let kind = async |builder: SharedCapacityBuilder| builder.build().await.unwrap_err().kind();
    assert_eq!(kind(of(&pool(1), "w").factor(0)).await, LeaseErrorKind::Invalid);
    let hasty = MemoryPool::new(NonZeroU32::MIN, Duration::from_millis(150));
    assert_eq!(kind(of(&hasty, "w")).await, LeaseErrorKind::Misconfigured);
    let gone = pool(1);
    gone.delete().await.unwrap();
    assert_eq!(kind(of(&gone, "w")).await, LeaseErrorKind::NotFound);
}
