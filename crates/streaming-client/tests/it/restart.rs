use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_streaming_client::{
    AckMode, Backend, Client, ErrorKind, JetStreamConfig, Outcome, PublishConfig, Start, StreamEvent,
    WhileDown,
};
use sluicegate_testkit::server::NatsServer;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Events, Tally, api, builder, client, connection, until};

/// Publishes `total` numbers as fast as the window allows, and reports how many are stored.
async fn publish_all(client: Client, total: u64) -> u64 {
    let mut acks = Vec::new();
    for number in 0..total {
        acks.push(client.message("orders").payload(number.to_string()).start().await.unwrap());
        if number % 50 == 0 {
            // Slow enough that the faults fall between.
            sleep(Duration::from_millis(5)).await;
        }
    }
    let mut stored = 0;
    for ack in acks {
        stored += u64::from(ack.await.is_ok());
    }
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_twice_loses_nothing_and_doubles_nothing() {
    const TOTAL: u64 = 20_000;
    let server = NatsServer::start().await.unwrap();
    let events = Events::default();
    let config = PublishConfig {
        max_outstanding: 256.try_into().unwrap(),
        ack_timeout: Duration::from_secs(60),
        ..PublishConfig::default()
    };
    let backend = Backend::jetstream(JetStreamConfig::default(), connection(&server).await);
    let publisher = builder("publisher")
        .backend(backend)
        .publish(config)
        .observer(events.observer())
        .connect()
        .await
        .unwrap();

    let tally = Tally::default();
    let mut workers = Vec::new();
    for id in ["one", "two"] {
        let client = client(&server, id, JetStreamConfig::default()).await;
        let subscribe = client.subscribe("orders").queue("workers").durable("position").start(Start::First);
        let subscription =
            subscribe.ack_wait(Duration::from_secs(2)).max_in_flight(100).open().await.unwrap();
        let handle = subscription.handle();
        let tally = tally.clone();
        let running = tokio::spawn(subscription.for_each_concurrent(20, move |message| {
            let tally = tally.clone();
            async move {
                tally.add(std::str::from_utf8(message.data())?.parse()?);
                Ok(())
            }
        }));
        workers.push((client, handle, running));
    }
    let publishing = tokio::spawn(publish_all(publisher.clone(), TOTAL));
    for part in 1..=2 {
        until("it gets on", async || publisher.publish_counts().stored >= part * TOTAL / 4).await;
        // Stopped first, so that publishes are certainly in the air when it dies.
        server.pause().unwrap();
        until("publishes are in the air", async || publisher.publishes_outstanding() >= 100).await;
        server.kill().await.unwrap();
        sleep(Duration::from_millis(300)).await;
        server.restart().await.unwrap();
    }
    let stored = timeout(Duration::from_secs(120), publishing).await.expect("every publish ends").unwrap();
    assert_eq!(stored, TOTAL);
    assert_eq!(publisher.publishes_outstanding(), 0);
    until("every message is handled", async || tally.distinct() as u64 == TOTAL).await;

    let admin = connection(&server).await;
    let stream = api(&admin, "STREAM.INFO.test_orders", Value::Null).await;
    assert_eq!(stream["state"]["messages"], json!(TOTAL), "each is stored exactly once");
    until("every message is acknowledged", async || {
        let info = api(&admin, "CONSUMER.INFO.test_orders.dq_position__workers", Value::Null).await;
        info["num_ack_pending"] == 0 && info["num_pending"] == 0
    })
    .await;
    assert!(events.any(|event| matches!(event, StreamEvent::NatsDown)));
    assert!(events.any(|event| matches!(event, StreamEvent::NatsUp { .. })));
    let retried = events.get().iter().filter(|e| matches!(e, StreamEvent::PublishRetried { .. })).count();
    assert!(retried >= 100, "{retried} sent again: the faults missed the publishes");
    let repeated: u32 = tally.get().values().map(|count| count - 1).sum();
    println!("{TOTAL} published, {retried} sent again, 0 doubled, {repeated} handled again");
    for (client, handle, running) in workers {
        assert!(!handle.drain(Duration::from_secs(10)).await.timed_out);
        running.await.unwrap();
        client.drain(Duration::from_secs(5)).await;
    }
}

/// The position of a plain subscription lives in the server's memory and dies with it.
#[tokio::test]
async fn a_plain_subscription_goes_on_where_it_was() {
    let server = NatsServer::start().await.unwrap();
    let events = Events::default();
    let backend = Backend::jetstream(JetStreamConfig::default(), connection(&server).await);
    let client = builder("reader").backend(backend).observer(events.observer()).connect().await.unwrap();
    let subscribe = client.subscribe("orders").ack(AckMode::Manual).ack_wait(Duration::from_secs(60));
    let mut subscription = subscribe.open().await.unwrap();
    for number in 1..=6 {
        client.publish("orders", number.to_string()).await.unwrap();
    }
    let mut held = BTreeMap::new();
    for _ in 1..=4 {
        let message = subscription.next().await.unwrap();
        held.insert(message.sequence(), message);
    }
    for settled in [1, 3] {
        held[&settled].ack_confirmed().await.unwrap();
    }
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    client.publish("orders", "7").await.unwrap();

    let mut seen = Vec::new();
    while seen.len() < 5 {
        let message =
            timeout(Duration::from_secs(30), subscription.next()).await.expect("it goes on").unwrap();
        message.ack_confirmed().await.unwrap();
        seen.push((message.sequence(), message.redelivered()));
    }
    seen.sort_unstable();
    // 5 and 6 had arrived at this process; whether the user had seen them it cannot tell from the flag alone.
    let repeats: Vec<_> = seen.iter().filter(|(sequence, _)| *sequence <= 4).copied().collect();
    assert_eq!(repeats, [(2, true), (4, true)]);
    assert!(seen.iter().map(|(sequence, _)| *sequence).eq([2, 4, 5, 6, 7]));
    let remade = |event: &StreamEvent| matches!(event, StreamEvent::Resubscribed { from: Some(2), .. });
    assert!(events.any(remade), "{:?}", events.get());
}

#[tokio::test]
async fn publishes_while_down_wait_or_fail_as_configured() {
    let server = NatsServer::start().await.unwrap();
    let patient = client(&server, "patient", JetStreamConfig::default()).await;
    let backend = Backend::jetstream(JetStreamConfig::default(), connection(&server).await);
    let failing = PublishConfig { while_down: WhileDown::Fail, ..PublishConfig::default() };
    let hasty = builder("hasty").backend(backend).publish(failing).connect().await.unwrap();
    let short = PublishConfig { ack_timeout: Duration::from_secs(1), ..PublishConfig::default() };
    let backend = Backend::jetstream(JetStreamConfig::default(), connection(&server).await);
    let short = builder("short").backend(backend).publish(short).connect().await.unwrap();
    for client in [&patient, &hasty, &short] {
        client.publish("orders", "warm").await.unwrap();
    }
    server.kill().await.unwrap();
    use sluicegate_streaming_client::ClientState::{Disconnected, Registered};
    until("it is noticed", async || [&patient, &hasty, &short].iter().all(|c| c.state() == Disconnected))
        .await;

    let error = hasty.publish("orders", "no").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotConnected, Outcome::NotDone));
    let begun = Instant::now();
    let error = short.publish("orders", "no").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotConnected, Outcome::NotDone));
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let mut acks = Vec::new();
    for number in 0..3_000 {
        // More than async-nats would take before it hangs.
        acks.push(patient.message("orders").payload(number.to_string()).start().await.unwrap());
    }
    server.restart().await.unwrap();
    let mut last = 0;
    for ack in acks {
        let receipt = ack.await.unwrap();
        assert!(receipt.sequence.unwrap() > last, "in the order of the calls");
        last = receipt.sequence.unwrap();
    }
    assert_eq!(last, 3_003, "what had failed was not sent later");
    assert_eq!(patient.state(), Registered);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_resolved_or_reported() {
    use sluicegate_streaming_client::OnUnknown;
    let server = NatsServer::start().await.unwrap();
    let config = |on_unknown| PublishConfig {
        on_unknown,
        ack_timeout: Duration::from_secs(2),
        ..PublishConfig::default()
    };
    for (id, on_unknown) in [("auto", OnUnknown::Auto), ("report", OnUnknown::Report)] {
        let backend = Backend::jetstream(JetStreamConfig::default(), connection(&server).await);
        let client = builder(id).backend(backend).publish(config(on_unknown)).connect().await.unwrap();
        client.publish("orders", "warm").await.unwrap();
        server.pause().unwrap();
        let error = client.publish("orders", id).await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        server.resume().unwrap();
        let again = client.message("orders").payload(id).guid(error.guid()).send().await.unwrap();
        assert!(again.duplicate, "the frozen server took it up after all, and knows its id");
    }
}

