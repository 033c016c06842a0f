//! Pauses, time limits, lone operations, bounds by bytes and by watcher, fixed ticks, and fair shares.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use sluicegate_batcher::{
    Batch, BatchContext, Batcher, BatcherEvent, EnqueueErrorKind, Fixed, Flush, FlushReason, OnFull,
    OnTimeout, OpError, State, Verdicts, Watcher, handler_fn,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, TestWatcher, assert_books, flood, op, settle, watcher};

fn start() -> (Batcher, Diary) {
    let diary = Diary::default();
    let builder = Batcher::builder().observer(diary.observer());
    (builder.start(CancellationToken::new()).unwrap().0, diary)
}

#[tokio::test(start_paused = true)]
async fn pause_default_500ms_and_second_does_not_extend() {
    let (batcher, diary) = start();
    let store = Store::fast();
    let users = watcher(&batcher, &store);
    settle().await;
    batcher.pause();
    assert_eq!(batcher.state(), State::Paused);
    let start = Instant::now();
    users.enqueue(op(1)).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    batcher.pause();
    assert!(store.sent().is_empty(), "no batch starts while paused");
    sleep(Duration::from_millis(250)).await;
    assert!((500..505).contains(&(store.sent()[0].at - start).as_millis()));
    assert_eq!(batcher.state(), State::Running);
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::Paused { .. })), 1);
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::Resumed)), 1);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn pause_for_moves_the_end_to_the_later() {
    let (batcher, _) = start();
    let store = Store::fast();
    let users = watcher(&batcher, &store);
    settle().await;
    let start = Instant::now();
    batcher.pause_for(Duration::from_millis(750));
    batcher.pause_for(Duration::from_millis(100));
    users.call(op(1)).await.unwrap();
    assert!((750..755).contains(&start.elapsed().as_millis()));
    batcher.pause_indefinitely();
    users.enqueue(op(2)).await.unwrap();
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(store.sent().len(), 1);
    batcher.resume();
    settle().await;
    assert_eq!(store.sent().len(), 2);
}

/// Upstream waits for the rest of the pause at shutdown.
#[tokio::test(start_paused = true)]
async fn must_not_d18_wait_for_a_pause_to_drain() {
    let (batcher, _) = start();
    let users = watcher(&batcher, &Store::fast());
    settle().await;
    batcher.pause_for(Duration::from_secs(600));
    users.enqueue(op(1)).await.unwrap();
    let report = batcher.drain(Duration::from_secs(60)).await;
    assert!(report.complete && report.elapsed < Duration::from_secs(1), "{report:?}");
}

fn endless(batcher: &Batcher, running: &Arc<AtomicUsize>, on_timeout: OnTimeout) -> Watcher<u32, (), String> {
    struct Inside(Arc<AtomicUsize>);
    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let running = Arc::clone(running);
    batcher
        .watcher(handler_fn(move |_: &mut Batch<u32>, _: &BatchContext| {
            running.fetch_add(1, Ordering::Relaxed);
            let inside = Inside(Arc::clone(&running));
            Box::pin(async move {
                let _inside = inside;
                pending::<()>().await;
                Verdicts::done()
            })
        }))
        .max_concurrent_batches(1)
        .max_operation_time(Duration::from_millis(50))
        .on_timeout(on_timeout)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn timeout_cancel() {
    let (batcher, diary) = start();
    let running = Arc::default();
    let users = endless(&batcher, &running, OnTimeout::Cancel);
    for _ in 0..3 {
        let start = Instant::now();
        assert!(matches!(users.submit(op(1)).await.unwrap().await, Err(OpError::TimedOut)));
        assert!((50..55).contains(&start.elapsed().as_millis()));
        settle().await;
        assert_eq!(running.load(Ordering::Relaxed), 0, "its future is dropped, and the slot is free");
    }
    assert_eq!(batcher.stats().outcomes.timed_out, 3);
    assert_eq!(
        diary.count(|event| matches!(event, BatcherEvent::HandlerTimedOut { detached: false, .. })),
        3
    );
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn timeout_detach_keeps_slot() {
    let (batcher, _) = start();
    let running = Arc::default();
    let users = endless(&batcher, &running, OnTimeout::Detach);
    assert!(matches!(users.submit(op(1).cost(9)).await.unwrap().await, Err(OpError::TimedOut)));
    assert_eq!((batcher.needs_capacity(), batcher.in_flight()), (0, 1), "the target falls, the slot stays");
    users.enqueue(op(2)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!((running.load(Ordering::Relaxed), batcher.operations_in_buffer()), (1, 1));
    batcher.drain(Duration::ZERO).await;
    assert_eq!(running.load(Ordering::Relaxed), 0);
    assert_books(&batcher);
}

/// Upstream frees the slots of running batches in an audit: more run than may.
#[tokio::test(start_paused = true)]
async fn must_not_d08_free_slots_of_running_batches() {
    let diary = Diary::default();
    let (batcher, _engine) = Batcher::builder()
        .max_concurrent_batches(1)
        .audit_interval(Duration::from_millis(10))
        .observer(diary.observer())
        .start(CancellationToken::new())
        .unwrap();
    let store = Store::held_up();
    let users = watcher(&batcher, &store);
    flood(&users, std::iter::repeat_n(1, 100));
    sleep(Duration::from_secs(30)).await;
    assert_eq!((store.sent().len(), batcher.in_flight()), (1, 1));
    assert!(diary.count(|event| matches!(event, BatcherEvent::AuditPassed)) > 1_000);
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::AuditFailed { .. })), 0);
}

