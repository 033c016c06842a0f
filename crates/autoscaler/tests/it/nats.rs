//! What the tests against a real server need.

use std::time::Duration;

use futures::StreamExt;
use sluicegate_autoscaler::{LoadSource, ScalerError};
use sluicegate_nats::async_nats::jetstream::consumer::pull;
use sluicegate_nats::async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use sluicegate_nats::async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use sluicegate_nats::async_nats::jetstream::{self, Message};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::time::timeout;

/// Longer than anything takes that works: reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn connected(url: &str) -> Connection {
    connect(&Settings::from_url(url).unwrap()).await.unwrap()
}

pub(crate) async fn shared() -> Connection {
    connected(&NatsServer::shared().await.unwrap().url()).await
}

/// A stream of that name on the subject of that name.
pub(crate) async fn stream(
    connection: &Connection,
    name: &str,
    retention: RetentionPolicy,
) -> jetstream::stream::Stream {
    let config = Config {
        name: name.to_owned(),
        subjects: vec![name.to_owned()],
        retention,
        storage: StorageType::Memory,
        ..Config::default()
    };
    connection.jetstream().create_stream(config).await.unwrap()
}

/// What a worker's consumer is like.
pub(crate) fn durable(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        ..pull::Config::default()
    }
}

pub(crate) async fn publish(connection: &Connection, subject: &str, messages: usize) {
    let jetstream = connection.jetstream();
    let mut acks = Vec::new();
    for n in 0..messages {
        acks.push(jetstream.publish(subject.to_owned(), n.to_string().into()).await.unwrap());
        if acks.len() == 500 {
            for ack in acks.drain(..) {
                ack.await.unwrap();
            }
        }
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// One pull: complete with so many messages, or when it expires.
pub(crate) async fn fetch(consumer: &PullConsumer, messages: usize, expires: Duration) -> Vec<Message> {
    let batch = consumer.batch().max_messages(messages).expires(expires).messages().await.unwrap();
    batch.map(|message| message.unwrap()).collect().await
}

/// Pending, in hand, delivered.
pub(crate) async fn counters(load: &impl LoadSource) -> Result<(u64, u64, u64), ScalerError> {
    let load = load.observe().await?;
    Ok((load.pending, load.ack_pending, load.delivered))
}

/// Looks until the counters are as wanted: an acknowledgement without an answer takes a moment.
pub(crate) async fn until_counters(load: &impl LoadSource, wanted: (u64, u64, u64)) {
    let reached = timeout(PATIENCE, async {
        while counters(load).await.unwrap() != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    if reached.await.is_err() {
        panic!("never {wanted:?}, but {:?}", counters(load).await);
    }
}
