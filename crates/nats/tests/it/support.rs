//! What several subjects need.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use sluicegate_nats::async_nats::Subscriber;
use sluicegate_nats::{Connection, NatsEvent, Settings, connect};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

/// Longer than anything takes that works: reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn connected(url: &str) -> Connection {
    connect(&Settings::from_url(url).unwrap()).await.unwrap()
}

/// A stream of that name on the subject of that name.
pub(crate) async fn stream(connection: &Connection, name: &str, more: Value) {
    let mut config = json!({ "name": name, "subjects": [name], "storage": "memory" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let _: Value = connection.api(&format!("STREAM.CREATE.{name}"), &config, PATIENCE).await.unwrap();
}

pub(crate) async fn stored(connection: &Connection, stream: &str) -> u64 {
    let info: Value = connection.api(&format!("STREAM.INFO.{stream}"), &(), PATIENCE).await.unwrap();
    info["state"]["messages"].as_u64().unwrap()
}

/// A subscription that the server knows of. `flush` says nothing about that: it waits for the socket alone.
pub(crate) async fn subscribed(connection: &Connection, subject: &str) -> Subscriber {
    let client = connection.client();
    let subscription = client.subscribe(subject.to_owned()).await.unwrap();
    // What comes back over the same connection was sent after it.
    let inbox = client.new_inbox();
    let mut round_trip = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, Bytes::new()).await.unwrap();
    timeout(PATIENCE, round_trip.next()).await.unwrap().unwrap();
    subscription
}

/// Answers every request to that subject with its payload.
pub(crate) async fn echo(connection: &Connection, subject: &str) {
    let client = connection.client();
    let mut requests = subscribed(connection, subject).await;
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            client.publish(request.reply.unwrap(), request.payload).await.unwrap();
        }
    });
}

/// Waits for that event; others are passed over and returned.
pub(crate) async fn until(
    events: &mut Receiver<NatsEvent>,
    wanted: impl Fn(&NatsEvent) -> bool,
) -> Vec<NatsEvent> {
    let mut passed = Vec::new();
    let waiting = async {
        loop {
            let event = match events.recv().await {
                // A flood of events is one of the things that are tested.
                Err(RecvError::Lagged(_)) => continue,
                received => received.unwrap(),
            };
            let found = wanted(&event);
            passed.push(event);
            if found {
                return;
            }
        }
    };
    let waited = timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "it never came, only {passed:?}");
    passed
}

/// Waits until the condition holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
