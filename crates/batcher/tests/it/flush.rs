use std::time::Duration;

use sluicegate_batcher::{Batcher, BatcherBuilder, Flush, FlushReason, WatcherBuilder};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Store, TestWatcher, assert_books, op, settle};

fn start(
    builder: BatcherBuilder,
    store: &Store,
    options: impl FnOnce(WatcherBuilder<u32, u32, String>) -> WatcherBuilder<u32, u32, String>,
) -> (Batcher, TestWatcher) {
    let (batcher, _engine) = builder.start(CancellationToken::new()).unwrap();
    let watcher = options(batcher.watcher(store.handler())).build().unwrap();
    (batcher, watcher)
}

async fn enqueue(watcher: &TestWatcher, payloads: impl IntoIterator<Item = u32>) {
    for payload in payloads {
        watcher.enqueue(op(payload)).await.unwrap();
    }
}

fn reasons(store: &Store) -> Vec<FlushReason> {
    store.sent().iter().map(|sent| sent.reason).collect()
}

#[tokio::test(start_paused = true)]
async fn idle_op_leaves_at_once() {
    let store = Store::fast();
    let (_batcher, watcher) = start(Batcher::builder(), &store, |w| w.linger(Duration::from_secs(60)));
    let asked = Instant::now();
    watcher.call(op(1)).await.unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(reasons(&store), [FlushReason::Idle]);
}

#[tokio::test(start_paused = true)]
async fn busy_lane_grows() {
    let store = Store::held_up();
    let (batcher, watcher) = start(Batcher::builder(), &store, |w| w.linger(Duration::from_secs(60)));
    for payload in 0..4 {
        enqueue(&watcher, [payload]).await;
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.payloads(), [[0]], "the others wait for company while the first batch runs");
    store.let_through(1);
    settle().await;
    assert_eq!(store.payloads(), [vec![0], vec![1, 2, 3]]);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn linger_bounds_wait() {
    let store = Store::held_up();
    let (_batcher, watcher) = start(Batcher::builder(), &store, |w| w.linger(Duration::from_millis(50)));
    enqueue(&watcher, [0]).await;
    settle().await;
    enqueue(&watcher, [1]).await;
    let asked = Instant::now();
    sleep(Duration::from_millis(30)).await;
    enqueue(&watcher, [2]).await;
    sleep(Duration::from_millis(30)).await;
    assert_eq!(store.payloads(), [vec![0], vec![1, 2]]);
    assert_eq!(store.sent()[1].at, asked + Duration::from_millis(50));
    assert_eq!(store.sent()[1].reason, FlushReason::Linger);
}

#[tokio::test(start_paused = true)]
async fn full_batches_only() {
    let store = Store::fast();
    let forever =
        |w: WatcherBuilder<u32, u32, String>| w.flush(Flush::Linger).linger(Duration::MAX).max_batch_size(3);
    let (_batcher, watcher) = start(Batcher::builder(), &store, forever);
    enqueue(&watcher, 0..5).await;
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(store.payloads(), [[0, 1, 2]]);
    enqueue(&watcher, [5]).await;
    settle().await;
    assert_eq!(store.payloads(), [[0, 1, 2], [3, 4, 5]]);
}

#[tokio::test(start_paused = true)]
async fn flush_on_count() {
    let store = Store::held_up();
    let (_batcher, watcher) =
        start(Batcher::builder(), &store, |w| w.max_batch_size(3).linger(Duration::from_secs(60)));
    enqueue(&watcher, [0]).await;
    settle().await;
    enqueue(&watcher, 1..=8).await;
    settle().await;
    assert_eq!(store.payloads(), [vec![0], vec![1, 2, 3], vec![4, 5, 6]], "two wait for a third");
    assert_eq!(reasons(&store)[1..], [FlushReason::Size, FlushReason::Size]);
}

#[tokio::test(start_paused = true)]
async fn flush_on_cost_and_oversized_op_goes_alone() {
    let store = Store::held_up();
    let (_batcher, watcher) =
        start(Batcher::builder(), &store, |w| w.max_batch_cost(10).linger(Duration::from_secs(60)));
    enqueue(&watcher, [0]).await;
    settle().await;
    for (payload, cost) in [(1, 4), (2, 4), (3, 50), (4, 6), (5, 4), (6, 1)] {
        watcher.enqueue(op(payload).cost(cost)).await.unwrap();
    }
    settle().await;
    assert_eq!(store.payloads(), [vec![0], vec![1, 2], vec![3], vec![4, 5]]);
    assert_eq!(reasons(&store)[1..], [FlushReason::Cost; 3]);
}

#[tokio::test(start_paused = true)]
async fn nine_ops_size_three_make_three_batches() {
    let store = Store::fast();
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let watcher = batcher.watcher(store.handler()).max_batch_size(3).build().unwrap();
    enqueue(&watcher, 0..9).await;
    tokio::spawn(engine.run(CancellationToken::new()));
    settle().await;
    assert_eq!(store.payloads(), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]);
}

