//! Following the stream: expiry foreseen, and `held` in one request.

use std::time::Duration;

use serde_json::json;
use sluicegate_core::{Lease, LeasePool, LeasePoolAdmin, LeasePoolExt, Wait};
use sluicegate_governor::{GovernorEvent, NativePool, PoolOptions};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::support::{
    LONG, api, config, connection, info, overhear, request, server, shared, slots, soon, stored, unique,
    watched,
};

/// Waits with a poll that comes too late for any of this.
fn waiting(pool: &NativePool, holder: &str) -> JoinHandle<Lease> {
    let (pool, request) = (pool.clone(), request(holder));
    let wait = Wait::new().poll_interval(LONG).poll_when_hinted(LONG).patience(LONG);
    tokio::spawn(async move {
        pool.acquire(&request, &wait).await.expect("waits over everything").expect("without end")
    })
}

async fn consumers(connection: &Connection, stream: &str) -> u64 {
    info(connection, stream).await["state"]["consumer_count"].as_u64().expect("the stream exists")
}

async fn is_followed(connection: &Connection, stream: &str, by: u64) {
    soon(async {
        while consumers(connection, stream).await != by {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dead_holders_slot_is_granted_again_as_its_lease_ends() {
    for version in ["2.15.1", "2.12.8", "2.11.11"] {
        let server = server(version).await;
        let ttl = Duration::from_secs(1);
        let holder =
            NativePool::create(&connection(&server.url()).await, &config("T", 2, ttl)).await.unwrap();
        let other = NativePool::bind(&connection(&server.url()).await, "T").await.unwrap();
        for round in 0..3 {
            let _dead = holder.try_acquire(&request("dead")).await.unwrap().expect("free");
            let mut alive = holder.try_acquire(&request("alive")).await.unwrap().expect("free");
            let (begin, next) = (Instant::now(), waiting(&other, "next"));
            while !next.is_finished() {
                sleep(ttl / 4).await;
                alive = holder.renew(&alive).await.unwrap();
                assert!(begin.elapsed() < ttl * 3, "nobody got the slot");
            }
            let next = next.await.unwrap();
            let after = next.deadline() - ttl.mul_f64(0.999) - begin;
            println!("{version}, round {round}: granted again {after:?} after the grant, ttl {ttl:?}");
            assert!(after + Duration::from_millis(20) >= ttl, "not early: {after:?}");
            assert!(after < ttl + Duration::from_millis(300), "{after:?}");
            assert!(other.release(&next).await.unwrap());
            assert!(holder.release(&alive).await.unwrap());
        }
    }
}

#[tokio::test]
async fn followers_know_what_is_held_and_since_when() {
    let server = server("2.15.1").await;
    let here = connection(&server.url()).await;
    let pool = NativePool::create(&here, &config("T", 3, LONG)).await.unwrap();
    let other = NativePool::bind(&connection(&server.url()).await, "T").await.unwrap();
    let mut reads = overhear(&server.url(), &format!("$JS.API.STREAM.MSG.GET.{}", pool.stream())).await;

    // The second in short time makes it worth while.
    assert_eq!(other.held().await.unwrap(), []);
    assert_eq!(other.held().await.unwrap(), []);
    is_followed(&here, pool.stream(), 1).await;
    let heavy = pool.try_acquire(&request("heavy").weight(slots(2))).await.unwrap().expect("free");
    let light = pool.try_acquire(&request("light")).await.unwrap().expect("free");
    let begin = Instant::now();
    // Whatever it read before it was following.
    while futures::FutureExt::now_or_never(futures::StreamExt::next(&mut reads)).is_some() {}

    for round in 0..5 {
        sleep(Duration::from_millis(100)).await;
        let renewed = pool.renew(&light).await.unwrap();
        let since = begin.elapsed();
        let held = other.held().await.unwrap();
        let seen: Vec<_> = held.iter().map(|held| (held.id, held.token, held.weight.get())).collect();
        assert_eq!(seen, [(heavy.id(), heavy.token(), 2), (light.id(), renewed.token(), 1)], "{round}");
        assert_eq!(held[1].holder.to_string(), "light");
        assert!(held[1].age + Duration::from_millis(10) >= since, "since it was granted: {:?}", held[1].age);
    }
    // Deletions are not told to those who follow.
    assert!(pool.release(&heavy).await.unwrap());
    assert_eq!(other.held().await.unwrap().iter().map(|held| held.id).collect::<Vec<_>>(), [light.id()]);
    pool.reset().await.unwrap();
    assert_eq!(other.held().await.unwrap(), []);
    let read = futures::FutureExt::now_or_never(futures::StreamExt::next(&mut reads));
    assert!(read.is_none(), "no message is read one by one: {read:?}");
}

#[tokio::test]
async fn nobody_is_followed_for_long_who_is_not_needed() {
    let server = server("2.15.1").await;
    let here = connection(&server.url()).await;
    let pool = NativePool::create(&here, &config("T", 1, LONG)).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    assert_eq!(consumers(&here, pool.stream()).await, 0, "without contention there is nothing to foresee");
    let next = waiting(&pool, "b");
    is_followed(&here, pool.stream(), 1).await;
    assert!(pool.release(&lease).await.unwrap());
    let _next = soon(next).await.unwrap();
    is_followed(&here, pool.stream(), 0).await;
}

#[tokio::test]
async fn who_may_not_follow_foresees_expiry_as_before() {
    let allowed =
        r#"["$GOVERNOR2.T.>", "$JS.API.STREAM.*.GOVERNOR2_T", "$JS.API.STREAM.MSG.*.GOVERNOR2_T", "_GOV.>"]"#;
    let users = format!(
        r#"authorization {{ users: [
            {{ user: all, password: p }},
            {{ user: some, password: p, permissions: {{ publish: {allowed}, subscribe: [">"] }} }}
        ] }}"#
    );
    let server = NatsServer::builder().config(&users).start().await.unwrap();
    let address = server.addr();
    let of = |user: &str| connection_as(format!("nats://{user}:p@{address}"));
    let ttl = Duration::from_secs(1);
    let holder = NativePool::create(&of("all").await, &config("T", 1, ttl)).await.unwrap();
    let (observer, mut events) = watched();
    let options = PoolOptions::default().observer(observer);
    let other = NativePool::bind_with(&of("some").await, "T", options).await.unwrap();
    let _dead = holder.try_acquire(&request("dead")).await.unwrap().expect("free");
    let begin = Instant::now();
    let _next = soon(waiting(&other, "next")).await.unwrap();
    assert!(begin.elapsed() < ttl * 2, "{:?}", begin.elapsed());
    let mut denied = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let GovernorEvent::PermissionDenied { what } = event {
            denied.push(what);
        }
    }
    let consumer: Vec<_> = denied.iter().filter(|what| what.contains("CONSUMER.CREATE")).collect();
    assert_eq!(consumer.len(), 1, "told once: {denied:?}");
    other.held().await.unwrap();
    assert_eq!(other.held().await.unwrap().len(), 1, "what is held is read one by one");
}

