//! What the pools cost beside the requests they are made of. Floor and ours take turns on one client and one server,
//! so that a slow minute of the machine meets both.
#![allow(missing_docs)]

use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use sluicegate_core::{Holder, Lease, LeasePool, Request};
use sluicegate_governor::{CampaignPool, Governor, GovernorConfig, NativePool, Released};
use sluicegate_nats::async_nats::Client;
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

const ROUNDS: usize = 3;
const TTL: Duration = Duration::from_secs(300);

fn limit() -> NonZeroU32 {
    NonZeroU32::new(10).expect("ten is not zero")
}

async fn start() -> (NatsServer, Connection) {
    let server = NatsServer::start().await.expect("the server starts");
    let settings = Settings::from_url(&server.url()).expect("a url");
    let connection = connect(&settings).await.expect("the server answers");
    (server, connection)
}

async fn call(client: &Client, subject: String, body: String) -> Value {
    let answer = client.request(subject, body.into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

fn pair(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (_server, connection) = runtime.block_on(start());
    let config = GovernorConfig::try_new("bench", limit(), TTL).expect("a configuration");
    let pool = runtime.block_on(CampaignPool::create(&connection, &config)).expect("created");
    let client = connection.client();
    let subject = pool.subject().to_string();
    let delete = format!("$JS.API.STREAM.MSG.DELETE.{}", pool.stream());
    let request = Request::new(Holder::try_new("bench").expect("a holder"));

    let governor = {
        let _inside = runtime.enter();
        Governor::builder(pool.clone(), request.holder().clone()).build()
    };

    let mut group = criterion.benchmark_group("governor/pair");
    for round in 0..ROUNDS {
        group.bench_function(format!("floor/{round}"), |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let ack = call(&client, subject.clone(), "bench".to_owned()).await;
                let body = json!({"seq": ack["seq"], "no_erase": true}).to_string();
                let gone = call(&client, delete.clone(), body).await;
                assert_eq!(gone["success"], json!(true));
            });
        });
        group.bench_function(format!("permit/{round}"), |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let permit = governor.acquire().await.expect("a permit");
                assert_eq!(permit.release().await.expect("released"), Released::Freed);
            });
        });
        group.bench_function(format!("ours/{round}"), |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let lease = pool.try_acquire(&request).await.expect("an answer").expect("free");
                assert!(pool.release(&lease).await.expect("an answer"));
            });
        });
    }
    group.finish();
}

fn renew(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (_server, connection) = runtime.block_on(start());
    let config = GovernorConfig::try_new("bench", limit(), TTL).expect("a configuration");
    let pool = runtime.block_on(NativePool::create(&connection, &config)).expect("created");
    let client = connection.client();
    let plain = json!({"name": "PLAIN", "subjects": ["plain"], "max_msgs_per_subject": 1, "storage": "file"});
    let made = call(&client, "$JS.API.STREAM.CREATE.PLAIN".to_owned(), plain.to_string());
    assert!(runtime.block_on(made)["error"].is_null());
    let request = Request::new(Holder::try_new("bench").expect("a holder"));
    let first = runtime.block_on(pool.try_acquire(&request)).expect("an answer").expect("free");
    let lease: Mutex<Lease> = Mutex::new(first);

    let mut group = criterion.benchmark_group("governor/renew");
    for round in 0..ROUNDS {
        group.bench_function(format!("floor/{round}"), |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let ack = call(&client, "plain".to_owned(), "bench".to_owned()).await;
                assert!(ack["seq"].is_u64());
            });
        });
        group.bench_function(format!("ours/{round}"), |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let mut lease = lease.lock().await;
                *lease = pool.renew(&lease).await.expect("renewed");
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = pair, renew
}
criterion_main!(benches);
