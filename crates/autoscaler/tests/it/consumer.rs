//! Looking at a real consumer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_autoscaler::{
    Autoscaler, ConsumerLoad, InstanceContext, LoadSource, ScalerErrorKind, ScalerEvent, Tasks,
};
use sluicegate_nats::async_nats::jetstream::AckKind;
use sluicegate_nats::async_nats::jetstream::consumer::{AckPolicy, pull, push};
use sluicegate_nats::async_nats::jetstream::stream::RetentionPolicy;
use sluicegate_testkit::server::NatsServer;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::nats::{PATIENCE, connected, counters, durable, fetch, publish, shared, stream, until_counters};
use crate::world::until;

#[tokio::test]
async fn counts_what_is_pending_in_hand_and_delivered() {
    for version in ["2.15.1", "2.10.26"] {
        let server = NatsServer::builder().version(version).start().await.unwrap();
        let connection = connected(&server.url()).await;
        let stream = stream(&connection, "COUNTS", RetentionPolicy::Limits).await;
        let consumer = stream.create_consumer(durable("worker")).await.unwrap();
        let load = ConsumerLoad::bind(&connection, "COUNTS", "worker").await.unwrap();
        assert_eq!(load.name(), "COUNTS.worker");
        assert_eq!(counters(&load).await.unwrap(), (0, 0, 0));
        publish(&connection, "COUNTS", 5).await;
        until_counters(&load, (5, 0, 0)).await;
        let messages = fetch(&consumer, 3, Duration::from_secs(5)).await;
        until_counters(&load, (2, 3, 3)).await;
        messages[0].double_ack().await.unwrap();
        until_counters(&load, (2, 2, 3)).await;
        // What was given back is in hand until it is delivered again, which counts as an arrival and a delivery.
        messages[1].ack_with(AckKind::Nak(None)).await.unwrap();
        let rest = fetch(&consumer, 3, Duration::from_secs(5)).await;
        let mut deliveries: Vec<_> = rest.iter().map(|message| message.info().unwrap().delivered).collect();
        deliveries.sort_unstable();
        assert_eq!(deliveries, [1, 1, 2]);
        until_counters(&load, (0, 4, 6)).await;
        for message in rest.iter().chain([&messages[2]]) {
            message.double_ack().await.unwrap();
        }
        until_counters(&load, (0, 0, 6)).await;
        publish(&connection, "COUNTS", 5).await;
        until_counters(&load, (5, 0, 6)).await;
        stream.purge().await.unwrap();
        until_counters(&load, (0, 0, 6)).await;
    }
}

#[tokio::test]
async fn refuses_what_would_lose_messages() {
    let connection = shared().await;
    let stream = stream(&connection, "REFUSED", RetentionPolicy::Limits).await;
    let named = pull::Config { name: Some("named".to_owned()), durable_name: None, ..durable("") };
    stream.create_consumer(named).await.unwrap();
    let threshold = pull::Config { inactive_threshold: Duration::from_secs(600), ..durable("threshold") };
    stream.create_consumer(threshold).await.unwrap();
    stream.create_consumer(pull::Config { ack_policy: AckPolicy::None, ..durable("silent") }).await.unwrap();
    let push = push::Config {
        durable_name: Some("push".to_owned()),
        deliver_subject: "somewhere".to_owned(),
        ..push::Config::default()
    };
    stream.create_consumer(push).await.unwrap();
    for (stream, consumer, kind) in [
        ("REFUSED", "named", ScalerErrorKind::NotDurable),
        ("REFUSED", "threshold", ScalerErrorKind::NotDurable),
        ("REFUSED", "silent", ScalerErrorKind::Configuration),
        ("REFUSED", "push", ScalerErrorKind::Configuration),
        ("REFUSED", "missing", ScalerErrorKind::NotFound),
        ("MISSING", "missing", ScalerErrorKind::NotFound),
        ("REFUSED", "no.name", ScalerErrorKind::Configuration),
    ] {
        let error = ConsumerLoad::bind(&connection, stream, consumer).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{consumer}: {error}");
        assert!(error.to_string().contains(consumer), "{error}");
    }
}

#[tokio::test]
async fn what_is_denied_is_named() {
    let users = r#"authorization { users: [
        { user: admin, password: pw },
        { user: blind, password: pw, permissions: { publish: ["$JS.API.STREAM.>"] } }
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = |user: &str| server.url().replace("nats://", &format!("nats://{user}:pw@"));
    let admin = connected(&url("admin")).await;
    let stream = stream(&admin, "DENIED", RetentionPolicy::Limits).await;
    stream.create_consumer(durable("worker")).await.unwrap();
    let blind = connected(&url("blind")).await;
    let error = ConsumerLoad::bind(&blind, "DENIED", "worker").await.unwrap_err();
    assert_eq!(error.kind(), ScalerErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("$JS.API.CONSUMER.INFO.DENIED.worker"), "{error}");
}