#[tokio::test]
async fn a_drain_finishes_the_acknowledgement_of_a_dropped_next() {
    let server = NatsServer::start().await.unwrap();
    let client = client(&server, "reader", JetStreamConfig::default()).await;
    client.publish("orders", "x").await.unwrap();
    let subscribe = client.subscribe("orders").durable("d").start(Start::First);
    let mut subscription = subscribe.open().await.unwrap();
    drop(subscription.next().await.unwrap());
    server.kill().await.unwrap();
    use sluicegate_streaming_client::ClientState::Disconnected;
    until("it is noticed", async || client.state() == Disconnected).await;
    // It acknowledges first, which has to wait for the connection.
    assert!(timeout(Duration::from_millis(50), subscription.next()).await.is_err());
    assert_eq!(subscription.stats().in_hand, 1);
    server.restart().await.unwrap();
    let report = subscription.drain(Duration::from_secs(20)).await;
    assert_eq!((report.left, report.timed_out), (0, false), "{report:?}");
}

#[tokio::test]
async fn a_position_lost_before_the_first_message_skips_none() {
    let server = NatsServer::start().await.unwrap();
    let client = client(&server, "reader", JetStreamConfig::default()).await;
    client.publish("orders", "before").await.unwrap();
    let mut subscription = client.subscribe("orders").open().await.unwrap();
    let admin = connection(&server).await;
    api(&admin, &format!("CONSUMER.DELETE.test_orders.{}", subscription.consumer()), Value::Null).await;
    client.publish("orders", "while away").await.unwrap();
    let message = timeout(Duration::from_secs(30), subscription.next()).await.expect("not lost").unwrap();
    assert_eq!((message.sequence(), message.data().as_ref()), (2, b"while away".as_slice()));
}

#[tokio::test]
async fn a_message_that_is_too_large_with_its_headers_stops_no_other() {
    let server = NatsServer::start().await.unwrap();
    let client = client(&server, "publisher", JetStreamConfig::default()).await;
    client.publish("orders", "warm").await.unwrap();
    let max = 1024 * 1024;
    let large = || client.message("orders").payload(vec![0; max - 100]).header("Name", &"x".repeat(100));
    let error = large().send().await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TooLarge, Outcome::NotDone), "{error}");

    server.kill().await.unwrap();
    use sluicegate_streaming_client::ClientState::Disconnected;
    until("it is noticed", async || client.state() == Disconnected).await;
    let large = large().start().await.unwrap();
    let small = client.message("orders").payload("after it").start().await.unwrap();
    server.restart().await.unwrap();
    let error = large.await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TooLarge, Outcome::NotDone), "{error}");
    assert_eq!(small.await.unwrap().sequence, Some(2));
}
