//! Several replicas, one of which orders.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use sluicegate_autoscaler::{
    Advice, InstanceContext, Phase, Policy, Reason, Running, ScalerErrorKind, Snapshot, Tasks,
};
use sluicegate_core::{Holder, LeasePool, LeasePoolAdmin, MemoryPool};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::world::{World, until};

const TTL: Duration = Duration::from_secs(10);

fn replica(world: &World, pool: &MemoryPool, name: &str) -> (Running, CancellationToken) {
    let token = CancellationToken::new();
    let builder = world.scaler().leader(Arc::new(pool.handle()), Holder::try_new(name).unwrap());
    (builder.build().unwrap().start(token.clone()), token)
}

async fn leads(running: &Running) {
    until(running, "leadership", |status| status.leader.is_some() && status.phase == Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_orders_and_its_successor_goes_on() {
    let world = World::new(500.0, Duration::from_secs(1), 1, |_| 1900.0);
    let pool = MemoryPool::new(NonZeroU32::MIN, TTL);
    let (first, first_token) = replica(&world, &pool, "first");
    leads(&first).await;
    let (second, second_token) = replica(&world, &pool, "second");
    until(&first, "a fleet", |status| status.fleet.ready >= 4).await;
    sleep(Duration::from_secs(60)).await;
    let standby = second.status().borrow().clone();
    assert_eq!((standby.phase, standby.leader), (Phase::Standby, None));
    assert_eq!(second.decisions(), []);
    assert!(standby.looks > 30, "a standby looks all the time");
    let target = first.status().borrow().target;

    first_token.cancel();
    first.join().await.unwrap();
    leads(&second).await;
    until(&second, "the order repeated", |_| world.orders().len() > 1).await;
    assert_eq!(second.status().borrow().target, target, "the fleet was adopted");
    let fences: Vec<_> = world.orders().iter().map(|order| order.fence).collect();
    assert!(fences.iter().all(Option::is_some) && fences.is_sorted(), "{fences:?}");
    assert_eq!(world.orders().last().unwrap().target, target, "ordered again under the new token");
    second_token.cancel();
    second.join().await.unwrap();
    assert_eq!(pool.held().await.unwrap(), [], "the slot was given back");
}

#[tokio::test(start_paused = true)]
async fn an_evicted_leader_orders_nothing_more() {
    let world = World::new(500.0, Duration::from_secs(1), 1, |_| 900.0);
    let pool = MemoryPool::new(NonZeroU32::MIN, TTL);
    let (first, first_token) = replica(&world, &pool, "first");
    leads(&first).await;
    let (second, second_token) = replica(&world, &pool, "second");
    until(&first, "a fleet", |status| status.fleet.ready == 2).await;
    for _ in 0..6 {
        sleep(Duration::from_secs(5)).await;
        pool.evict(pool.held().await.unwrap()[0].id).await.unwrap();
    }
    sleep(TTL).await;
    let fences: Vec<_> = world.orders().iter().map(|order| order.fence).collect();
    assert!(fences.is_sorted(), "terms interleave: {fences:?}");
    for (running, token) in [(first, first_token), (second, second_token)] {
        token.cancel();
        running.join().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn local_instances_of_a_lost_leader_drain() {
    let world = World::new(500.0, Duration::from_secs(1), 1, |_| 0.0);
    world.stick(1);
    let pool = MemoryPool::new(NonZeroU32::MIN, TTL);
    let alive = Arc::new(AtomicU32::new(0));
    let mut replicas = Vec::new();
    for name in ["first", "second"] {
        let alive = Arc::clone(&alive);
        let tasks = Tasks::new(move |cx: InstanceContext| {
            let alive = Arc::clone(&alive);
            async move {
                alive.fetch_add(1, Ordering::Relaxed);
                cx.draining().await;
                alive.fetch_sub(1, Ordering::Relaxed);
            }
        });
        let token = CancellationToken::new();
        let scaler = sluicegate_autoscaler::Autoscaler::builder(world.clone())
            .provisioner(tasks)
            .limits(0..=5)
            .leader(Arc::new(pool.handle()), Holder::try_new(name).unwrap());
        let running = scaler.build().unwrap().start(token.clone());
        if name == "first" {
            leads(&running).await;
            until(&running, "an instance", |status| status.fleet.ready == 1).await;
        }
        replicas.push((running, token));
    }
    let (first, second) = (&replicas[0].0, &replicas[1].0);
    // Evicted for as long as it takes the other one to get the slot.
    while second.status().borrow().leader.is_none() {
        if let Some(held) = pool.held().await.unwrap().first() {
            pool.evict(held.id).await.unwrap();
        }
        sleep(Duration::from_millis(100)).await;
    }
    until(second, "its own instance", |status| status.fleet.ready == 1).await;
    until(first, "drained", |status| status.fleet.is_empty()).await;
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    for (running, token) in replicas {
        token.cancel();
        running.join().await.unwrap();
    }
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_renew_leads_with_gaps() {
    let world = World::new(500.0, Duration::from_secs(1), 1, |t| if t < 60.0 { 0.0 } else { 1900.0 });
    let pool = MemoryPool::builder(NonZeroU32::MIN, TTL).renewable(false).build();
    let (running, token) = replica(&world, &pool, "only");
    leads(&running).await;
    let first = running.status().borrow().leader;
    until(&running, "a later term", |status| status.leader > first).await;
    until(&running, "a fleet", |status| status.fleet.ready >= 4).await;
    let fences: Vec<_> = world.orders().iter().map(|order| order.fence).collect();
    assert!(fences.is_sorted(), "{fences:?}");
    token.cancel();
    running.join().await.unwrap();
}

/// Panics once it is asked to.
#[derive(Debug)]
struct Nervous(Arc<AtomicBool>);

impl Policy for Nervous {
    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Advice {
        assert!(!self.0.load(Ordering::Relaxed), "asked to panic");
        Advice::new(0, Reason::Nothing, snapshot)
    }

    fn fork(&self) -> Box<dyn Policy> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_panicked_leads_no_more() {
    let world = World::new(500.0, Duration::from_secs(1), 1, |_| 900.0);
    let pool = MemoryPool::new(NonZeroU32::MIN, TTL);
    let panics = Arc::new(AtomicBool::new(false));
    let first = world
        .scaler()
        .policy(Nervous(Arc::clone(&panics)))
        .leader(Arc::new(pool.handle()), Holder::try_new("first").unwrap())
        .build()
        .unwrap()
        .start(CancellationToken::new());
    leads(&first).await;
    let (second, token) = replica(&world, &pool, "second");
    panics.store(true, Ordering::Relaxed);
    assert_eq!(first.join().await.unwrap_err().kind(), ScalerErrorKind::Unavailable);
    timeout(TTL, leads(&second)).await.unwrap();
    token.cancel();
    second.join().await.unwrap();
}
