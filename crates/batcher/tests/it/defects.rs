//! What go-batcher does, and this one must not: its scenarios with its numbers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{
    Batch, BatchContext, Batcher, EnqueueErrorKind, Fixed, Flush, OpError, Share, SharedCapacity, Verdicts,
    Watcher, handler_fn,
};
use sluicegate_core::{Holder, LeasePool, LeasePoolAdmin, MemoryPool};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::lab::{Store, TestWatcher, assert_books, extra, flood, op, settle, watcher, within, worst_window};

fn limited(rate: u64, slice: Duration, store: &Store) -> (Batcher, TestWatcher) {
    let (batcher, _engine) = Batcher::builder()
        .capacity(Fixed::per_second(rate))
        .slice(slice)
        .start(CancellationToken::new())
        .unwrap();
    let users = watcher(&batcher, store);
    (batcher, users)
}

/// Upstream forgets what a flush has overspent, and asserts 2 operations of cost 100 in 250 ms at 100/s.
#[tokio::test(start_paused = true)]
async fn must_not_d01_forget_debt() {
    let store = Store::fast();
    let (_batcher, users) = limited(100, Duration::from_millis(100), &store);
    flood(&users, std::iter::repeat(100));
    sleep(Duration::from_millis(250)).await;
    assert_eq!(store.total_cost(), 100);
    sleep(Duration::from_millis(9_750)).await;
    assert_eq!(store.total_cost(), 1_000);
}

/// Upstream never sends anything when rate × interval is below 1.
#[tokio::test(start_paused = true)]
async fn must_not_d02_truncate_small_rates() {
    for (rate, slice) in
        [(9, Duration::from_millis(100)), (1, Duration::from_millis(10)), (500, Duration::from_micros(900))]
    {
        let store = Store::fast();
        let (_batcher, users) = limited(rate, slice, &store);
        flood(&users, std::iter::repeat(1));
        sleep(Duration::from_secs(30)).await;
        assert!(store.total_cost() >= rate * 30 * 985 / 1_000, "{rate}/s: {}", store.total_cost());
    }
}

/// Upstream counts 1.9 ms as 1 ms.
#[tokio::test(start_paused = true)]
async fn must_not_d03_drop_fractions() {
    let (rate, slice) = (1_000, Duration::from_micros(1_900));
    let store = Store::fast();
    let (_batcher, users) = limited(rate, slice, &store);
    flood(&users, std::iter::repeat(1));
    sleep(Duration::from_secs(5)).await;
    assert!((4_925..=5_005).contains(&store.total_cost()), "{}", store.total_cost());
    assert!(worst_window(&store.sent(), rate, extra(rate, slice, 1)) <= 0);
}

/// Upstream grants a new slice with each manual flush: 10.2 times the rate.
#[tokio::test(start_paused = true)]
async fn must_not_d04_grant_budget_with_flush() {
    let (rate, slice) = (1_000, Duration::from_millis(10));
    let store = Store::fast();
    let (batcher, users) = limited(rate, slice, &store);
    flood(&users, std::iter::repeat(1));
    for _ in 0..5_000 {
        batcher.flush();
        sleep(Duration::from_millis(1)).await;
    }
    assert!(worst_window(&store.sent(), rate, extra(rate, slice, 1)) <= 0);
}

/// Upstream raises the target before it refuses: 1 010 instead of 10.
#[tokio::test(start_paused = true)]
async fn must_not_d05_count_refused_operations() {
    let (batcher, _engine) = Batcher::builder().buffer(1).capacity(Fixed::per_second(500)).build().unwrap();
    let users = watcher(&batcher, &Store::fast());
    users.try_enqueue(op(0).cost(10)).unwrap();
    assert!(users.try_enqueue(op(0).cost(500)).is_err());
    assert!(users.try_enqueue(op(0).cost(501)).is_err());
    assert_eq!(batcher.needs_capacity(), 10);
}

/// Upstream leaves an Enqueue on a full buffer blocked for ever after shutdown.
#[tokio::test(start_paused = true)]
async fn must_not_d06_strand_waiters() {
    let (batcher, _engine) =
        Batcher::builder().buffer(1).max_concurrent_batches(1).start(CancellationToken::new()).unwrap();
    let users = watcher(&batcher, &Store::held_up());
    users.enqueue(op(0)).await.unwrap();
    settle().await;
    users.enqueue(op(1)).await.unwrap();
    let waiters: Vec<_> = (2..6)
        .map(|payload| {
            let users = users.clone();
            tokio::spawn(async move { users.enqueue(op(payload)).await })
        })
        .collect();
    settle().await;
    let report = batcher.drain(Duration::from_secs(1)).await;
    assert_eq!(report.outcomes.shut_down, 2);
    for (waiter, payload) in waiters.into_iter().zip(2..) {
        let refused = waiter.await.unwrap().unwrap_err();
        assert_eq!((refused.kind(), refused.into_operation()), (EnqueueErrorKind::ShutDown, op(payload)));
    }
}

