use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_nats::Connection;
use sluicegate_streaming_client::{Backend, Client, ErrorKind, JetStreamConfig, Start, StreamMap};
use sluicegate_testkit::server::NatsServer;
use tokio::time::timeout;

use crate::support::{api, builder, client, connection};

async fn make_stream(admin: &Connection, name: &str, retention: &str) -> Value {
    let config = json!({
        "name": name, "subjects": [format!("{name}.*")], "retention": retention, "storage": "file",
        "num_replicas": 1, "duplicate_window": 120_000_000_000_u64,
    });
    api(admin, &format!("STREAM.CREATE.{name}"), config).await
}

async fn make_consumer(admin: &Connection, stream: &str, name: &str, ack_policy: &str) -> Value {
    let config = json!({ "durable_name": name, "name": name, "ack_policy": ack_policy, "ack_wait": 5_000_000_000_u64 });
    let body = json!({ "stream_name": stream, "config": config, "action": "create" });
    api(admin, &format!("CONSUMER.CREATE.{stream}.{name}"), body).await
}

async fn mapped(server: &NatsServer, map: StreamMap) -> Client {
    client(server, "worker", JetStreamConfig::default().map("orders", map)).await
}

async fn subscribe_error(client: &Client) -> sluicegate_streaming_client::StreamError {
    client.subscribe("orders").queue("q").durable("d").open().await.unwrap_err()
}

#[tokio::test]
async fn somebody_elses_stream_and_consumer_are_used_as_they_are() {
    let server = NatsServer::start().await.unwrap();
    let admin = connection(&server).await;
    make_stream(&admin, "ORDERS", "interest").await;
    make_consumer(&admin, "ORDERS", "WORKERS", "explicit").await;
    let before = api(&admin, "STREAM.INFO.ORDERS", Value::Null).await["config"].clone();
    let consumer_before = api(&admin, "CONSUMER.INFO.ORDERS.WORKERS", Value::Null).await["config"].clone();

    let worker = mapped(&server, StreamMap::bound("ORDERS", "ORDERS.new", "WORKERS")).await;
    for number in 1..=10 {
        assert_eq!(worker.publish("orders", number.to_string()).await.unwrap().sequence, Some(number));
    }
    let subscribe = worker.subscribe("orders").queue("ignored").durable("ignored").start(Start::New);
    let mut subscription = subscribe.ack_wait(Duration::from_secs(77)).open().await.unwrap();
    assert_eq!(subscription.consumer(), "WORKERS");
    for number in 1..=10 {
        let message = timeout(Duration::from_secs(10), subscription.next()).await.unwrap().unwrap();
        assert_eq!(message.sequence(), number);
        message.ack_confirmed().await.unwrap();
    }
    subscription.unsubscribe().await;
    let info = api(&admin, "STREAM.INFO.ORDERS", Value::Null).await;
    assert_eq!(info["config"], before, "unchanged");
    assert_eq!(info["state"]["messages"], 0, "interest retention keeps nothing that is acknowledged");
    let consumer = api(&admin, "CONSUMER.INFO.ORDERS.WORKERS", Value::Null).await;
    assert_eq!(consumer["config"], consumer_before, "unchanged, and still there");
    let streams = api(&admin, "STREAM.NAMES", json!({})).await;
    assert_eq!(streams["streams"], json!(["ORDERS"]), "nothing was made");
}

