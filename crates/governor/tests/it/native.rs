//! What only native leases can do.

use std::time::Duration;

use futures::StreamExt;
use sluicegate_core::{LeaseErrorKind, LeasePool, LeasePoolAdmin, LeasePoolExt, LossCause};
use sluicegate_governor::{NativePool, PoolOptions};
use sluicegate_testkit::server::{Direction, Fault, Proxy};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    LONG, config, connection, overhear, request, server, settles_at, shared, slots, soon, stored, unique,
};

#[tokio::test]
async fn a_lease_that_is_not_renewed_is_lost_and_its_slot_free() {
    let connection = shared().await;
    let ttl = Duration::from_secs(1);
    let pool = NativePool::create(&connection, &config(&unique("lost"), 1, ttl)).await.unwrap();
    let begin = Instant::now();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    settles_at(&connection, pool.stream(), 0).await;
    assert!(begin.elapsed() >= ttl, "not before its time: {:?}", begin.elapsed());
    let error = pool.renew(&lease).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Lost, "{error}");
    assert_eq!(
        stored(&connection, pool.stream()).await,
        0,
        "a late renewal takes no slot, though one is free"
    );
    assert!(!pool.release(&lease).await.unwrap());
}

#[tokio::test]
async fn kept_renewed_a_lease_outlasts_its_ttl_and_ends_with_an_eviction() {
    let connection = shared().await;
    let ttl = Duration::from_secs(2);
    let name = unique("kept");
    let pool = NativePool::create(&connection, &config(&name, 1, ttl)).await.unwrap();
    let admin = NativePool::bind(&connection, &name).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let (current, mut newest) = watch::channel(lease.clone());
    let keeping = tokio::spawn({
        let pool = pool.clone();
        async move { pool.keep_renewed(&current).await }
    });
    let begin = Instant::now();
    while begin.elapsed() < ttl * 2 {
        assert!(
            admin.try_acquire(&request("intruder")).await.unwrap().is_none(),
            "after {:?}",
            begin.elapsed()
        );
        soon(newest.changed()).await.unwrap();
    }
    let held = admin.held().await.unwrap();
    assert_eq!((held[0].id, held.len()), (lease.id(), 1));
    assert!(held[0].token > lease.token());
    assert_eq!(admin.evict(lease.id()).await.unwrap().expect("was held").id, lease.id());
    assert_eq!(soon(keeping).await.unwrap(), LossCause::Evicted);
}

#[tokio::test]
async fn a_renewal_without_an_answer_is_resolved() {
    let server = server("2.15.1").await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let around = connection(&server.url()).await;
    let through = connection(&proxy.url()).await;
    let options = PoolOptions::default().request_timeout(Duration::from_millis(200));
    let pool = NativePool::create_with(&through, &config("T", 1, LONG), options).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");

    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let begin = Instant::now();
    let renewing = tokio::spawn({
        let (pool, lease) = (pool.clone(), lease.clone());
        async move { pool.renew(&lease).await }
    });
    let newest = || async { NativePool::bind(&around, "T").await.unwrap().held().await.unwrap()[0].token };
    soon(async {
        while newest().await == lease.token() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // It has landed, and the holder has to find that out.
    sleep(Duration::from_millis(300)).await;
    proxy.set(Fault::Pass);
    let renewed = soon(renewing).await.unwrap().unwrap();
    assert_eq!(renewed.id(), lease.id());
    assert_eq!(renewed.token(), newest().await, "the newest message is ours");
    assert!(renewed.deadline() > lease.deadline());
    assert!(
        renewed.deadline() <= begin + LONG + Duration::from_secs(1),
        "counted from the first send at the latest"
    );

    // A renewal that is dropped, and lands: the release finds what it left.
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let dropped = timeout(Duration::from_millis(100), pool.renew(&renewed)).await;
    assert!(dropped.is_err());
    soon(async {
        while newest().await == renewed.token() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    proxy.set(Fault::Pass);
    assert!(soon(pool.release(&renewed)).await.unwrap());
    assert_eq!(stored(&around, pool.stream()).await, 0);
}

#[tokio::test]
async fn a_release_finds_what_a_renewal_left_though_both_went_unanswered() {
    let server = server("2.15.1").await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let around = connection(&server.url()).await;
    let through = connection(&proxy.url()).await;
    let options =
        PoolOptions::default().request_timeout(Duration::from_millis(200)).resolve_for(Duration::MAX);
    let pool = NativePool::create_with(&through, &config("T", 1, LONG), options).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let deletions = format!("$JS.API.STREAM.MSG.DELETE.{}", pool.stream());
    let mut deletions = overhear(&server.url(), &deletions).await;

    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    assert!(timeout(Duration::from_millis(100), pool.renew(&lease)).await.is_err());
    let releasing = tokio::spawn({
        let (pool, lease) = (pool.clone(), lease.clone());
        async move { pool.release(&lease).await }
    });
    // Once it is asked again the first answer, which was "gone", has come too late.
    for _ in 0..2 {
        soon(deletions.next()).await.expect("seen");
    }
    proxy.set(Fault::Pass);
    assert!(soon(releasing).await.unwrap().unwrap());
    assert_eq!(stored(&around, pool.stream()).await, 0, "the newer message is gone too");
}

#[tokio::test]
async fn renewals_pass_a_restart_of_the_server() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    let pool = NativePool::create(&connection, &config("T", 2, Duration::from_secs(10))).await.unwrap();
    let first = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let mut lease = first.clone();
    for _ in 0..3 {
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
    }
    assert!(lease.token() > first.token());
    assert_eq!(lease.id(), first.id());
    assert!(pool.release(&lease).await.unwrap());
}

#[tokio::test]
async fn a_lowered_limit_refuses_no_renewal() {
    let connection = shared().await;
    let pool = NativePool::create(&connection, &config(&unique("over"), 3, LONG)).await.unwrap();
    let mut leases = Vec::new();
    for n in 0..3 {
        leases.push(pool.try_acquire(&request(&format!("{n}"))).await.unwrap().expect("free"));
    }
    pool.resize(slots(1)).await.unwrap();
    for lease in &leases {
        let renewed = pool.renew(lease).await.unwrap();
        assert!(pool.try_acquire(&request("intruder")).await.unwrap().is_none());
        assert_eq!(renewed.id(), lease.id());
    }
    assert_eq!(pool.held().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_changed_ttl_holds_from_the_next_renewal_on() {
    let connection = shared().await;
    let pool = NativePool::create(&connection, &config(&unique("ttl"), 1, LONG)).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    pool.set_ttl(Duration::from_secs(5)).await.unwrap();
    assert!(timeout(Duration::from_millis(100), pool.lost(&lease)).await.is_err(), "it was promised longer");
    let renewed = pool.renew(&lease).await.unwrap();
    assert!(renewed.remaining() <= Duration::from_secs(5));
}

#[tokio::test]
async fn a_lost_lease_stays_lost() {
    let connection = shared().await;
    let pool = NativePool::create(&connection, &config(&unique("reset"), 3, LONG)).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    pool.reset().await.unwrap();
    assert_eq!(soon(pool.lost(&lease)).await, LossCause::Reset);
    assert_eq!(pool.renew(&lease).await.unwrap_err().kind(), LeaseErrorKind::Lost);
}
