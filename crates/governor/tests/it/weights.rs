//! Native leases of several slots.

use std::time::Duration;

use serde_json::json;
use sluicegate_core::{Lease, LeaseErrorKind, LeasePool, LeasePoolAdmin, LossCause, Request};
use sluicegate_governor::{NativePool, PoolOptions};
use sluicegate_nats::Connection;
use sluicegate_testkit::server::{Direction, Fault, NatsServer, Proxy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    LONG, SOON, api, config, connection, info, request, server, settles_at, shared, slots, soon, stored,
    unique,
};

fn heavy(holder: &str, weight: u32) -> Request {
    request(holder).weight(slots(weight))
}

async fn take(pool: &NativePool, weight: u32) -> Lease {
    pool.try_acquire(&heavy("heavy", weight)).await.expect("an answer").expect("enough slots are free")
}

async fn several_slots_are_one_lease(connection: &Connection, name: &str) {
    let pool = NativePool::create(connection, &config(name, 5, LONG)).await.expect("an answer");
    let other = NativePool::bind(connection, name).await.expect("an answer");
    assert!(other.describe().await.expect("an answer").weighted);
    let lease = take(&pool, 3).await;
    assert_eq!(stored(connection, pool.stream()).await, 3);
    assert_eq!(other.try_acquire(&heavy("b", 3)).await.expect("an answer"), None, "two are left");
    let single = other.try_acquire(&request("c")).await.expect("an answer").expect("one of two");

    let held = other.held().await.expect("an answer");
    let seen: Vec<_> = held.iter().map(|lease| (lease.id, lease.token, lease.weight.get())).collect();
    assert_eq!(seen, [(lease.id(), lease.token(), 3), (single.id(), single.token(), 1)]);

    let renewed = pool.renew(&lease).await.expect("an answer");
    assert_eq!(renewed.id(), lease.id());
    assert!(renewed.token() > single.token() && renewed.deadline() > lease.deadline());
    let held = other.held().await.expect("an answer");
    assert_eq!((held[0].id, held[0].token, held[0].weight.get()), (lease.id(), renewed.token(), 3));
    assert_eq!((held.len(), held[0].holder.to_string()), (2, "heavy".to_owned()));

    assert!(pool.release(&renewed).await.expect("an answer"));
    assert!(!pool.release(&renewed).await.expect("an answer"));
    assert_eq!(stored(connection, pool.stream()).await, 1, "the other's slot stays");
    assert_eq!(pool.renew(&renewed).await.expect_err("refused").kind(), LeaseErrorKind::Lost);
    let again = take(&pool, 4).await;
    assert!(again.id() > renewed.id() && again.token() > renewed.token());
}

#[tokio::test]
async fn several_slots_are_one_lease_on_both_servers() {
    several_slots_are_one_lease(&shared().await, &unique("several")).await;
    let server = server("2.12.8").await;
    several_slots_are_one_lease(&connection(&server.url()).await, "several").await;
}