#[tokio::test]
async fn an_existing_stream_without_a_consumer_gets_ours() {
    let server = NatsServer::start().await.unwrap();
    let admin = connection(&server).await;
    make_stream(&admin, "ORDERS", "limits").await;
    let worker = mapped(&server, StreamMap::existing("ORDERS", "ORDERS.new")).await;
    worker.publish("orders", "1").await.unwrap();
    let other = admin.jetstream().publish("ORDERS.other", "x".into()).await.unwrap();
    other.await.unwrap();
    worker.publish("orders", "3").await.unwrap();
    let mut subscription = worker.subscribe("orders").durable("d").start(Start::First).open().await.unwrap();
    let mut sequences = Vec::new();
    for _ in 0..2 {
        let message = timeout(Duration::from_secs(10), subscription.next()).await.unwrap().unwrap();
        sequences.push(message.sequence());
    }
    assert_eq!(sequences, [1, 3], "the other subject is not this channel");
    let info = api(&admin, "CONSUMER.INFO.ORDERS.d_worker__d", Value::Null).await;
    let metadata = &info["config"]["metadata"];
    assert_eq!(
        (&metadata["sluicegate.channel"], &metadata["sluicegate.durable"]),
        (&json!("orders"), &json!("d"))
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let server = NatsServer::start().await.unwrap();
    let admin = connection(&server).await;

    let lost = mapped(&server, StreamMap::bound("NOPE", "nope", "WORKERS")).await;
    let error = subscribe_error(&lost).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("NOPE") && error.to_string().contains("orders"), "{error}");
    let error = lost.publish("orders", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("NOPE"), "{error}");

    make_stream(&admin, "ORDERS", "limits").await;
    let lost = mapped(&server, StreamMap::bound("ORDERS", "ORDERS.new", "NOBODY")).await;
    let error = subscribe_error(&lost).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("NOBODY") && error.to_string().contains("ORDERS"), "{error}");

    make_consumer(&admin, "ORDERS", "CARELESS", "none").await;
    let careless = mapped(&server, StreamMap::bound("ORDERS", "ORDERS.new", "CARELESS")).await;
    let error = subscribe_error(&careless).await;
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("explicit acknowledgement"), "{error}");

    let config = JetStreamConfig { auto_create: false, ..JetStreamConfig::default() };
    let modest = client(&server, "modest", config).await;
    let error = modest.publish("fresh", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("test_fresh"), "{error}");
}

#[tokio::test]
async fn an_own_stream_with_another_configuration_is_refused_and_left_alone() {
    let server = NatsServer::start().await.unwrap();
    client(&server, "first", JetStreamConfig::default()).await.publish("orders", "x").await.unwrap();
    let admin = connection(&server).await;
    let before = api(&admin, "STREAM.INFO.test_orders", Value::Null).await["config"].clone();
    let config = JetStreamConfig {
        max_messages: 5.try_into().unwrap(),
        duplicate_window: Duration::from_secs(60),
        ..JetStreamConfig::default()
    };
    let other = client(&server, "second", config).await;
    let error = other.publish("orders", "y").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    assert!(text.contains("max_msgs 1000000 instead of 5") && text.contains("duplicate_window"), "{text}");
    assert!(text.contains("test_orders"), "{text}");
    assert_eq!(api(&admin, "STREAM.INFO.test_orders", Value::Null).await["config"], before);
    assert_eq!(api(&admin, "STREAM.INFO.test_orders", Value::Null).await["state"]["messages"], 1);
}

#[tokio::test]
async fn what_is_denied_is_named_and_soon() {
    let config = r#"
        authorization {
          users: [
            { user: admin, password: admin }
            { user: worker, password: worker, permissions: {
                publish: { allow: ["$JS.API.STREAM.INFO.test_orders", "$JS.API.CONSUMER.>", "$JS.ACK.>", "_INBOX.>"] }
                subscribe: { allow: [">"] } } }
          ]
        }
    "#;
    let server = NatsServer::builder().config(config).start().await.unwrap();
    let login = |user: &str| server.url().replace("nats://", &format!("nats://{user}:{user}@"));
    let connect = async |user: &str| {
        let settings = sluicegate_nats::Settings::from_url(&login(user)).unwrap();
        sluicegate_nats::connect(&settings).await.unwrap()
    };
    let admin =
        builder("admin").backend(Backend::jetstream(JetStreamConfig::default(), connect("admin").await));
    admin.connect().await.unwrap().publish("orders", "1").await.unwrap();

    let backend = Backend::jetstream(JetStreamConfig::default(), connect("worker").await);
    let worker = builder("worker").backend(backend).connect().await.unwrap();
    let begun = tokio::time::Instant::now();
    let error = worker.publish("orders", "2").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("test.orders") && !error.is_unknown(), "{error}");
    let error = worker.subscribe("other").open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("$JS.API.STREAM.INFO.test_other"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "said by the server, not guessed from silence");
    // What it may, it does.
    let mut subscription = worker.subscribe("orders").start(Start::First).open().await.unwrap();
    assert_eq!(subscription.next().await.unwrap().sequence(), 1);
}