#[tokio::test(start_paused = true)]
async fn mixed_alone_and_batchable() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let store = Store::fast();
    let users = watcher(&batcher, &store);
    for operation in [op(1), op(2).alone(), op(3), op(4).alone(), op(5)] {
        users.try_enqueue(operation).unwrap();
    }
    tokio::spawn(engine.run(CancellationToken::new()));
    settle().await;
    assert_eq!(store.payloads(), [vec![1, 3, 5], vec![2], vec![4]]);
    assert_eq!(store.sent()[1].reason, FlushReason::Alone);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn flush_on_bytes_and_oversized_op_goes_alone() {
    let (batcher, _) = start();
    let store = Store::fast();
    let users = batcher
        .watcher(store.handler())
        .flush(Flush::Linger)
        .linger(Duration::from_secs(60))
        .max_batch_bytes(100)
        .build()
        .unwrap();
    for (payload, bytes) in [(1, 40), (2, 40), (3, 40), (4, 500), (5, 10)] {
        users.enqueue(op(payload).bytes(bytes)).await.unwrap();
    }
    settle().await;
    assert_eq!(store.payloads(), [vec![1, 2], vec![3], vec![4]]);
    assert!(store.sent().iter().all(|sent| sent.reason == FlushReason::Bytes));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(store.payloads()[3], [5]);
}

