//! The law of the bucket, on the engine, over minutes of virtual time.

use std::time::Duration;

use sluicegate_batcher::{Batcher, Fixed};
use sluicegate_core::Random;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Store, extra, flood, op, settle, watcher, worst_window};

/// Floods a batcher, and checks every window and the throughput.
async fn check_rate(
    rate: u64,
    slice: Duration,
    seconds: u64,
    cost: impl Fn(&mut Random) -> u32 + Send + 'static,
) {
    let store = Store::fast();
    let token = CancellationToken::new();
    let (batcher, engine) =
        Batcher::builder().capacity(Fixed::per_second(rate)).slice(slice).start(token.clone()).unwrap();
    let users = watcher(&batcher, &store);
    let mut random = Random::seeded(rate);
    let largest = (0..1_000).map(|_| cost(&mut random)).max().unwrap();
    let mut random = Random::seeded(rate);
    flood(&users, std::iter::repeat_with(move || cost(&mut random)));
    sleep(Duration::from_secs(seconds)).await;
    token.cancel();
    engine.await.unwrap();

    let excess = worst_window(&store.sent(), rate, extra(rate, slice, largest.into()));
    assert!(excess <= 0, "{rate}/s in slices of {slice:?}: {} units too many", excess / 1_000_000_000);
    let possible = rate * seconds;
    let least = (possible * 985 / 1_000).saturating_sub(largest.into());
    assert!(
        store.total_cost() >= least,
        "{rate}/s in slices of {slice:?}: {} of {possible}",
        store.total_cost()
    );
}

#[tokio::test(start_paused = true)]
async fn rate_law_over_minutes() {
    let ms = Duration::from_millis;
    check_rate(1, ms(10), 300, |_| 1).await;
    check_rate(9, ms(100), 120, |_| 1).await;
    check_rate(100, ms(100), 120, |_| 100).await;
    check_rate(97, ms(1), 120, |_| 1).await;
    check_rate(1_000, ms(1), 60, |_| 7).await;
    check_rate(10_000, ms(10), 60, |random| random.below(400) as u32).await;
    check_rate(10_000, ms(10), 60, |random| 1 + random.below(10_000) as u32).await;
    check_rate(1_000_000, Duration::from_micros(100), 10, |_| 1_000).await;
    check_rate(1_000_000, Duration::from_secs(1), 20, |_| 5_000).await;
}

#[tokio::test(start_paused = true)]
async fn alone_cost_above_the_burst_goes_and_is_paid_off() {
    let store = Store::fast();
    let (batcher, _engine) =
        Batcher::builder().capacity(Fixed::per_second(100)).start(CancellationToken::new()).unwrap();
    let users = watcher(&batcher, &store);
    let start = Instant::now();
    for _ in 0..4 {
        users.call(op(1).cost(100)).await.unwrap();
    }
    let at: Vec<Duration> = store.sent().iter().map(|sent| sent.at - start).collect();
    assert_eq!(at, [0, 1, 2, 3].map(Duration::from_secs), "each costs a second");
}

#[tokio::test(start_paused = true)]
async fn free_operations_never_wait_for_budget() {
    let store = Store::fast();
    let (batcher, _engine) =
        Batcher::builder().capacity(Fixed::per_second(1)).start(CancellationToken::new()).unwrap();
    let users = watcher(&batcher, &store);
    let other = watcher(&batcher, &store);
    users.enqueue(op(1)).await.unwrap();
    settle().await;
    for payload in [10, 11] {
        users.enqueue(op(payload).cost(0)).await.unwrap();
    }
    users.enqueue(op(2)).await.unwrap();
    settle().await;
    assert_eq!(
        store.payloads(),
        [vec![1], vec![10, 11]],
        "they keep their place before 2, which has to wait"
    );
    other.call(op(12).cost(0)).await.unwrap();
    assert_eq!(store.payloads().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn dear_batches_are_not_starved_by_cheap_ones() {
    let store = Store::fast();
    let (batcher, _engine) =
        Batcher::builder().capacity(Fixed::per_second(1_000)).start(CancellationToken::new()).unwrap();
    let cheap = batcher.watcher(store.handler()).name("cheap").max_batch_size(1).build().unwrap();
    let dear = batcher.watcher(store.handler()).name("dear").max_batch_size(1).build().unwrap();
    flood(&cheap, std::iter::repeat(1));
    sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    dear.call(op(9).cost(500)).await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
}