/// Upstream drops buffered operations silently at shutdown: 1 000 of 1 000.
#[tokio::test(start_paused = true)]
async fn must_not_d07_lose_operations_at_shutdown() {
    for timeout in [Duration::ZERO, Duration::from_millis(1_500), Duration::from_secs(60)] {
        let store = Store::fast();
        let (batcher, users) = limited(200, Duration::from_millis(10), &store);
        let mut tickets = Vec::new();
        for payload in 0..1_000 {
            tickets.push(users.submit(op(payload)).await.unwrap());
        }
        let report = batcher.drain(timeout).await;
        let (mut done, mut shut_down) = (0, 0);
        for ticket in tickets {
            match ticket.await {
                Ok(_) => done += 1,
                Err(OpError::ShutDown) => shut_down += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((done, shut_down), (batcher.stats().outcomes.done, report.outcomes.shut_down));
        assert_eq!(done + shut_down, 1_000);
        assert_books(&batcher);
    }
}

/// Upstream empties a full buffer once in 100 ms.
#[tokio::test(start_paused = true)]
async fn must_not_d09_wait_for_a_tick_with_a_full_buffer() {
    let store = Store::fast();
    let (batcher, _engine) = Batcher::builder().buffer(100).start(CancellationToken::new()).unwrap();
    let users = batcher
        .watcher(store.handler())
        .flush(Flush::Linger)
        .linger(Duration::from_millis(100))
        .build()
        .unwrap();
    let start = Instant::now();
    let producers = (0..1_000).map(|_| {
        let users = users.clone();
        tokio::spawn(async move {
            for payload in 0..10 {
                users.enqueue(op(payload)).await.unwrap();
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// Upstream asks for one lease in 250 ms and never renews: some 60 of 500 at most.
#[tokio::test(start_paused = true)]
async fn must_not_d10_ramp_one_by_one() {
    let pool = MemoryPool::new(NonZeroU32::new(500).unwrap(), Duration::from_secs(15));
    let faulty = sluicegate_testkit::lease::Faulty::new(
        pool.handle(),
        sluicegate_testkit::lease::Fault::Slow(Duration::from_millis(20)),
    );
    let capacity = SharedCapacity::builder(Arc::new(faulty), Holder::try_new("w").unwrap()).fresh(true);
    let capacity = capacity.share(Share::Greedy).build().await.unwrap();
    let (batcher, _engine) = Batcher::builder().capacity(capacity).start(CancellationToken::new()).unwrap();
    let users = watcher(&batcher, &Store::fast());
    flood(&users, std::iter::repeat(1));
    within(Duration::from_secs(1), async || pool.held().await.unwrap().len() == 500).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(pool.held().await.unwrap().len(), 500, "and keep them");
}

/// Upstream counts a lease from the reply on, so that two owners overlap.
#[tokio::test(start_paused = true)]
async fn must_not_d12_use_a_lease_beyond_its_deadline() {
    let pool = MemoryPool::builder(NonZeroU32::MIN, Duration::from_secs(2)).renewable(false).build();
    let faulty = sluicegate_testkit::lease::Faulty::new(
        pool.handle(),
        sluicegate_testkit::lease::Fault::Slow(Duration::from_millis(500)),
    );
    let capacity = SharedCapacity::builder(Arc::new(faulty), Holder::try_new("w").unwrap())
        .factor(1_000)
        .fresh(true)
        .build()
        .await
        .unwrap();
    let (batcher, _engine) = Batcher::builder().capacity(capacity).start(CancellationToken::new()).unwrap();
    let store = Store::fast();
    flood(&watcher(&batcher, &store), std::iter::repeat(1));
    within(Duration::from_secs(1), async || !pool.held().await.unwrap().is_empty()).await;
    let granted = Instant::now();
    // The only one: when it has run out there is no pool any more.
    sleep_until(granted + Duration::from_millis(2_001)).await;
    pool.delete().await.unwrap();
    let last = store.sent().last().unwrap().at;
    assert!(last < granted + Duration::from_secs(2) - SharedCapacity::GUARD, "{:?}", last - granted);
}

/// Upstream's process dies with a callback that panics.
#[tokio::test(start_paused = true)]
async fn must_not_d13_die_of_a_panic() {
    let (batcher, _engine) =
        Batcher::builder().max_concurrent_batches(1).start(CancellationToken::new()).unwrap();
    let users: Watcher<u32, (), String> = batcher
        .watcher(handler_fn(|batch: &mut Batch<u32>, _cx: &BatchContext| {
            assert!(batch.get(0) != Some(&13), "thirteen");
            Box::pin(async { Verdicts::done() })
        }))
        .max_batch_size(1)
        .build()
        .unwrap();
    let tickets = [users.submit(op(12)).await, users.submit(op(13)).await, users.submit(op(14)).await];
    let [before, unlucky, after] = tickets.map(Result::unwrap);
    before.await.unwrap();
    assert!(matches!(unlucky.await, Err(OpError::Panicked(message)) if &*message == "thirteen"));
    after.await.unwrap();
}

/// Upstream refuses as TooExpensive what comes before the limiter was started.
#[tokio::test(start_paused = true)]
async fn must_not_d17_learn_the_maximum_late() {
    let pool = MemoryPool::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(10));
    let capacity =
        SharedCapacity::builder(Arc::new(pool), Holder::try_new("w").unwrap()).build().await.unwrap();
    let (batcher, _engine) = Batcher::builder().capacity(capacity).build().unwrap();
    watcher(&batcher, &Store::fast()).try_enqueue(op(1).cost(10)).unwrap();
}

/// Upstream's sum of costs is 32 bits wide.
#[tokio::test(start_paused = true)]
async fn must_not_d19_wrap_the_target() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let users = watcher(&batcher, &Store::fast());
    for _ in 0..3 {
        users.try_enqueue(op(0).cost(u32::MAX)).unwrap();
    }
    assert_eq!(batcher.needs_capacity(), 3 * u64::from(u32::MAX));
    tokio::spawn(engine.run(CancellationToken::new()));
    settle().await;
    assert_eq!(batcher.needs_capacity(), 0);
}
