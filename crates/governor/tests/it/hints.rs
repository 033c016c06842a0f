//! Waiters wake when a slot becomes free, long before they would ask by themselves.

use std::time::Duration;

use sluicegate_core::{LeasePool, LeasePoolAdmin};
use sluicegate_governor::{CampaignPool, NativePool};
use tokio::time::Instant;

use crate::support::{LONG, config, create_as_choria, request, shared, slots, soon, standing, unique, wait};

#[tokio::test]
async fn a_release_through_another_handle_of_this_process_wakes_a_waiter() {
    let connection = shared().await;
    let name = unique("hint");
    let pool = CampaignPool::create(&connection, &config(&name, 1, LONG * 60)).await.unwrap();
    let other = CampaignPool::bind(&connection, &name).await.unwrap();
    let lease = pool.try_acquire(&request("first")).await.unwrap().expect("free");
    let waiter = wait(&other);
    standing(&other, 1).await;
    assert!(pool.release(&lease).await.unwrap());
    let second = soon(waiter).await.unwrap();

    let waiter = wait(&pool);
    standing(&pool, 1).await;
    other.evict(second.id()).await.unwrap().expect("was held");
    let third = soon(waiter).await.unwrap();

    let waiters = [wait(&pool), wait(&pool)];
    standing(&pool, 2).await;
    other.resize(slots(3)).await.unwrap();
    for waiter in waiters {
        assert!(soon(waiter).await.unwrap().token() > third.token());
    }

    let waiters = [wait(&pool), wait(&pool), wait(&pool)];
    standing(&pool, 3).await;
    assert_eq!(other.reset().await.unwrap(), 3);
    for waiter in waiters {
        assert!(soon(waiter).await.unwrap().token() > third.token());
    }
}

#[tokio::test]
async fn the_expiry_of_a_dead_holders_lease_is_foreseen() {
    let connection = shared().await;
    let ttl = Duration::from_secs(3);
    let name = unique("dead");
    create_as_choria(&connection, &name, 1, ttl).await;
    let pool = CampaignPool::bind(&connection, &name).await.unwrap();
    let begin = Instant::now();
    connection.client().request(pool.subject().to_string(), "dead worker".into()).await.unwrap();
    let _ = soon(wait(&pool)).await.unwrap();
    assert!(begin.elapsed() >= ttl, "not early: {:?}", begin.elapsed());

    let native = NativePool::create(&connection, &config(&unique("dead"), 1, ttl)).await.unwrap();
    let begin = Instant::now();
    let abandoned = native.try_acquire(&request("dead worker")).await.unwrap();
    assert!(abandoned.is_some());
    let _ = soon(wait(&native)).await.unwrap();
    assert!(begin.elapsed() >= ttl, "not early: {:?}", begin.elapsed());
}
