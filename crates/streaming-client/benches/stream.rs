//! JetStream publish and consume, beside what async-nats does on its own. Floor and ours take turns on one server, so
//! that a slow minute of the machine meets both. The floor publishes with a message id too: the same promise.
#![allow(missing_docs)]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use futures::{StreamExt, TryStreamExt};
use sluicegate_nats::async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use sluicegate_nats::async_nats::jetstream::context::PublishAckFuture;
use sluicegate_nats::async_nats::jetstream::message::PublishMessage;
use sluicegate_nats::async_nats::jetstream::{Context, stream};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_streaming_client::{
    AckMode, Backend, Client, ClientId, JetStreamConfig, PublishConfig, Start, StreamMap,
};
use sluicegate_testkit::server::NatsServer;
use tokio::runtime::Runtime;
use tokio::time::Instant;

const ROUNDS: usize = 3;
const MESSAGES: u64 = 5_000;
const WINDOW: u32 = 1_024;
const PAYLOAD: Bytes = Bytes::from_static(&[b'x'; 128]);

async fn start() -> (NatsServer, Connection) {
    let server = NatsServer::start().await.expect("the server starts");
    let settings = Settings::from_url(&server.url()).expect("a url");
    let connection = connect(&settings).await.expect("the server answers");
    (server, connection)
}

async fn make_stream(jetstream: &Context, name: &str) {
    let config = stream::Config {
        name: name.to_owned(),
        subjects: vec![name.to_owned()],
        storage: stream::StorageType::Memory,
        max_messages: 100_000,
        duplicate_window: Duration::from_secs(30),
        ..stream::Config::default()
    };
    jetstream.create_stream(config).await.expect("the stream is made");
}

async fn client(connection: &Connection, stream: &str) -> Client {
    let config = JetStreamConfig::default().map("bench", StreamMap::existing(stream, stream));
    let window =
        PublishConfig { max_outstanding: WINDOW.try_into().expect("not zero"), ..PublishConfig::default() };
    Client::builder("bench", ClientId::random())
        .backend(Backend::jetstream(config, connection.clone()))
        .publish(window)
        .connect()
        .await
        .expect("registers")
}

async fn floor_publish(jetstream: &Context, ids: &mut u64) {
    let mut acks: VecDeque<PublishAckFuture> = VecDeque::new();
    for _ in 0..MESSAGES {
        if acks.len() == WINDOW as usize
            && let Some(oldest) = acks.pop_front()
        {
            oldest.await.expect("stored");
        }
        *ids += 1;
        let message = PublishMessage::build().payload(PAYLOAD).message_id(format!("floor.{ids:x}"));
        acks.push_back(jetstream.send_publish("FLOOR", message).await.expect("handed over"));
    }
    for ack in acks {
        ack.await.expect("stored");
    }
}

async fn our_publish(client: &Client) {
    let mut acks = VecDeque::new();
    for _ in 0..MESSAGES {
        acks.push_back(client.message("bench").payload(PAYLOAD).start().await.expect("handed over"));
    }
    for ack in acks {
        ack.await.expect("stored");
    }
}

fn publish(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (_server, connection) = runtime.block_on(start());
    let jetstream = runtime.block_on(async { connection.jetstream() });
    let client = runtime.block_on(async {
        make_stream(&jetstream, "FLOOR").await;
        make_stream(&jetstream, "OURS").await;
        client(&connection, "OURS").await
    });
    let ids = tokio::sync::Mutex::new(0);
    let mut group = criterion.benchmark_group("stream/publish");
    group.throughput(Throughput::Elements(MESSAGES)).sampling_mode(SamplingMode::Flat).sample_size(20);
    for round in 0..ROUNDS {
        group.bench_function(format!("floor/{round}"), |bencher| {
            bencher.to_async(&runtime).iter(async || floor_publish(&jetstream, &mut *ids.lock().await).await);
        });
        group.bench_function(format!("ours/{round}"), |bencher| {
            bencher.to_async(&runtime).iter(async || our_publish(&client).await);
        });
    }
    group.finish();
}

/// A position at the beginning of the stream, new each time.
async fn floor_consume(jetstream: &Context) -> Duration {
    let config = pull::Config {
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: i64::from(WINDOW),
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer: PullConsumer =
        jetstream.create_consumer_on_stream(config, "FULL").await.expect("the consumer is made");
    let begun = Instant::now();
    let messages = consumer.stream().max_messages_per_batch(WINDOW as usize);
    let messages = messages.heartbeat(Duration::from_secs(5)).messages().await.expect("it pulls");
    let mut messages = messages.take(MESSAGES as usize);
    while let Some(message) = messages.try_next().await.expect("a message") {
        message.ack().await.expect("handed over");
    }
    begun.elapsed()
}

async fn our_consume(client: &Client) -> Duration {
    let subscribe = client.subscribe("bench").start(Start::First).max_in_flight(WINDOW);
    let mut subscription = subscribe.ack(AckMode::Manual).open().await.expect("subscribes");
    let begun = Instant::now();
    for _ in 0..MESSAGES {
        let message = subscription.next().await.expect("a message");
        message.ack().await.expect("handed over");
    }
    let took = begun.elapsed();
    subscription.close().await;
    took
}

fn consume(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (_server, connection) = runtime.block_on(start());
    let jetstream = runtime.block_on(async { connection.jetstream() });
    let client = runtime.block_on(async {
        make_stream(&jetstream, "FULL").await;
        let client = client(&connection, "FULL").await;
        our_publish(&client).await;
        client
    });
    let mut group = criterion.benchmark_group("stream/consume");
    group.throughput(Throughput::Elements(MESSAGES)).sampling_mode(SamplingMode::Flat).sample_size(20);
    for round in 0..ROUNDS {
        group.bench_function(format!("floor/{round}"), |bencher| {
            bencher.to_async(&runtime).iter_custom(async |iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    total += floor_consume(&jetstream).await;
                }
                total
            });
        });
        group.bench_function(format!("ours/{round}"), |bencher| {
            bencher.to_async(&runtime).iter_custom(async |iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    total += our_consume(&client).await;
                }
                total
            });
        });
    }
    group.finish();
}

fn config() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4))
}

criterion_group! { name = benches; config = config(); targets = publish, consume }
criterion_main!(benches);