#[tokio::test(start_paused = true)]
async fn buffer_bytes_and_max_queued_bound_what_waits() {
    let (batcher, _engine) = Batcher::builder().buffer_bytes(100).on_full(OnFull::Reject).build().unwrap();
    let store = Store::fast();
    let small = batcher.watcher(store.handler()).max_queued(2).build().unwrap();
    let large = watcher(&batcher, &store);
    small.enqueue(op(1).bytes(10)).await.unwrap();
    small.enqueue(op(2).bytes(10)).await.unwrap();
    let refused = small.enqueue(op(3)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.into_operation()), (EnqueueErrorKind::Full, op(3)), "its own bound");
    large.enqueue(op(4).bytes(80)).await.unwrap();
    assert_eq!(
        large.enqueue(op(5).bytes(1)).await.unwrap_err().kind(),
        EnqueueErrorKind::Full,
        "bytes of all"
    );
    large.enqueue(op(6)).await.unwrap();
    let running = tokio::spawn(_engine.run(CancellationToken::new()));
    settle().await;
    // Larger than everything: it waits alone.
    large.enqueue(op(7).bytes(1_000)).await.unwrap();
    small.enqueue(op(8)).await.unwrap();
    assert!(batcher.drain(Duration::from_secs(1)).await.complete);
    running.await.unwrap();
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn every_interval_flush_times() {
    for interval in [100, 300] {
        let (batcher, _) = start();
        let store = Store::fast();
        let begun = Instant::now();
        let every = Flush::Every(Duration::from_millis(interval));
        let users = batcher.watcher(store.handler()).flush(every).build().unwrap();
        for payload in 0..10 {
            users.enqueue(op(payload)).await.unwrap();
            sleep(Duration::from_millis(90)).await;
        }
        sleep(Duration::from_millis(interval)).await;
        for sent in store.sent() {
            let at = (sent.at - begun).as_millis() as u64;
            assert!(at % interval <= 1 && at > 0, "{at} of {interval}");
        }
        assert_eq!(store.payloads().concat(), (0..10).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn watcher_drain_returns_typed() {
    let (batcher, _) = start();
    let store = Store::held_up();
    let users: TestWatcher = batcher.watcher(store.handler()).max_concurrent_batches(1).build().unwrap();
    let others = watcher(&batcher, &Store::fast());
    users.enqueue(op(1)).await.unwrap();
    settle().await;
    users.enqueue(op(2)).await.unwrap();
    let told = users.submit(op(3)).await.unwrap();
    let report = users.drain(Duration::from_secs(5)).await;
    assert!(!report.complete);
    assert_eq!(report.left, [op(2), op(3)]);
    assert!(matches!(told.await, Err(OpError::ShutDown)));
    assert_eq!(users.try_enqueue(op(4)).unwrap_err().kind(), EnqueueErrorKind::ShutDown);
    settle().await;
    assert_eq!(batcher.stats().outcomes.shut_down, 3, "the running one was dropped");
    others.call(op(5)).await.unwrap();
    let report = others.drain(Duration::from_secs(5)).await;
    assert!(report.complete && report.left.is_empty());
    assert!(batcher.drain(Duration::from_secs(1)).await.complete);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn events_are_broadcast() {
    let (batcher, _) = start();
    let mut events = batcher.events();
    let users = watcher(&batcher, &Store::fast());
    users.call(op(1)).await.unwrap();
    let first = events.recv().await.unwrap();
    assert!(matches!(first, BatcherEvent::BatchStarted { len: 1, .. }), "{first:?}");
}

/// Two watchers with more to do than the rate allows; how much each got.
async fn shares(weights: [u32; 2], costs: [u32; 2], rate: u64, time: Duration) -> [u64; 2] {
    let (batcher, _engine) =
        Batcher::builder().capacity(Fixed::per_second(rate)).start(CancellationToken::new()).unwrap();
    let stores = [Store::fast(), Store::fast()];
    for ((store, weight), cost) in stores.iter().zip(weights).zip(costs) {
        let users = batcher.watcher(store.handler()).weight(weight).max_queued(1_000).build().unwrap();
        flood(&users, std::iter::repeat(cost));
    }
    sleep(time).await;
    stores.map(|store| store.total_cost())
}

#[tokio::test(start_paused = true)]
async fn weights_share_budget() {
    let [a, b] = shares([1, 3], [1, 1], 1_000, Duration::from_secs(20)).await;
    assert!((4_900..=5_100).contains(&a) && (14_900..=15_100).contains(&b), "{a} {b}");
}

/// Upstream serves all in the order of their coming: a bulk watcher delays all others.
#[tokio::test(start_paused = true)]
async fn must_not_d16_let_bulk_starve_single_operations() {
    let (batcher, _engine) =
        Batcher::builder().capacity(Fixed::per_second(1_000)).start(CancellationToken::new()).unwrap();
    let (bulk, single) = (watcher(&batcher, &Store::fast()), watcher(&batcher, &Store::fast()));
    for _ in 0..9_000 {
        bulk.enqueue(op(0)).await.unwrap();
    }
    sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    single.call(op(1)).await.unwrap();
    let slice = Duration::from_millis(10);
    assert!(start.elapsed() <= 2 * slice, "{:?}: one turn of the other", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// |S_i/w_i − S_j/w_j| ≤ B_i/w_i + B_j/w_j, with batches of a burst and an operation at most.
    #[test]
    fn prop_fair_share_bound(
        weights in prop::array::uniform2(1_u32..6), costs in prop::array::uniform2(1_u32..40), rate in 500_u64..5_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let [a, b] = runtime.block_on(shares(weights, costs, rate, Duration::from_secs(3)));
        let batch = |cost: u32| rate as f64 * 0.012 + f64::from(cost);
        let (wa, wb) = (f64::from(weights[0]), f64::from(weights[1]));
        let difference = (a as f64 / wa - b as f64 / wb).abs();
        let bound = batch(costs[0]) / wa + batch(costs[1]) / wb;
        prop_assert!(difference <= bound, "{a}/{wa} and {b}/{wb}: {difference} > {bound}");
    }
}

/// Upstream holds a lock over its listeners: one that removes itself waits for ever.
#[tokio::test(start_paused = true)]
async fn must_not_d15_hold_locks_over_observers() {
    let handle: Arc<Mutex<Option<Batcher>>> = Arc::default();
    let inside = Arc::clone(&handle);
    let (batcher, _engine) = Batcher::builder()
        .observer(move |_: &BatcherEvent| {
            if let Some(batcher) = inside.lock().unwrap().as_ref() {
                let _ = (batcher.stats(), batcher.events());
                batcher.flush();
            }
        })
        .start(CancellationToken::new())
        .unwrap();
    *handle.lock().unwrap() = Some(batcher.clone());
    watcher(&batcher, &Store::fast()).call(op(1)).await.unwrap();
    handle.lock().unwrap().take();
}