#[tokio::test]
async fn a_server_without_batches_grants_one_slot_at_a_time_and_says_so() {
    let server = server("2.11.11").await;
    let connection = connection(&server.url()).await;
    let pool = NativePool::create(&connection, &config("T", 5, LONG)).await.unwrap();
    assert!(!pool.describe().await.unwrap().weighted);
    let error = pool.try_acquire(&heavy("a", 2)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("2.11.11"), "{error}");
    assert_eq!(stored(&connection, pool.stream()).await, 0);
    assert!(pool.try_acquire(&request("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_stream_from_before_batches_is_used_as_it_is_until_it_allows_them() {
    let connection = shared().await;
    let name = unique("before");
    let new = NativePool::create(&connection, &config(&name, 5, LONG)).await.unwrap();
    let stream = new.stream().to_owned();
    let mut stored_config = info(&connection, &stream).await["config"].clone();
    new.delete().await.unwrap();
    stored_config["allow_atomic"] = json!(false);
    let made = api(&connection, &format!("STREAM.CREATE.{stream}"), stored_config.clone()).await;
    assert!(made["error"].is_null(), "{made}");

    let pool = NativePool::create(&connection, &config(&name, 5, LONG)).await.unwrap();
    assert!(!pool.describe().await.unwrap().weighted);
    let error = pool.try_acquire(&heavy("a", 2)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unsupported, "{error}");
    stored_config["allow_atomic"] = json!(true);
    let changed = api(&connection, &format!("STREAM.UPDATE.{stream}"), stored_config.clone()).await;
    assert!(changed["error"].is_null(), "{changed}");
    let lease = take(&pool, 2).await;

    // Switched off again behind our back: an error, not "full".
    stored_config["allow_atomic"] = json!(false);
    api(&connection, &format!("STREAM.UPDATE.{stream}"), stored_config).await;
    let error = pool.try_acquire(&heavy("a", 2)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unsupported, "{error}");
    assert!(pool.release(&lease).await.unwrap());
}

#[tokio::test]
async fn more_than_the_limit_is_invalid_also_where_another_process_changed_it() {
    let connection = shared().await;
    let name = unique("above");
    let pool = NativePool::create(&connection, &config(&name, 2, LONG)).await.unwrap();
    let error = pool.try_acquire(&heavy("a", 3)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");
    let mut config = info(&connection, pool.stream()).await["config"].clone();
    config["max_msgs"] = json!(3);
    api(&connection, &format!("STREAM.UPDATE.{}", pool.stream()), config).await;
    assert_eq!(take(&pool, 3).await.weight(), slots(3));
}

#[tokio::test]
async fn one_slot_lost_is_the_lease_lost_and_the_others_are_free() {
    let connection = shared().await;
    let pool = NativePool::create(&connection, &config(&unique("part"), 4, LONG / 10)).await.unwrap();
    let delete = format!("STREAM.MSG.DELETE.{}", pool.stream());
    let lease = take(&pool, 3).await;
    let second = lease.id().0 + 1;
    api(&connection, &delete, json!({"seq": second, "no_erase": true})).await;
    assert_eq!(soon(pool.lost(&lease)).await, LossCause::Gone);
    assert!(!pool.release(&lease).await.unwrap());
    pool.reset().await.unwrap();

    let lease = take(&pool, 3).await;
    let renewed = pool.renew(&lease).await.unwrap();
    api(&connection, &delete, json!({"seq": renewed.token().0, "no_erase": true})).await;
    assert_eq!(pool.renew(&renewed).await.unwrap_err().kind(), LeaseErrorKind::Lost);
    assert_eq!(stored(&connection, pool.stream()).await, 0);
    let _ = take(&pool, 4).await;
}

#[tokio::test]
async fn an_eviction_takes_all_slots() {
    let connection = shared().await;
    let pool = NativePool::create(&connection, &config(&unique("evict"), 4, LONG)).await.unwrap();
    let lease = take(&pool, 3).await;
    let evicted = pool.evict(lease.id()).await.unwrap().expect("was held");
    assert_eq!((evicted.id, evicted.weight), (lease.id(), slots(3)));
    assert_eq!(soon(pool.lost(&lease)).await, LossCause::Evicted);
    assert_eq!(stored(&connection, pool.stream()).await, 0);
    assert_eq!(pool.evict(lease.id()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_attempts_for_several_slots_leave_nothing() {
    let connection = shared().await;
    let pool = NativePool::create(&connection, &config(&unique("storm"), 600, LONG * 5)).await.unwrap();
    let mut workers = JoinSet::new();
    for n in 0..300_u64 {
        let pool = pool.clone();
        workers.spawn(async move {
            let patience = Duration::from_micros([50, 100, 200, 400, 2000][n as usize % 5]);
            let request = heavy(&format!("storm {n}"), 2 + n as u32 % 3);
            match timeout(patience, pool.try_acquire(&request)).await {
                Ok(granted) => {
                    let lease = granted.expect("no error");
                    if let Some(lease) = lease {
                        assert!(pool.release(&lease).await.expect("released"));
                    }
                    false
                }
                Err(_) => true,
            }
        });
    }
    let mut dropped = 0;
    while let Some(was_dropped) = workers.join_next().await {
        dropped += u32::from(was_dropped.expect("no worker fails"));
    }
    assert!(dropped > 50, "the storm did cut attempts off: {dropped}");
    pool.close(SOON).await.unwrap();
    assert_eq!(stored(&connection, pool.stream()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_the_limit_whatever_the_weights() {
    let connection = shared().await;
    let name = unique("limit");
    let pool = NativePool::create(&connection, &config(&name, 5, LONG)).await.unwrap();
    let used = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let mut workers = JoinSet::new();
    for n in 0..12_u32 {
        let pool = NativePool::bind(&connection, &name).await.unwrap();
        let used = std::sync::Arc::clone(&used);
        workers.spawn(async move {
            let (mut turns, weight) = (0, 1 + n % 4);
            let begin = Instant::now();
            while turns < 10 && begin.elapsed() < SOON {
                if let Some(lease) = pool.try_acquire(&heavy("w", weight)).await.expect("an answer") {
                    let now = used.fetch_add(weight, std::sync::atomic::Ordering::SeqCst) + weight;
                    assert!(now <= 5, "{now} slots in use");
                    tokio::task::yield_now().await;
                    used.fetch_sub(weight, std::sync::atomic::Ordering::SeqCst);
                    assert!(pool.release(&lease).await.expect("released"));
                    turns += 1;
                }
            }
            turns
        });
    }
    let mut turns = 0;
    while let Some(worker) = workers.join_next().await {
        turns += worker.expect("no worker fails");
    }
    assert!(turns >= 60, "most got their turns: {turns}");
    assert_eq!(stored(&connection, pool.stream()).await, 0);
}

async fn behind_a_proxy(server: &NatsServer) -> (Proxy, NativePool, Connection) {
    let proxy = Proxy::start(server.addr()).await.expect("a free port");
    let around = connection(&server.url()).await;
    let through = connection(&proxy.url()).await;
    let options = PoolOptions::default().request_timeout(Duration::from_millis(300));
    let pool = NativePool::create_with(&through, &config("T", 5, LONG), options).await.expect("created");
    (proxy, pool, around)
}

#[tokio::test]
async fn a_batch_without_an_answer_is_found_again() {
    for version in ["2.15.1", "2.12.8"] {
        let server = server(version).await;
        let (proxy, pool, around) = behind_a_proxy(&server).await;
        proxy.set_one_way(Direction::ToClient, Fault::Hold);
        let acquiring = tokio::spawn({
            let pool = pool.clone();
            async move { take(&pool, 3).await }
        });
        settles_at(&around, pool.stream(), 3).await;
        // The first try is given up, and another one made.
        sleep(Duration::from_millis(400)).await;
        proxy.set(Fault::Pass);
        let lease = soon(acquiring).await.unwrap();
        assert_eq!(stored(&around, pool.stream()).await, 3, "stored once");
        let held = pool.held().await.unwrap();
        assert_eq!((held[0].id, held[0].token), (lease.id(), lease.token()));
        let renewed = pool.renew(&lease).await.unwrap();

        // Dropped in the middle: the handle gives it back by itself.
        assert!(pool.release(&renewed).await.unwrap());
        proxy.set_one_way(Direction::ToClient, Fault::Hold);
        let request = heavy("dropped", 4);
        assert!(timeout(Duration::from_millis(100), pool.try_acquire(&request)).await.is_err());
        settles_at(&around, pool.stream(), 4).await;
        proxy.set(Fault::Pass);
        settles_at(&around, pool.stream(), 0).await;
    }
}

#[tokio::test]
async fn a_batch_cut_off_in_the_middle_is_all_or_nothing() {
    let server = server("2.15.1").await;
    let (proxy, pool, around) = behind_a_proxy(&server).await;
    let mut landed = 0;
    for bytes in (100..1500).step_by(175) {
        proxy.set_one_way(Direction::ToServer, Fault::CutAfter(bytes));
        let acquiring = tokio::spawn({
            let pool = pool.clone();
            async move { pool.try_acquire(&heavy("cut", 4)).await }
        });
        soon(async {
            while proxy.connections() > 0 && !acquiring.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        proxy.set(Fault::Pass);
        match soon(acquiring).await.unwrap() {
            Ok(Some(lease)) => {
                assert_eq!(stored(&around, pool.stream()).await, 4, "after {bytes} bytes");
                assert!(pool.release(&lease).await.unwrap());
                landed += 1;
            }
            Ok(None) => panic!("all slots were free"),
            Err(error) => assert!(error.is_transient() || error.is_unknown(), "{error}"),
        }
        settles_at(&around, pool.stream(), 0).await;
    }
    assert!(landed > 0, "attempts survive a lost connection");
    pool.close(SOON).await.unwrap();
    assert_eq!(stored(&around, pool.stream()).await, 0);
}

#[tokio::test]
async fn renewals_cut_off_in_the_middle_are_taken_up_again() {
    let server = server("2.15.1").await;
    let (proxy, pool, around) = behind_a_proxy(&server).await;
    let first = take(&pool, 4).await;
    let mut lease = first.clone();
    for bytes in [100, 250, 400, 600] {
        proxy.set_one_way(Direction::ToServer, Fault::CutAfter(bytes));
        let renewing = tokio::spawn({
            let (pool, lease) = (pool.clone(), lease.clone());
            async move { pool.renew(&lease).await }
        });
        soon(async {
            while proxy.connections() > 0 && !renewing.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        proxy.set(Fault::Pass);
        let mut answer = soon(renewing).await.unwrap();
        lease = soon(async {
            loop {
                match answer {
                    Ok(renewed) => break renewed,
                    Err(error) => assert!(error.is_transient() || error.is_unknown(), "{error}"),
                }
                answer = pool.renew(&lease).await;
            }
        })
        .await;
        assert_eq!(stored(&around, pool.stream()).await, 4, "after {bytes} bytes");
    }
    assert!(lease.token() > first.token());
    assert!(pool.release(&lease).await.unwrap());
    assert_eq!(stored(&around, pool.stream()).await, 0);
}

#[tokio::test]
async fn several_slots_pass_a_restart_of_the_server() {
    for version in ["2.15.1", "2.12.8"] {
        let server = server(version).await;
        let connection = connection(&server.url()).await;
        let pool = NativePool::create(&connection, &config("T", 5, LONG)).await.unwrap();
        let mut lease = take(&pool, 5).await;
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        lease = soon(async {
            loop {
                match pool.renew(&lease).await {
                    Ok(renewed) => break renewed,
                    Err(error) => assert!(error.is_transient() || error.is_unknown(), "{error}"),
                }
            }
        })
        .await;
        assert_eq!(stored(&connection, pool.stream()).await, 5);
        assert_eq!(pool.held().await.unwrap()[0].weight, slots(5));
        assert!(pool.release(&lease).await.unwrap());
    }
}
