use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluicegate_batcher::{
    Batch, BatchContext, Batcher, BatcherEvent, CallError, EnqueueErrorKind, Fixed, OpError, State, Verdicts,
    Watcher, handler_fn,
};
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, assert_books, op, settle, watcher};

#[tokio::test(start_paused = true)]
async fn drain_completes_within_the_rate() {
    let store = Store::fast();
    let diary = Diary::default();
    let (batcher, engine) = Batcher::builder()
        .capacity(Fixed::per_second(100))
        .observer(diary.observer())
        .start(CancellationToken::new())
        .unwrap();
    let users = watcher(&batcher, &store);
    for payload in 0..500 {
        users.try_enqueue(op(payload)).unwrap();
    }
    let report = batcher.drain(Duration::from_secs(30)).await;
    assert!(report.complete, "{report:?} {:?}", batcher.stats());
    assert_eq!(report.outcomes.done, 500);
    assert!(report.elapsed >= Duration::from_secs(4), "{report:?}: the budget is respected");
    assert_eq!(engine.await.unwrap(), report);
    assert_eq!(batcher.state(), State::Stopped);
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::Draining)), 1);
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::Stopped { .. })), 1);
    let refused = users.enqueue(op(1)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.into_operation()), (EnqueueErrorKind::ShutDown, op(1)));
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn drain_timeout_reports_all() {
    let store = Store::held_up();
    let (batcher, _engine) =
        Batcher::builder().max_concurrent_batches(2).start(CancellationToken::new()).unwrap();
    let users = batcher.watcher(store.handler()).max_batch_size(10).build().unwrap();
    let ticket = users.submit(op(0)).await.unwrap();
    for payload in 1..100 {
        users.enqueue(op(payload)).await.unwrap();
    }
    settle().await;
    let report = batcher.drain(Duration::from_secs(3)).await;
    assert!(!report.complete);
    assert_eq!((report.outcomes.shut_down, report.outcomes.total()), (100, 100));
    assert_eq!(report.elapsed, Duration::from_secs(3));
    assert!(matches!(ticket.await, Err(OpError::ShutDown)));
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn drain_twice_same_report_and_the_earliest_deadline_counts() {
    let store = Store::held_up();
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    watcher(&batcher, &store).enqueue(op(0)).await.unwrap();
    settle().await;
    let (long, short) =
        tokio::join!(batcher.drain(Duration::from_secs(60)), batcher.drain(Duration::from_secs(2)));
    assert_eq!(long, short);
    assert_eq!(long.elapsed, Duration::from_secs(2));
    assert_eq!(batcher.drain(Duration::from_secs(60)).await, long);
}

/// Sets the flag when its handler's future is dropped before its end.
fn endless(batcher: &Batcher, dropped: &Arc<AtomicBool>) -> Watcher<u32, (), String> {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let dropped = Arc::clone(dropped);
    let handler = handler_fn(move |_batch: &mut Batch<u32>, cx: &BatchContext| {
        let flag = Flag(Arc::clone(&dropped));
        Box::pin(async move {
            let _flag = flag;
            assert!(!cx.cancellation().is_cancelled());
            std::future::pending::<()>().await;
            Verdicts::done()
        })
    });
    batcher.watcher(handler).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn token_aborts() {
    let token = CancellationToken::new();
    let (batcher, engine) =
        Batcher::builder().max_concurrent_batches(1).buffer(2).start(token.clone()).unwrap();
    let dropped = Arc::new(AtomicBool::new(false));
    let users = endless(&batcher, &dropped);
    let running = users.submit(op(1)).await.unwrap();
    settle().await;
    let waiting = users.submit(op(2)).await.unwrap();
    users.enqueue(op(3)).await.unwrap();
    let outside = tokio::spawn(async move { users.call(op(4)).await });
    settle().await;
    token.cancel();
    let report = engine.await.unwrap();
    assert!(!report.complete && dropped.load(Ordering::Acquire));
    assert_eq!((report.outcomes.shut_down, report.outcomes.total()), (3, 3));
    assert!(matches!(running.await, Err(OpError::ShutDown)));
    assert!(matches!(waiting.await, Err(OpError::ShutDown)));
    let Err(CallError::Refused(refused)) = outside.await.unwrap() else { panic!("it had no place") };
    assert_eq!((refused.kind(), refused.into_operation()), (EnqueueErrorKind::ShutDown, op(4)));
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn engine_dropped_ends_all() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let dropped = Arc::new(AtomicBool::new(false));
    let users = endless(&batcher, &dropped);
    let engine = tokio::spawn(engine.run(CancellationToken::new()));
    let running = users.submit(op(1)).await.unwrap();
    settle().await;
    users.enqueue(op(2)).await.unwrap();
    engine.abort();
    assert!(matches!(running.await, Err(OpError::ShutDown)));
    settle().await;
    assert!(dropped.load(Ordering::Acquire));
    assert_eq!(batcher.stats().outcomes.shut_down, 2);
    assert!(!batcher.drain(Duration::from_secs(1)).await.complete);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn engine_never_run_ends_all() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let users = watcher(&batcher, &Store::fast());
    let ticket = users.submit(op(1)).await.unwrap();
    drop(engine);
    assert!(matches!(ticket.await, Err(OpError::ShutDown)));
    assert_eq!(users.try_enqueue(op(2)).unwrap_err().kind(), EnqueueErrorKind::ShutDown);

    let (batcher, engine) = Batcher::builder().build().unwrap();
    let users = watcher(&batcher, &Store::fast());
    let ticket = users.submit(op(1)).await.unwrap();
    let report = batcher.drain(Duration::from_secs(1)).await;
    assert_eq!((report.complete, report.outcomes.shut_down), (false, 1));
    assert!(matches!(ticket.await, Err(OpError::ShutDown)));
    assert_eq!(engine.run(CancellationToken::new()).await, report, "it is over before it began");
    let late = watcher(&batcher, &Store::fast());
    assert_eq!(late.try_enqueue(op(2)).unwrap_err().kind(), EnqueueErrorKind::ShutDown);
}

#[tokio::test(start_paused = true)]
async fn nothing_keeps_a_stopped_batcher_in_memory() {
    let token = Arc::new(());
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let witness = Arc::clone(&token);
    let handler = handler_fn(move |_batch: &mut Batch<u32>, _cx: &BatchContext| {
        let _held = &witness;
        Box::pin(async { Verdicts::<(), String>::done() })
    });
    let users = batcher.watcher(handler).build().unwrap();
    let engine = tokio::spawn(engine.run(CancellationToken::new()));
    users.call(op(1)).await.unwrap();
    batcher.drain(Duration::from_secs(1)).await;
    engine.await.unwrap();
    drop((batcher, users));
    settle().await;
    assert_eq!(Arc::strong_count(&token), 1);
}
