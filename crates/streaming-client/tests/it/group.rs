use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sluicegate_streaming_client::{JetStreamConfig, Start};
use sluicegate_testkit::server::NatsServer;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::support::{Tally, api, client, connection, until};

const POSITION: &str = "CONSUMER.INFO.test_orders.dq_position__workers";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_through_three_members_are_handled_once_each() {
    const TOTAL: u64 = 10_000;
    let server = NatsServer::start().await.unwrap();
    let publisher = client(&server, "publisher", JetStreamConfig::default()).await;
    let tally = Tally::default();
    let mut members = Vec::new();
    for id in ["one", "two", "three"] {
        let client = client(&server, id, JetStreamConfig::default()).await;
        let subscribe = client.subscribe("orders").queue("workers").durable("position").start(Start::First);
        let subscription = subscribe.max_in_flight(64).open().await.unwrap();
        let handle = subscription.handle();
        let tally = tally.clone();
        let running = tokio::spawn(subscription.for_each_concurrent(16, move |message| {
            let tally = tally.clone();
            async move {
                tally.add(message.sequence());
                Ok(())
            }
        }));
        members.push((handle, running));
    }
    for number in 0..TOTAL {
        drop(publisher.message("orders").payload(number.to_string()).start().await.unwrap());
    }
    publisher.flush_publishes().await;
    assert_eq!(publisher.publish_counts().stored, TOTAL);
    until("all are handled", async || tally.distinct() as u64 == TOTAL).await;
    let (mut acked, mut shares) = (0, Vec::new());
    for (handle, running) in members {
        handle.drain(Duration::from_secs(10)).await;
        let stats = running.await.unwrap();
        assert_eq!((stats.redelivered, stats.in_hand), (0, 0));
        acked += stats.acked;
        shares.push(stats.acked);
    }
    assert_eq!(acked, TOTAL);
    assert!(tally.get().values().all(|count| *count == 1));
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    let info = api(&connection(&server).await, POSITION, Value::Null).await;
    assert_eq!((&info["num_ack_pending"], &info["num_redelivered"]), (&0.into(), &0.into()));
    assert_eq!(info["ack_floor"]["stream_seq"], TOTAL);
}

#[tokio::test]
async fn drain_hands_back_what_had_arrived() {
    let server = NatsServer::start().await.unwrap();
    let worker = client(&server, "one", JetStreamConfig::default()).await;
    for number in 0..100 {
        worker.publish("orders", number.to_string()).await.unwrap();
    }
    // An ack wait that no test outlasts: whatever comes again was handed back.
    let wait = Duration::from_secs(3600);
    let subscribe = worker.subscribe("orders").queue("workers").durable("position").start(Start::First);
    let subscription = subscribe.max_in_flight(50).ack_wait(wait).open().await.unwrap();
    let handle = subscription.handle();
    let gate = Arc::new(Semaphore::new(3));
    let running = tokio::spawn(subscription.for_each_concurrent(5, {
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        }
    }));
    let admin = connection(&server).await;
    until("fifty were with the member, and three are done", async || {
        handle.stats().acked == 3 && api(&admin, POSITION, Value::Null).await["num_ack_pending"] == 47
    })
    .await;
    let drained = handle.clone();
    let draining = tokio::spawn(async move { drained.drain(Duration::from_secs(20)).await });
    until("it takes no more", async || !handle.is_subscribed()).await;
    gate.add_permits(1_000);
    let report = draining.await.unwrap();
    assert_eq!((report.handled, report.returned, report.left), (5, 42, 0), "{report:?}");
    assert!(!report.timed_out);
    assert_eq!(running.await.unwrap().acked, 8);

    let other = client(&server, "two", JetStreamConfig::default()).await;
    let subscribe = other.subscribe("orders").queue("workers").durable("position").ack_wait(wait);
    let mut subscription = subscribe.open().await.unwrap();
    let mut sequences = Vec::new();
    while sequences.len() < 92 {
        let message = timeout(Duration::from_secs(20), subscription.next()).await.expect("at once").unwrap();
        sequences.push(message.sequence());
        message.ack_confirmed().await.unwrap();
    }
    let info = api(&admin, POSITION, Value::Null).await;
    assert_eq!((&info["num_ack_pending"], &info["num_pending"]), (&0.into(), &0.into()));
    assert_eq!(info["ack_floor"]["stream_seq"], 100);
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(9..=100));
}

#[tokio::test]
async fn what_an_aborted_worker_held_goes_to_another_after_the_ack_wait() {
    let server = NatsServer::start().await.unwrap();
    let doomed = client(&server, "doomed", JetStreamConfig::default()).await;
    for number in 0..10 {
        doomed.publish("orders", number.to_string()).await.unwrap();
    }
    let wait = Duration::from_secs(1);
    let begun = Instant::now();
    let subscribe = doomed.subscribe("orders").queue("workers").durable("position").start(Start::First);
    let subscription = subscribe.max_in_flight(4).ack_wait(wait).open().await.unwrap();
    let handle = subscription.handle();
    let worker = tokio::spawn(subscription.for_each_concurrent(4, |_| std::future::pending()));
    until("four are in hand", async || handle.stats().in_hand == 4).await;
    worker.abort();
    assert!(worker.await.unwrap_err().is_cancelled());
    assert!(!handle.is_subscribed());
    assert_eq!(handle.stats().in_hand, 0);

    let heir = client(&server, "heir", JetStreamConfig::default()).await;
    let subscribe = heir.subscribe("orders").queue("workers").durable("position").ack_wait(wait);
    let mut subscription = subscribe.open().await.unwrap();
    let mut redelivered = Vec::new();
    for _ in 0..10 {
        let message = timeout(Duration::from_secs(20), subscription.next()).await.expect("all come").unwrap();
        if message.redelivered() {
            assert!(begun.elapsed() >= wait);
            redelivered.push(message.sequence());
        }
        message.ack_confirmed().await.unwrap();
    }
    redelivered.sort_unstable();
    assert_eq!(redelivered, [1, 2, 3, 4]);
}

/// A handler that takes several ack waits keeps its message.
#[tokio::test]
async fn a_message_in_hand_is_kept_from_coming_again() {
    let server = NatsServer::start().await.unwrap();
    let worker = client(&server, "one", JetStreamConfig::default()).await;
    worker.publish("orders", "slow").await.unwrap();
    let tally = Tally::default();
    let subscribe = worker.subscribe("orders").durable("position").start(Start::First);
    let subscription = subscribe.ack_wait(Duration::from_secs(1)).open().await.unwrap();
    let handle = subscription.handle();
    let seen = tally.clone();
    tokio::spawn(subscription.for_each_concurrent(4, move |message| {
        let seen = seen.clone();
        async move {
            seen.add(message.sequence());
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok(())
        }
    }));
    until("it is done", async || handle.stats().acked == 1).await;
    assert_eq!(tally.get().values().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(handle.stats().redelivered, 0);
}
