use std::num::NonZeroU32;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::time::timeout;

use super::{Fixture, LONG, connect, connect_with, fill, numbers, take, until};
use crate::{ErrorKind, Guid, Outcome, PublishConfig, Start};

/// 1: what is acknowledged is stored, receipts say where, a repeated guid stores nothing.
pub async fn clause_01_publish_is_stored_and_receipts_are_right(fixture: &impl Fixture) {
    let client = connect(fixture, "publisher").await;
    let first = client.publish("orders", "1").await.unwrap();
    assert_eq!((first.sequence, first.duplicate, first.attempts), (Some(1), false, 1));
    let second = client.message("orders").payload("2").guid("mine").send().await.unwrap();
    assert_eq!((second.guid, second.sequence), (Guid::new("mine").unwrap(), Some(2)));
    if client.capabilities().deduplicates {
        let again = client.message("orders").payload("other").guid("mine").send().await.unwrap();
        assert_eq!((again.sequence, again.duplicate), (Some(2), true));
    }
    let mut reader = client.subscribe("orders").start(Start::First).open().await.unwrap();
    assert_eq!(numbers(&take(&mut reader, 2).await), [1, 2]);
    let counts = client.publish_counts();
    assert_eq!((counts.not_done, counts.unknown), (0, 0));
    assert_eq!(client.publishes_outstanding(), 0);
}

/// 2: what one task publishes is stored in the order of its calls, acknowledged or not.
pub async fn clause_02_publishes_of_one_task_are_stored_in_order(fixture: &impl Fixture) {
    let client = connect(fixture, "publisher").await;
    let mut acks = Vec::new();
    for number in 1..=500 {
        acks.push(client.message("orders").payload(number.to_string()).start().await.unwrap());
    }
    for (receipt, expected) in join_all(acks).await.into_iter().zip(1..) {
        assert_eq!(receipt.unwrap().sequence, Some(expected));
    }
    let mut reader = client.subscribe("orders").start(Start::First).open().await.unwrap();
    let read = numbers(&take(&mut reader, 500).await);
    assert!(read.into_iter().eq(1..=500));
}

/// 3: a full window makes `start` wait and `try_start` refuse, and every permit comes back.
pub async fn clause_03_window_blocks_try_refuses_and_all_room_returns(fixture: &impl Fixture) {
    let three = PublishConfig { max_outstanding: NonZeroU32::new(3).unwrap(), ..PublishConfig::default() };
    let client = connect_with(fixture, "publisher", three).await;
    client.publish("orders", "0").await.unwrap();
    fixture.freeze();
    let mut acks = Vec::new();
    for number in 1..=3 {
        acks.push(client.try_publish("orders", number.to_string()).await.unwrap());
    }
    assert_eq!(client.publishes_outstanding(), 3);
    let refused = client.try_publish("orders", "x").await.unwrap_err();
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::WindowFull, Outcome::NotDone));
    let waits = timeout(Duration::from_millis(50), client.message("orders").payload("4").start()).await;
    assert!(waits.is_err(), "there is no room");
    fixture.thaw();
    let last = timeout(LONG, client.publish("orders", "4")).await.expect("room comes back").unwrap();
    assert_eq!(last.sequence, Some(5));
    for ack in acks {
        ack.await.unwrap();
    }
    client.flush_publishes().await;
    assert_eq!(client.publishes_outstanding(), 0);
    assert_eq!(client.publish_counts().stored, 5);
}

/// 19: a name that no server takes never gets there.
pub async fn clause_19_names_are_refused_before_sending(fixture: &impl Fixture) {
    let client = connect(fixture, "publisher").await;
    for bad in ["", "a..b", "a.*", ">", "a b", ".a", "a."] {
        let error = client.publish(bad, "x").await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidName, Outcome::NotDone), "{bad:?}");
        let error = client.subscribe(bad).open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName, "{bad:?}");
    }
    let error = client.subscribe("orders").queue("a b").open().await.unwrap_err();
    assert!(error.to_string().contains("queue"), "{error}");
    let error = client.subscribe("orders").durable("a:b").open().await.unwrap_err();
    assert!(error.to_string().contains("durable"), "{error}");
    let error = client.message("orders").guid("").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidName);
    let error = client.subscribe("orders").max_in_flight(0).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(client.publishes_outstanding(), 0);
}

/// 21: futures dropped at any point leave no permit, no message and no subscription behind.
pub async fn clause_21_dropped_futures_leak_nothing(fixture: &impl Fixture) {
    let two = PublishConfig { max_outstanding: NonZeroU32::new(2).unwrap(), ..PublishConfig::default() };
    let client = connect_with(fixture, "publisher", two).await;
    fill(&client, 1, 1).await;
    fixture.freeze();
    let held = client.try_publish("orders", "2").await.unwrap();
    drop(client.try_publish("orders", "3").await.unwrap());
    for _ in 0..100 {
        assert!(client.publish("orders", "never").now_or_never().is_none());
    }
    fixture.thaw();
    held.await.unwrap();
    until("the abandoned publish ends too", async || client.publishes_outstanding() == 0).await;
    assert_eq!(client.publish_counts().stored, 3, "abandoned is not undone, never begun is not done");

    let mut reader = client.subscribe("orders").start(Start::First).open().await.unwrap();
    for _ in 0..100 {
        // A message that is ready is handed over, not lost.
        if let Some(message) = reader.next().now_or_never() {
            assert_eq!(message.unwrap().sequence(), reader.stats().received);
        }
    }
    let left = 3 - usize::try_from(reader.stats().received).unwrap();
    take(&mut reader, left).await;
    assert_eq!(reader.stats().redelivered, 0);
}
