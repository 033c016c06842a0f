//! No slot is ever leaked: dropped attempts, lost answers, killed servers.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use sluicegate_core::{FencingToken, LeaseErrorKind, LeasePool, LeasePoolAdmin, Request};
use sluicegate_governor::{CampaignPool, GovernorEvent, NativePool, PoolOptions};
use sluicegate_nats::async_nats::Subscriber;
use sluicegate_testkit::server::{Direction, Fault, NatsServer, Proxy};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{
    LONG, SOON, api, config, connection, create_as_choria, info, overhear, request, server, settles_at,
    shared, soon, stored, unique, watched,
};

/// Attempts that are each dropped after some 50 to 200 µs; gives back what was granted in time.
async fn storm(pool: &(impl LeasePool + Clone), attempts: u64) {
    let mut workers = JoinSet::new();
    for n in 0..attempts {
        let pool = pool.clone();
        workers.spawn(async move {
            let request = request(&format!("storm {n}"));
            let patience = Duration::from_micros([50, 100, 200][n as usize % 3]);
            if let Ok(answer) = timeout(patience, pool.try_acquire(&request)).await
                && let Some(lease) = answer.expect("no error")
            {
                assert!(pool.release(&lease).await.expect("released"));
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.expect("no worker fails");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_dropped_attempts_leave_nothing() {
    let connection = shared().await;
    let (observer, mut events) = watched();
    let options = PoolOptions::default().observer(observer);
    let config = config(&unique("storm"), 600, LONG * 5);
    let pool = CampaignPool::create_with(&connection, &config, options).await.unwrap();
    storm(&pool, 500).await;
    pool.close(SOON).await.unwrap();
    assert_eq!(stored(&connection, pool.stream()).await, 0);

    let mut resolved = 0;
    while let Ok(event) = events.try_recv() {
        match event {
            GovernorEvent::Leaked { resolved: true } => resolved += 1,
            GovernorEvent::Leaked { resolved: false } => panic!("an attempt was given up"),
            _ => {}
        }
    }
    assert!(resolved > 100, "the storm did cut attempts off: {resolved}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_on_native_leases_leaves_nothing() {
    let connection = shared().await;
    let pool = NativePool::create(&connection, &config(&unique("storm"), 600, LONG * 5)).await.unwrap();
    storm(&pool, 500).await;
    pool.close(SOON).await.unwrap();
    assert_eq!(stored(&connection, pool.stream()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_handle_still_resolves_what_it_abandoned() {
    let connection = shared().await;
    let pool = CampaignPool::create(&connection, &config(&unique("gone"), 600, LONG * 5)).await.unwrap();
    let stream = pool.stream().to_owned();
    storm(&pool, 50).await;
    drop(pool);
    settles_at(&connection, &stream, 0).await;
}

#[tokio::test]
async fn a_closed_handle_takes_no_new_leases_and_releases_old_ones() {
    let connection = shared().await;
    let pool = CampaignPool::create(&connection, &config(&unique("closed"), 2, LONG)).await.unwrap();
    let lease = pool.try_acquire(&request("early")).await.unwrap().expect("free");
    pool.close(SOON).await.unwrap();
    let error = pool.try_acquire(&request("late")).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Closed, "{error}");
    assert!(pool.release(&lease).await.unwrap());
}

/// A pool whose requests go through a proxy, and a connection that goes around it.
async fn behind_a_proxy(
    server: &NatsServer,
    options: PoolOptions,
) -> (Proxy, CampaignPool, sluicegate_nats::Connection) {
    let proxy = Proxy::start(server.addr()).await.expect("a free port");
    let around = connection(&server.url()).await;
    let through = connection(&proxy.url()).await;
    let pool = CampaignPool::create_with(&through, &config("T", 3, LONG * 5), options).await;
    let pool = pool.expect("created");
    (proxy, pool, around)
}

/// Waits until an attempt was sent for the second time, under the same id: by then the first try is given up.
async fn repeated(seen: &mut Subscriber) {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let message = soon(seen.next()).await.expect("seen");
        let id =
            message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).map(ToString::to_string);
        ids.push(id.expect("has an id"));
    }
    assert_eq!(ids[0], ids[1], "the same attempt");
}

#[tokio::test]
async fn an_attempt_without_an_answer_is_repeated_under_its_id() {
    let server = server("2.15.1").await;
    let options = PoolOptions::default().request_timeout(Duration::from_millis(300));
    let (observer, mut events) = watched();
    let (proxy, pool, around) = behind_a_proxy(&server, options.observer(observer)).await;

    let mut seen = overhear(&server.url(), "$GOVERNOR.campaign.T").await;

    // The request arrives, the answer does not.
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let campaigning = tokio::spawn({
        let pool = pool.clone();
        async move { pool.try_acquire(&request("patient")).await }
    });
    repeated(&mut seen).await;
    proxy.set(Fault::Pass);
    let lease = soon(campaigning).await.unwrap().unwrap().expect("granted");
    assert_eq!(stored(&around, pool.stream()).await, 1, "one attempt, one slot");
    let GovernorEvent::Acquired { id, tries } = soon(events.recv()).await.expect("an event") else {
        panic!("acquired comes first");
    };
    assert_eq!(id, lease.id());
    assert!(tries > 1, "it was repeated");
    assert!(pool.release(&lease).await.unwrap());
    assert_eq!(stored(&around, pool.stream()).await, 0);
}

#[tokio::test]
async fn an_attempt_that_stays_unknown_is_said_so_and_resolved_later() {
    let server = server("2.15.1").await;
    let options = PoolOptions::default()
        .request_timeout(Duration::from_millis(100))
        .resolve_for(Duration::from_millis(400));
    let (proxy, pool, around) = behind_a_proxy(&server, options).await;
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let error = soon(pool.try_acquire(&request("unlucky"))).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unknown, "{error}");
    assert_eq!(stored(&around, pool.stream()).await, 1, "it did get a slot");
    proxy.set(Fault::Pass);
    settles_at(&around, pool.stream(), 0).await;
}

#[tokio::test]
async fn a_cut_connection_leaks_nothing() {
    let server = server("2.15.1").await;
    let options = PoolOptions::default().request_timeout(Duration::from_millis(300));
    let (proxy, pool, around) = behind_a_proxy(&server, options).await;
    for round in 0..10 {
        proxy.set_one_way(Direction::ToClient, Fault::Hold);
        let campaigning = tokio::spawn({
            let pool = pool.clone();
            async move { pool.try_acquire(&request(&format!("round {round}"))).await }
        });
        settles_at(&around, pool.stream(), 1).await;
        // The answer dies with the connection.
        proxy.set(Fault::Pass);
        proxy.reset();
        let lease = soon(campaigning).await.unwrap().unwrap().expect("granted");
        assert_eq!(stored(&around, pool.stream()).await, 1);
        assert!(pool.release(&lease).await.unwrap());
    }
    assert_eq!(stored(&around, pool.stream()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_leaves_nothing_of_dropped_attempts() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    let options = PoolOptions::default().request_timeout(Duration::from_millis(200));
    let pool = CampaignPool::create_with(&connection, &config("T", 100, LONG * 5), options).await.unwrap();
    for n in 0..5 {
        server.pause().unwrap();
        let mut dropped = JoinSet::new();
        for m in 0..10 {
            let pool = pool.clone();
            dropped.spawn(async move {
                let request = request(&format!("paused {n} {m}"));
                let answer = timeout(Duration::from_millis(100), pool.try_acquire(&request)).await;
                assert!(answer.is_err(), "a paused server does not answer");
            });
        }
        while let Some(worker) = dropped.join_next().await {
            worker.unwrap();
        }
        server.resume().unwrap();
    }
    pool.close(SOON).await.unwrap();
    assert_eq!(stored(&connection, pool.stream()).await, 0);
}

async fn survives_kills(pool: &impl LeasePool, server: &NatsServer, holder: &Request) {
    let mut kept = Vec::new();
    let mut last = FencingToken(0);
    for _ in 0..3 {
        let lease = soon(async {
            loop {
                match pool.try_acquire(holder).await {
                    Ok(lease) => break lease.expect("there is room"),
                    Err(error) => assert!(error.is_transient() || error.is_unknown(), "{error}"),
                }
            }
        })
        .await;
        assert!(lease.token() > last, "tokens grow over a restart");
        last = lease.token();
        kept.push(lease);
        server.kill().await.expect("killed");
        server.restart().await.expect("restarted");
    }
    let held = soon(async {
        loop {
            match pool.held().await {
                Ok(held) => break held,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    })
    .await;
    let ids: Vec<_> = held.iter().map(|lease| lease.id).collect();
    let expected: Vec<_> = kept.iter().map(|lease| lease.id()).collect();
    assert_eq!(ids, expected, "what is held survives, and nothing else is there");
    for lease in &kept {
        assert!(pool.release(lease).await.expect("released"));
    }
}

#[tokio::test]
async fn leases_and_sequence_survive_a_killed_server() {
    for version in ["2.10.26", "2.15.1"] {
        let server = server(version).await;
        let connection = connection(&server.url()).await;
        let pool = CampaignPool::create(&connection, &config("T", 5, LONG * 5)).await.unwrap();
        survives_kills(&pool, &server, &request("survivor")).await;
    }
}

#[tokio::test]
async fn native_leases_survive_a_killed_server() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    let pool = NativePool::create(&connection, &config("T", 5, LONG * 5)).await.unwrap();
    survives_kills(&pool, &server, &request("survivor")).await;
}

#[tokio::test]
async fn an_acknowledgement_of_a_slot_that_is_gone_is_not_taken_for_a_slot() {
    let server = server("2.15.1").await;
    let options = PoolOptions::default().request_timeout(Duration::from_millis(300));
    let (proxy, pool, around) = behind_a_proxy(&server, options).await;
    let mut seen = overhear(&server.url(), "$GOVERNOR.campaign.T").await;

    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let campaigning = tokio::spawn({
        let pool = pool.clone();
        async move { pool.try_acquire(&request("stale")).await }
    });
    repeated(&mut seen).await;
    // The server remembers the id, and answers with the number of a message that an operator has removed.
    let evicted = CampaignPool::bind(&around, "T").await.unwrap().reset().await.unwrap();
    assert_eq!(evicted, 1);
    proxy.set(Fault::Pass);
    let lease = soon(campaigning).await.unwrap().unwrap().expect("granted by another attempt");
    let held = pool.held().await.unwrap();
    assert_eq!(held.iter().map(|held| held.id).collect::<Vec<_>>(), [lease.id()], "held is what was granted");
}

#[tokio::test]
async fn an_attempt_whose_id_is_forgotten_is_found_by_looking() {
    let server = server("2.15.1").await;
    let around = connection(&server.url()).await;
    create_as_choria(&around, "T", 3, LONG * 5).await;
    let mut theirs = info(&around, "GOVERNOR_T").await["config"].clone();
    let window = Duration::from_secs(2);
    theirs["duplicate_window"] = json!(2_000_000_000_u64);
    let updated = api(&around, "STREAM.UPDATE.GOVERNOR_T", theirs).await;
    assert!(updated["error"].is_null(), "{updated}");

    let proxy = Proxy::start(server.addr()).await.unwrap();
    let through = connection(&proxy.url()).await;
    let options = PoolOptions::default()
        .request_timeout(Duration::from_millis(100))
        .resolve_for(Duration::from_millis(300));
    let pool = CampaignPool::bind_with(&through, "T", options).await.unwrap();
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let error = soon(pool.try_acquire(&request("forgotten"))).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unknown, "{error}");
    tokio::time::sleep(window * 2).await;
    assert_eq!(stored(&around, "GOVERNOR_T").await, 1, "no repetition became a second message");
    proxy.set(Fault::Pass);
    settles_at(&around, "GOVERNOR_T", 0).await;
}
