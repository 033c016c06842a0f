//! The guarantee over all processes that share a pool, measured at the datastore.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{Batcher, Bucket, DrainReport, Share, SharedCapacity};
use sluicegate_core::{Holder, LeasePool, LeasePoolAdmin, MemoryPool, Random};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Store, flood, op, watcher, within, worst_window};

const TTL: Duration = Duration::from_secs(10);
const SLICE: Duration = Duration::from_millis(10);
const LEASES: u32 = 20;
const FACTOR: u64 = 100;
const RATE: u64 = LEASES as u64 * FACTOR;

fn pool() -> MemoryPool {
    MemoryPool::new(NonZeroU32::new(LEASES).unwrap(), TTL)
}

async fn start<P: LeasePool>(pool: P, name: &str, reserved: u64) -> (Batcher, JoinHandle<DrainReport>) {
    let holder = Holder::try_new(name).unwrap();
    let capacity = SharedCapacity::builder(Arc::new(pool), holder)
        .factor(FACTOR)
        .reserved(reserved)
        .share(Share::Greedy)
        .fresh(true)
        .build()
        .await
        .unwrap();
    Batcher::builder().capacity(capacity).slice(SLICE).start(CancellationToken::new()).unwrap()
}

/// k·b + Σ reserved·(slice + j), for operations of cost 1 with a burst of at least 1.
fn extra(reserved: u64) -> i128 {
    i128::from(RATE + reserved) * (SLICE + Bucket::SLACK).as_nanos() as i128
}

#[tokio::test(start_paused = true)]
async fn two_batchers_share_the_rate() {
    let (pool, store) = (pool(), Store::fast());
    let start_time = Instant::now();
    let (one, _engine) = start(pool.handle(), "one", 200).await;
    flood(&watcher(&one, &store), std::iter::repeat(1));
    sleep(Duration::from_secs(30)).await;
    let (two, _engine) = start(pool.handle(), "two", 300).await;
    flood(&watcher(&two, &store), std::iter::repeat(1));
    sleep(Duration::from_secs(60)).await;
    let excess = worst_window(&store.sent(), RATE + 500, extra(500));
    assert!(excess <= 0, "{} units too many", excess / 1_000_000_000);
    let least = (RATE * 90 + 200 * 90 + 300 * 60) * 97 / 100;
    assert!(store.total_cost() >= least, "{} of {least} in {:?}", store.total_cost(), start_time.elapsed());
}

#[tokio::test(start_paused = true)]
async fn three_batchers_and_a_crash() {
    let (pool, store) = (pool(), Store::fast());
    let (one, engine) = start(pool.handle(), "one", 0).await;
    flood(&watcher(&one, &store), std::iter::repeat(1));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(one.stats().rate, Some(RATE), "the first one takes everything");
    let mut others = Vec::new();
    for name in ["two", "three"] {
        let (batcher, engine) = start(pool.handle(), name, 0).await;
        flood(&watcher(&batcher, &store), std::iter::repeat(1));
        others.push((batcher, engine));
    }
    sleep(Duration::from_secs(13)).await;
    assert!(others.iter().all(|(batcher, _)| batcher.stats().rate == Some(0)), "renewal keeps what it has");

    engine.abort();
    let rate = || others.iter().map(|(batcher, _)| batcher.stats().rate.unwrap()).sum::<u64>();
    within(TTL + Duration::from_millis(300), async || rate() == RATE).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(rate(), RATE);

    let excess = worst_window(&store.sent(), RATE, extra(0));
    assert!(excess <= 0, "{} units too many", excess / 1_000_000_000);
    assert!(store.total_cost() >= RATE * (5 + 13 + 30) * 97 / 100, "{}", store.total_cost());
}

/// Processes come, have less to do, crash, are evicted from; the pool is made smaller and larger again.
#[tokio::test(start_paused = true)]
async fn law_holds_through_change() {
    for seed in 0..3 {
        let mut random = Random::seeded(seed);
        let (pool, store) = (pool(), Store::fast());
        let mut engines = Vec::new();
        for name in 0..4 {
            let (batcher, engine) = start(pool.handle(), &format!("p{name}"), 0).await;
            let users = watcher(&batcher, &store);
            let mut ups = random.clone();
            tokio::spawn(async move {
                loop {
                    for _ in 0..ups.below(3_000) {
                        if users.enqueue(op(0)).await.is_err() {
                            return;
                        }
                    }
                    sleep(Duration::from_millis(ups.below(4_000))).await;
                }
            });
            engines.push(engine);
            sleep(Duration::from_millis(random.below(2_000))).await;
        }
        for _ in 0..20 {
            sleep(Duration::from_millis(random.below(3_000))).await;
            match random.below(8) {
                0 if engines.len() > 1 => engines.pop().unwrap().abort(),
                1 => pool
                    .resize(NonZeroU32::new(1 + random.below(LEASES.into()) as u32).unwrap())
                    .await
                    .unwrap(),
                2 => {
                    let held = pool.held().await.unwrap();
                    if !held.is_empty() {
                        pool.evict(held[random.below(held.len() as u64) as usize].id).await.unwrap();
                    }
                }
                _ => pool.resize(NonZeroU32::new(LEASES).unwrap()).await.unwrap(),
            }
            assert!(pool.held().await.unwrap().len() <= LEASES as usize);
        }
        let excess = worst_window(&store.sent(), RATE, extra(0));
        assert!(excess <= 0, "seed {seed}: {} units too many", excess / 1_000_000_000);
        assert!(
            store.total_cost() > RATE,
            "seed {seed}: {} is too little to prove anything",
            store.total_cost()
        );
    }
}
