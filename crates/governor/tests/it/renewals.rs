//! Native leases that are kept renewed, through faults.

use std::time::Duration;

use sluicegate_core::{LeasePool, LeasePoolExt, LossCause, Wait};
use sluicegate_governor::{GovernorEvent, NativePool, PoolOptions};
use sluicegate_testkit::server::{Fault, Proxy};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{LONG, config, connection, request, server, soon, stored, watched};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lease_is_kept_over_restarts_of_the_server() {
    for version in ["2.15.1", "2.12.8", "2.11.11"] {
        let server = server(version).await;
        let here = connection(&server.url()).await;
        let ttl = Duration::from_secs(3);
        let pool = NativePool::create(&here, &config("T", 12, ttl)).await.unwrap();
        let (mut keepers, mut leases) = (JoinSet::new(), Vec::new());
        for n in 0..12 {
            let lease = pool.try_acquire(&request(&format!("{n}"))).await.unwrap().expect("free");
            let (current, newest) = watch::channel(lease.clone());
            leases.push((lease, newest));
            let pool = pool.clone();
            keepers.spawn(async move { pool.keep_renewed(&current).await });
            // Their renewals come at all times.
            sleep(ttl / 36).await;
        }
        let mut down = Vec::new();
        for _ in 0..4 {
            sleep(ttl / 3).await;
            let begin = Instant::now();
            server.kill().await.unwrap();
            sleep(Duration::from_millis(300)).await;
            server.restart().await.unwrap();
            down.push(begin.elapsed());
        }
        assert!(down.iter().all(|down| *down < ttl / 2), "this machine is too slow for this test: {down:?}");
        sleep(ttl).await;
        assert!(keepers.try_join_next().is_none(), "no lease is lost on {version}");
        assert_eq!(stored(&here, pool.stream()).await, 12);
        for (lease, newest) in &leases {
            let newest = newest.borrow();
            assert!(newest.id() == lease.id() && newest.token() > lease.token());
            assert!(newest.deadline() > Instant::now(), "still held");
        }
    }
}

#[tokio::test]
async fn who_is_cut_off_knows_before_another_may_have_the_slot() {
    let server = server("2.15.1").await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let ttl = Duration::from_secs(2);
    let (observer, mut events) = watched();
    let options = PoolOptions::default().observer(observer);
    let through = connection(&proxy.url()).await;
    let pool = NativePool::create_with(&through, &config("T", 1, ttl), options).await.unwrap();
    let other = NativePool::bind(&connection(&server.url()).await, "T").await.unwrap();
    let lease = pool.try_acquire(&request("cut off")).await.unwrap().expect("free");
    let (current, mut newest) = watch::channel(lease);
    let keeping = tokio::spawn({
        let pool = pool.clone();
        async move { (pool.keep_renewed(&current).await, current) }
    });
    soon(newest.changed()).await.unwrap();

    proxy.set(Fault::Hold);
    let waiting = tokio::spawn(async move { other.acquire(&request("next"), &Wait::new()).await });
    let (cause, current) = soon(keeping).await.unwrap();
    let ended = Instant::now();
    let lost = current.borrow().clone();
    assert_eq!(cause, LossCause::Expired);
    assert!(ended < lost.deadline() + LONG / 60, "told at the deadline");
    let granted = soon(waiting).await.unwrap().unwrap().expect("without end");
    let asked = granted.deadline() - ttl.mul_f64(0.999);
    assert!(lost.deadline() < asked, "over before anybody else could ask with success");
    assert!(granted.token() > lost.token());

    let mut missed = 0;
    while let Ok(event) = events.try_recv() {
        if let GovernorEvent::RenewalsMissed { id, deadline } = event {
            assert_eq!((id, deadline), (lost.id(), lost.deadline()));
            missed += 1;
        }
    }
    assert_eq!(missed, 1, "told once that renewals are missed");
    // What the old connection carried arrives now, and is refused.
    proxy.set(Fault::Pass);
    assert!(!soon(pool.release(&lost)).await.unwrap());
    let held = pool.held().await.unwrap();
    assert_eq!((held.len(), held[0].id, held[0].token), (1, granted.id(), granted.token()));
}
