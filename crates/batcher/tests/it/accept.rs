use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{Batcher, EnqueueErrorKind, Fixed, SharedCapacity, State};
use sluicegate_core::{Holder, MemoryPool};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::lab::{Store, assert_books, op, settle, watcher};

#[tokio::test(start_paused = true)]
async fn enqueue_before_start_accepted() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let store = Store::fast();
    let users = watcher(&batcher, &store);
    users.enqueue(op(1)).await.unwrap();
    let ticket = users.submit(op(2)).await.unwrap();
    assert_eq!((batcher.state(), batcher.operations_in_buffer()), (State::Built, 2));
    tokio::spawn(engine.run(CancellationToken::new()));
    assert_eq!(ticket.await.unwrap(), 2);
    assert_eq!(store.payloads(), [[1, 2]]);
    assert_eq!(batcher.state(), State::Running);
}

#[tokio::test(start_paused = true)]
async fn payload_and_cost_come_back_with_a_refusal() {
    let (batcher, _engine) = Batcher::builder().capacity(Fixed::per_second(100)).build().unwrap();
    let users = watcher(&batcher, &Store::fast());
    let refused = users.try_enqueue(op(7).cost(101)).unwrap_err();
    assert_eq!(refused.kind(), EnqueueErrorKind::TooExpensive { cost: 101, max: 100 });
    assert_eq!(refused.into_operation(), op(7).cost(101));
    users.try_enqueue(op(8).cost(100)).unwrap();
    assert_eq!(batcher.needs_capacity(), 100);
}

#[tokio::test(start_paused = true)]
async fn too_expensive_shared_plus_reserved() {
    let pool = MemoryPool::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(10));
    let holder = Holder::try_new("w").unwrap();
    let capacity =
        SharedCapacity::builder(Arc::new(pool), holder).factor(1_000).reserved(2_000).build().await.unwrap();
    let (batcher, _engine) = Batcher::builder().capacity(capacity).build().unwrap();
    let users = watcher(&batcher, &Store::fast());
    users.try_enqueue(op(1).cost(11_000)).unwrap();
    let refused = users.try_enqueue(op(1).cost(13_000)).unwrap_err();
    assert_eq!(refused.kind(), EnqueueErrorKind::TooExpensive { cost: 13_000, max: 12_000 });
}

#[tokio::test(start_paused = true)]
async fn nothing_is_too_expensive_without_capacity() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    tokio::spawn(engine.run(CancellationToken::new()));
    let users = watcher(&batcher, &Store::fast());
    assert_eq!(users.call(op(1).cost(u32::MAX)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn full_for_those_who_do_not_wait() {
    let (batcher, _engine) = Batcher::builder().buffer(2).build().unwrap();
    let users = watcher(&batcher, &Store::fast());
    users.try_enqueue(op(1)).unwrap();
    users.try_submit(op(2)).unwrap().detach();
    let refused = users.try_submit(op(3)).unwrap_err();
    assert_eq!((refused.kind(), refused.into_operation()), (EnqueueErrorKind::Full, op(3)));
    assert_eq!((batcher.operations_in_buffer(), batcher.needs_capacity()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn waits_on_full_buffer_and_goes_on_in_order() {
    let (batcher, engine) = Batcher::builder().buffer(1).max_concurrent_batches(1).build().unwrap();
    let store = Store::fast();
    let users = watcher(&batcher, &store);
    users.enqueue(op(0)).await.unwrap();
    for payload in 1..5 {
        let users = users.clone();
        tokio::spawn(async move { users.enqueue(op(payload)).await.unwrap() });
        settle().await;
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(batcher.stats().accepted, 1);
    assert_eq!(users.try_enqueue(op(9)).unwrap_err().kind(), EnqueueErrorKind::Full);
    tokio::spawn(engine.run(CancellationToken::new()));
    settle().await;
    assert_eq!(store.payloads().concat(), [0, 1, 2, 3, 4]);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_has_done_nothing() {
    let (batcher, engine) = Batcher::builder().buffer(1).build().unwrap();
    let store = Store::fast();
    let users = watcher(&batcher, &store);
    users.enqueue(op(0)).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(1), users.call(op(1))).await;
    assert!(waiting.is_err());
    assert_eq!((batcher.stats().accepted, batcher.needs_capacity()), (1, 1));
    tokio::spawn(engine.run(CancellationToken::new()));
    assert_eq!(users.call(op(2)).await.unwrap(), 2);
    assert_eq!(store.payloads().concat(), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn options_that_cannot_be_are_named() {
    let field = |result: Result<_, sluicegate_batcher::ConfigError>| result.unwrap_err().field();
    assert_eq!(field(Batcher::builder().buffer(0).build()), "buffer");
    assert_eq!(field(Batcher::builder().slice(Duration::ZERO).build()), "slice");
    assert_eq!(field(Batcher::builder().max_concurrent_batches(0).build()), "max-concurrent-batches");
    assert_eq!(field(Batcher::builder().capacity(Fixed::per_second(0)).build()), "capacity");
    let (batcher, _engine) = Batcher::builder().build().unwrap();
    let store = Store::fast();
    let error = batcher.watcher(store.handler()).max_batch_size(0).build().unwrap_err();
    assert_eq!(error.field(), "max-batch-size");
    let error = batcher.watcher(store.handler()).linger(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.field(), "linger");
}
