//! Watchers as services and sinks.

use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt, stream};
use sluicegate_batcher::{Batcher, CallError, EnqueueErrorKind, OnFull, WatcherService, WatcherSink};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use crate::lab::{Store, assert_books, op, settle, watcher};

#[tokio::test(start_paused = true)]
async fn tower_service_shared_between_clones() {
    let (batcher, engine) = Batcher::builder().buffer(2).build().unwrap();
    let store = Store::fast();
    let users = watcher(&batcher, &store);
    let mut one = WatcherService::new(users.clone());
    let (mut two, mut three) = (one.clone(), one.clone());
    one.ready().await.unwrap();
    two.ready().await.unwrap();
    assert!(three.ready().now_or_never().is_none(), "there are two places for all of them");
    assert_eq!(users.try_enqueue(op(9)).unwrap_err().kind(), EnqueueErrorKind::Full);
    drop(two);
    three.ready().now_or_never().expect("a place that was not used is given back").unwrap();
    let (first, second) = (one.call(op(1)), three.call(op(2)));
    tokio::spawn(engine.run(CancellationToken::new()));
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 2));
    assert_eq!(store.payloads(), [[1, 2]], "in one batch");

    one.ready().await.unwrap();
    batcher.drain(Duration::from_secs(1)).await;
    let refused = one.call(op(3)).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused(error) if error.kind() == EnqueueErrorKind::ShutDown));
    one.ready().await.expect("what is over is no reason to wait");
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_response_cancels() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let mut service = WatcherService::new(watcher(&batcher, &Store::fast()));
    drop(service.ready().await.unwrap().call(op(1)));
    tokio::spawn(engine.run(CancellationToken::new()));
    settle().await;
    assert_eq!(batcher.stats().outcomes.cancelled, 1);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn sink_backpressure() {
    let (batcher, engine) = Batcher::builder().buffer(10).build().unwrap();
    let store = Store::fast();
    let sink = WatcherSink::new(watcher(&batcher, &store));
    let mut forwarding = pin!(stream::iter(0..25).map(|payload| Ok(op(payload))).forward(sink));
    assert!(forwarding.as_mut().now_or_never().is_none());
    assert_eq!(batcher.operations_in_buffer(), 10, "it waits with the eleventh");
    tokio::spawn(engine.run(CancellationToken::new()));
    forwarding.await.unwrap();
    assert!(batcher.drain(Duration::from_secs(1)).await.complete);
    assert_eq!(store.payloads().concat(), (0..25).collect::<Vec<_>>());
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_takes_no_place() {
    let (batcher, _engine) =
        Batcher::builder().buffer(1).buffer_bytes(10).on_full(OnFull::Reject).build().unwrap();
    let users = watcher(&batcher, &Store::fast());
    let mut sink = WatcherSink::new(users.clone());
    users.try_enqueue(op(1).bytes(10)).unwrap();
    assert!(sink.send(op(2)).now_or_never().is_none());
    let (roomy, _engine) = Batcher::builder().buffer(2).buffer_bytes(10).build().unwrap();
    let users = watcher(&roomy, &Store::fast());
    let mut sink = WatcherSink::new(users.clone());
    sink.send(op(1).bytes(10)).await.unwrap();
    let refused = sink.send(op(2).bytes(1)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.into_operation()), (EnqueueErrorKind::Full, op(2).bytes(1)));
    users.try_enqueue(op(3)).expect("the place is free again");
}