async fn connection_as(url: String) -> Connection {
    connect(&Settings::from_url(&url).expect("a url")).await.expect("the server answers")
}

#[tokio::test]
async fn followers_survive_restarts_and_new_streams() {
    let server = server("2.15.1").await;
    let here = connection(&server.url()).await;
    let ttl = Duration::from_secs(3);
    let pool = NativePool::create(&here, &config("T", 1, ttl)).await.unwrap();
    let other = NativePool::bind(&connection(&server.url()).await, "T").await.unwrap();
    let stream = pool.stream().to_owned();

    let _dead = pool.try_acquire(&request("dead")).await.unwrap().expect("free");
    let next = waiting(&other, "next");
    is_followed(&here, &stream, 1).await;
    let begin = Instant::now();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let next = soon(next).await.unwrap();
    assert!(begin.elapsed() < ttl + Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(other.release(&next).await.unwrap());

    // The stream is deleted and made anew while somebody follows it.
    let dead = pool.try_acquire(&request("dead")).await.unwrap().expect("free");
    let next = waiting(&other, "next");
    is_followed(&here, &stream, 1).await;
    pool.delete().await.unwrap();
    let again = NativePool::create(&here, &config("T", 1, ttl)).await.unwrap();
    let first = again.try_acquire(&request("first")).await.unwrap();
    let begin = Instant::now();
    let next = soon(next).await.unwrap();
    assert!(next.token() > dead.token());
    if let Some(first) = first {
        assert!(next.token() > first.token());
        assert!(begin.elapsed() > ttl - Duration::from_millis(100), "{:?}", begin.elapsed());
    }
    soon(async {
        while other.held().await.unwrap().iter().map(|held| held.id).collect::<Vec<_>>() != [next.id()] {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(stored(&here, &stream).await, 1);
}

#[tokio::test]
async fn a_stream_with_no_room_for_followers_is_used_without() {
    let here = shared().await;
    let name = unique("crowded");
    let ttl = Duration::from_secs(2);
    let pool = NativePool::create(&here, &config(&name, 1, ttl)).await.unwrap();
    let mut stored_config = info(&here, pool.stream()).await["config"].clone();
    stored_config["max_consumers"] = json!(1);
    pool.delete().await.unwrap();
    let made = api(&here, &format!("STREAM.CREATE.{}", pool.stream()), stored_config).await;
    assert!(made["error"].is_null(), "{made}");
    let consumer = json!({"stream_name": pool.stream(), "config": {"ack_policy": "none", "inactive_threshold": 60_000_000_000_u64}});
    let made = api(&here, &format!("CONSUMER.CREATE.{}", pool.stream()), consumer).await;
    assert!(made["error"].is_null(), "{made}");

    let pool = NativePool::bind(&here, &name).await.unwrap();
    let _dead = pool.try_acquire(&request("dead")).await.unwrap().expect("free");
    let begin = Instant::now();
    let _next = soon(waiting(&pool, "next")).await.unwrap();
    assert!(begin.elapsed() < ttl + Duration::from_secs(1), "{:?}", begin.elapsed());
}
