//! With nothing to do nothing ticks.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_batcher::{Batcher, BatcherBuilder, Fixed, Share, SharedCapacity};
use sluicegate_core::{Holder, MemoryPool};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::lab::{Store, op, settle, watcher};

const HOUR: Duration = Duration::from_secs(3_600);

fn start_counted(builder: BatcherBuilder) -> (Batcher, Arc<AtomicU64>) {
    let (batcher, engine) = builder.build().unwrap();
    let polls = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&polls);
    tokio::spawn(async move {
        let mut engine = pin!(engine.run(CancellationToken::new()));
        poll_fn(|cx| {
            counter.fetch_add(1, Ordering::Relaxed);
            engine.as_mut().poll(cx)
        })
        .await
    });
    (batcher, polls)
}

async fn assert_quiet(polls: &AtomicU64) {
    let before = polls.load(Ordering::Relaxed);
    assert!(before > 0);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(polls.load(Ordering::Relaxed), before);
}

async fn shared() -> (MemoryPool, SharedCapacity) {
    let pool = MemoryPool::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(10));
    let holder = Holder::try_new("w").unwrap();
    let capacity = SharedCapacity::builder(Arc::new(pool.handle()), holder)
        .factor(10)
        .fresh(true)
        .build()
        .await
        .unwrap();
    (pool, capacity)
}

#[tokio::test(start_paused = true)]
async fn engine_not_polled_when_idle() {
    let (_pool, capacity) = shared().await;
    let fixed = Batcher::builder().capacity(Fixed::per_second(100));
    for builder in [Batcher::builder(), fixed, Batcher::builder().capacity(capacity)] {
        let (batcher, polls) = start_counted(builder);
        settle().await;
        assert_quiet(&polls).await;
        let users = watcher(&batcher, &Store::fast());
        users.call(op(1).cost(20)).await.unwrap();
        // The last audit comes when all is over.
        sleep(Duration::from_secs(20)).await;
        assert_quiet(&polls).await;
    }
}

#[tokio::test(start_paused = true)]
async fn parked_operations_cost_nothing() {
    let store = Store::held_up();
    let (batcher, polls) = start_counted(
        Batcher::builder().max_concurrent_batches(1).max_operation_time(HOUR).audit_interval(HOUR),
    );
    let users = watcher(&batcher, &store);
    users.enqueue(op(0)).await.unwrap();
    settle().await;
    let before = polls.load(Ordering::Relaxed);
    for payload in 0..9_000 {
        users.enqueue(op(payload)).await.unwrap();
        tokio::task::yield_now().await;
    }
    let woken = polls.load(Ordering::Relaxed) - before;
    assert!(woken <= 2, "{woken} polls for 9 000 operations that cannot leave");
    assert_quiet(&polls).await;
}

#[tokio::test(start_paused = true)]
async fn operations_without_budget_cost_nothing() {
    let (pool, capacity) = shared().await;
    // All leases are gone, so that the rate stays zero.
    let holder = Holder::try_new("other").unwrap();
    let other = SharedCapacity::builder(Arc::new(pool.handle()), holder).factor(10).share(Share::Greedy);
    let other = other.fresh(true).build().await.unwrap();
    let other = Batcher::builder().capacity(other).max_operation_time(HOUR);
    let (other, _engine) = other.start(CancellationToken::new()).unwrap();
    let busy = watcher(&other, &Store::held_up());
    busy.enqueue(op(0).cost(100)).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(other.stats().rate, Some(100));

    let (batcher, polls) = start_counted(Batcher::builder().capacity(capacity).audit_interval(HOUR));
    let users = watcher(&batcher, &Store::fast());
    for payload in 0..9_000 {
        users.enqueue(op(payload)).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    let before = polls.load(Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    let woken = polls.load(Ordering::Relaxed) - before;
    // Once in each time to live the pool is asked again: a timer, an answer, a new place in the line.
    assert!(woken <= 30, "{woken} polls in a minute");
    assert_eq!(batcher.operations_in_buffer(), 9_000);
}
