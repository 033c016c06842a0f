//! Native leases on three replicas.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use sluicegate_core::{LeaseError, LeasePool};
use sluicegate_governor::NativePool;
use sluicegate_nats::Connection;
use sluicegate_testkit::server::Cluster;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{LONG, api, config, connection, info, request, settles_at, slots, soon};

const LIMIT: u32 = 5;
const THREE: NonZeroU8 = NonZeroU8::new(3).unwrap();

/// Until the answer is one.
async fn patiently<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, LeaseError>>,
{
    loop {
        match call().await {
            Err(error) if error.is_transient() || error.is_unknown() => {
                sleep(Duration::from_millis(20)).await
            }
            other => return other.expect("an answer in the end"),
        }
    }
}

/// Takes and gives back leases of several slots until told to stop; how many.
async fn work(pool: NativePool, weight: u32, used: Arc<AtomicU32>, stop: Arc<AtomicBool>) -> u32 {
    let request = request("worker").weight(slots(weight));
    let mut turns = 0;
    while !stop.load(Ordering::SeqCst) {
        let lease = match pool.try_acquire(&request).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                sleep(Duration::from_millis(2)).await;
                continue;
            }
            Err(error) => {
                assert!(error.is_transient() || error.is_unknown(), "{error}");
                continue;
            }
        };
        let now = used.fetch_add(weight, Ordering::SeqCst) + weight;
        assert!(now <= LIMIT, "{now} slots in use");
        let renewed = pool.renew(&lease).await;
        let lease = renewed.unwrap_or_else(|error| {
            assert!(error.is_transient() || error.is_unknown(), "{error}");
            lease
        });
        used.fetch_sub(weight, Ordering::SeqCst);
        patiently(|| pool.release(&lease)).await;
        turns += 1;
    }
    turns
}

async fn leader(connection: &Connection, stream: &str) -> Option<String> {
    let info = info(connection, stream).await;
    info["cluster"]["leader"].as_str().filter(|leader| !leader.is_empty()).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_slots_are_all_or_nothing_under_changing_leaders() {
    let cluster = Cluster::start(3).await.expect("a cluster");
    let nodes = cluster.nodes();
    let here = connection(&nodes[0].url()).await;
    let governor = config("T", LIMIT, LONG * 2).replicas(THREE);
    let pool = soon(patiently(|| NativePool::create(&here, &governor))).await;
    assert!(soon(patiently(|| pool.describe())).await.weighted);
    let (used, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (mut workers, mut pools) = (JoinSet::new(), Vec::new());
    for n in 0..6 {
        let there = connection(&nodes[n % nodes.len()].url()).await;
        let pool = soon(patiently(|| NativePool::bind(&there, "T"))).await;
        pools.push(pool.clone());
        workers.spawn(work(pool, 1 + n as u32 % 3, Arc::clone(&used), Arc::clone(&stop)));
    }
    let stepdown = format!("STREAM.LEADER.STEPDOWN.{}", pool.stream());
    let mut changes = 0;
    for _ in 0..5 {
        sleep(Duration::from_millis(700)).await;
        let answer = api(&here, &stepdown, Value::Null).await;
        changes += u32::from(answer["success"] == true);
    }
    assert!(changes > 0, "leadership was moved");
    sleep(Duration::from_millis(500)).await;
    // And once the hard way.
    let led = soon(async {
        loop {
            if let Some(leader) = leader(&here, pool.stream()).await {
                break leader;
            }
        }
    })
    .await;
    println!("{changes} leaders stepped down, {led} is killed");
    let victim = cluster.node(&led).expect("a node leads");
    victim.kill().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    victim.restart().await.unwrap();
    sleep(Duration::from_secs(8)).await;
    stop.store(true, Ordering::SeqCst);
    let mut turns = Vec::new();
    while let Some(worker) = workers.join_next().await {
        turns.push(worker.expect("no worker fails"));
    }
    println!("turns: {turns:?}");
    assert!(turns.iter().sum::<u32>() > 50, "the work went on: {turns:?}");
    for pool in &pools {
        pool.close(LONG).await.expect("all attempts are resolved");
    }
    settles_at(&here, pool.stream(), 0).await;
}