#[tokio::test(start_paused = true)]
async fn immediate_and_linger_policies() {
    let store = Store::held_up();
    let (_batcher, watcher) = start(Batcher::builder(), &store, |w| w.flush(Flush::Immediate));
    for payload in 0..3 {
        enqueue(&watcher, [payload]).await;
        settle().await;
    }
    assert_eq!(store.payloads(), [[0], [1], [2]]);

    let store = Store::fast();
    let (_batcher, watcher) =
        start(Batcher::builder(), &store, |w| w.flush(Flush::Linger).linger(Duration::from_millis(20)));
    let asked = Instant::now();
    enqueue(&watcher, 0..3).await;
    sleep(Duration::from_millis(25)).await;
    assert_eq!(store.payloads(), [[0, 1, 2]]);
    assert_eq!(store.sent()[0].at, asked + Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn manual_flush_overrides_linger() {
    let store = Store::fast();
    let (batcher, watcher) =
        start(Batcher::builder(), &store, |w| w.flush(Flush::Linger).linger(Duration::from_secs(600)));
    enqueue(&watcher, 0..3).await;
    settle().await;
    assert!(store.sent().is_empty());
    batcher.flush();
    settle().await;
    assert_eq!(reasons(&store), [FlushReason::Requested]);
    enqueue(&watcher, [3]).await;
    settle().await;
    assert_eq!(store.payloads(), [[0, 1, 2]], "what came after the flush waits for its own");
}

#[tokio::test(start_paused = true)]
async fn full_buffer_is_a_reason_to_flush() {
    let store = Store::held_up();
    let (batcher, watcher) = start(Batcher::builder().buffer(3), &store, |w| {
        w.flush(Flush::Linger).linger(Duration::from_secs(600))
    });
    enqueue(&watcher, 0..2).await;
    settle().await;
    assert!(store.sent().is_empty());
    let full = Instant::now();
    enqueue(&watcher, 2..4).await;
    assert_eq!(full.elapsed(), Duration::ZERO);
    assert_eq!(store.payloads(), [[0, 1, 2]]);
    assert_eq!(reasons(&store), [FlushReason::BufferFull]);
    assert_eq!(batcher.operations_in_buffer(), 1);
}

#[tokio::test(start_paused = true)]
async fn slots_limit_batches_and_are_reused() {
    let store = Store::held_up();
    let (batcher, watcher) =
        start(Batcher::builder().max_concurrent_batches(2), &store, |w| w.max_batch_size(2));
    enqueue(&watcher, 0..5).await;
    settle().await;
    assert_eq!((store.sent().len(), batcher.in_flight(), batcher.operations_in_buffer()), (2, 2, 1));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(store.sent().len(), 2, "no linger opens a slot");
    store.let_through(1);
    settle().await;
    assert_eq!(store.payloads(), [vec![0, 1], vec![2, 3], vec![4]]);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn slots_of_one_watcher_do_not_hold_up_another() {
    let store = Store::held_up();
    let (batcher, one) = start(Batcher::builder(), &store, |w| w.name("one").max_concurrent_batches(1));
    let two = batcher.watcher(store.handler()).name("two").build().unwrap();
    for payload in 0..3 {
        enqueue(&one, [payload]).await;
        settle().await;
    }
    enqueue(&two, [9]).await;
    settle().await;
    assert_eq!(store.payloads(), [[0], [9]]);
    store.let_through(1);
    settle().await;
    let last = store.sent().pop().unwrap();
    assert_eq!((last.watcher.as_str(), last.payloads), ("one", vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn fifo_within_a_watcher_with_one_slot() {
    let store = Store::fast();
    let (batcher, watcher) =
        start(Batcher::builder().buffer(16).max_concurrent_batches(1), &store, |w| w.max_batch_size(7));
    enqueue(&watcher, 0..1_000).await;
    assert!(batcher.drain(Duration::from_secs(1)).await.complete);
    assert_eq!(store.payloads().concat(), (0..1_000).collect::<Vec<_>>());
    assert!(store.payloads().iter().all(|batch| batch.len() <= 7));
}