#[tokio::test]
async fn without_the_right_to_probe_it_polls() {
    let users = r#"authorization { users: [
        { user: admin, password: pw },
        { user: watcher, password: pw, permissions: { publish: ["$JS.API.CONSUMER.INFO.POLLED.worker"] } }
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = |user: &str| server.url().replace("nats://", &format!("nats://{user}:pw@"));
    let admin = connected(&url("admin")).await;
    let stream = stream(&admin, "POLLED", RetentionPolicy::Limits).await;
    stream.create_consumer(durable("worker")).await.unwrap();
    let watcher = connected(&url("watcher")).await;
    let load = Arc::new(ConsumerLoad::bind(&watcher, "POLLED", "worker").await.unwrap());
    let token = CancellationToken::new();
    let running = Autoscaler::builder(Arc::clone(&load))
        .provisioner(Tasks::new(|cx: InstanceContext| async move { cx.draining().await }))
        .limits(0..=3)
        .build()
        .unwrap()
        .start(token.clone());
    timeout(PATIENCE, async {
        while load.wakes() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the refusal is noticed");
    publish(&admin, "POLLED", 1).await;
    until(&running, "an instance", |status| status.fleet.ready == 1).await;
    token.cancel();
    running.join().await.unwrap();
}

#[tokio::test]
async fn the_probe_wakes_and_takes_nothing() {
    let connection = shared().await;
    let stream = stream(&connection, "PROBE", RetentionPolicy::WorkQueue).await;
    let ack_wait = Duration::from_secs(2);
    let consumer = stream.create_consumer(pull::Config { ack_wait, ..durable("worker") }).await.unwrap();
    let load = ConsumerLoad::bind(&connection, "PROBE", "worker").await.unwrap();
    assert!(load.wakes());

    // A new message.
    let (_, ()) = timeout(PATIENCE, async {
        tokio::join!(load.wake(0), async {
            while load.observe().await.unwrap().waiting != Some(1) {
                sleep(Duration::from_millis(5)).await;
            }
            publish(&connection, "PROBE", 1).await;
        })
    })
    .await
    .unwrap();
    assert_eq!(counters(&load).await.unwrap(), (1, 0, 0));
    // A backlog.
    timeout(PATIENCE, load.wake(0)).await.unwrap();
    assert_eq!(counters(&load).await.unwrap(), (1, 0, 0));

    // A worker gets it, for the first time, and forgets it: its redelivery wakes, too.
    let delivered = Instant::now();
    let message = fetch(&consumer, 1, Duration::from_secs(5)).await.remove(0);
    assert_eq!(message.info().unwrap().delivered, 1);
    timeout(PATIENCE, load.wake(0)).await.unwrap();
    assert!(delivered.elapsed() >= ack_wait, "woken before there was anything to deliver");
    assert_eq!(counters(&load).await.unwrap(), (0, 1, 1));
    let again = fetch(&consumer, 1, Duration::from_secs(5)).await.remove(0);
    assert_eq!(again.info().unwrap().delivered, 2, "the probes counted as deliveries");
    again.double_ack().await.unwrap();
    until_counters(&load, (0, 0, 2)).await;
}

#[tokio::test]
async fn a_consumer_that_vanishes_holds_and_a_new_one_is_noticed() {
    let connection = shared().await;
    let stream = stream(&connection, "VANISH", RetentionPolicy::Limits).await;
    stream.create_consumer(durable("worker")).await.unwrap();
    let load = ConsumerLoad::bind(&connection, "VANISH", "worker").await.unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let token = CancellationToken::new();
    // Instances that never work: the load stays.
    let running = Autoscaler::builder(load)
        .provisioner(Tasks::new(|cx: InstanceContext| async move { cx.draining().await }))
        .limits(0..=3)
        .service_rate(1.0)
        .observer(move |event: &ScalerEvent| seen.lock().unwrap().push(event.clone()))
        .build()
        .unwrap()
        .start(token.clone());
    publish(&connection, "VANISH", 100).await;
    until(&running, "three instances", |status| status.fleet.ready == 3).await;
    stream.delete_consumer("worker").await.unwrap();
    until(&running, "a hold", |status| status.holding == Some(ScalerErrorKind::NotFound)).await;
    let looks = running.status().borrow().looks;
    let held = until(&running, "looks go on", |status| status.looks > looks + 2).await;
    assert_eq!((held.target, held.fleet.ready), (3, 3), "a missing consumer is no empty one");
    stream.create_consumer(durable("worker")).await.unwrap();
    until(&running, "looks again", |status| status.holding.is_none()).await;
    token.cancel();
    assert!(running.join().await.unwrap().left.is_empty());
    assert!(events.lock().unwrap().contains(&ScalerEvent::ConsumerRecreated));
}
