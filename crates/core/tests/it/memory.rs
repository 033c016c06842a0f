//! What the in-memory pool promises beyond the contract.

use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_core::{
    Holder, Lease, LeaseErrorKind, LeasePool, LeasePoolAdmin, LeasePoolExt, LossCause, MemoryPool, Request,
    Wait,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const TTL: Duration = Duration::from_secs(10);

fn slots(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn request(holder: &str) -> Request {
    Request::new(Holder::try_new(holder).unwrap())
}

async fn take(pool: &MemoryPool, holder: &str) -> Lease {
    pool.try_acquire(&request(holder)).await.unwrap().expect("a slot is free")
}

#[tokio::test(start_paused = true)]
async fn slots_go_round_among_handles_that_ask_greedily() {
    let pool = MemoryPool::new(slots(1), TTL);
    let mut workers = JoinSet::new();
    for n in 0..10 {
        let handle = pool.handle();
        workers.spawn(async move {
            let mut turns = 0_u32;
            let end = Instant::now() + Duration::from_secs(10);
            while Instant::now() < end {
                // Releases and asks again at once: whoever does that must not shut the others out.
                let lease =
                    handle.acquire(&request(&format!("worker {n}")), &Wait::new()).await.unwrap().unwrap();
                sleep(Duration::from_millis(5)).await;
                assert!(handle.release(&lease).await.unwrap());
                turns += 1;
            }
            turns
        });
    }
    let turns = workers.join_all().await;
    let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
    assert!(most - least <= 2, "everybody in turn: {turns:?}");
    assert!(turns.iter().sum::<u32>() >= 1900, "and no slot idles until a poll: {turns:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handle_keeps_its_place_however_long_the_slot_is_held() {
    let pool = MemoryPool::new(slots(1), TTL);
    let held = take(&pool, "held").await;
    let mut waiting = JoinSet::new();
    for n in 0..5 {
        let handle = pool.handle();
        waiting.spawn(async move {
            // Polls of different length, so that the last poll tells nothing of who came first.
            let wait = Wait::new().poll_interval(Duration::from_millis(50 + 37 * (7 - n)));
            let lease = handle.acquire(&request(&format!("waiter {n}")), &wait).await.unwrap().unwrap();
            sleep(Duration::from_millis(700)).await;
            handle.release(&lease).await.unwrap();
            (lease.token(), n)
        });
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_secs(3)).await;
    pool.release(&held).await.unwrap();
    let mut grants = waiting.join_all().await;
    grants.sort();
    assert_eq!(grants.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_slot_too_few_for_one_goes_to_the_next() {
    let pool = MemoryPool::new(slots(2), TTL);
    let (first, _second) = (take(&pool, "first").await, take(&pool, "second").await);
    let patient = Wait::new().poll_interval(Duration::from_secs(3600));
    let heavy = tokio::spawn({
        let (handle, wait) = (pool.handle(), patient.clone());
        async move { handle.acquire(&request("heavy").weight(slots(2)), &wait).await }
    });
    sleep(Duration::from_millis(1)).await;
    let light = tokio::spawn({
        let (handle, wait) = (pool.handle(), patient.clone());
        async move { handle.acquire(&request("light"), &wait).await }
    });
    sleep(Duration::from_millis(1)).await;
    pool.release(&first).await.unwrap();
    let served = timeout(Duration::from_secs(1), light).await;
    assert!(served.expect("without a poll").unwrap().unwrap().is_some());
    assert!(!heavy.is_finished());
    heavy.abort();
}

#[tokio::test(start_paused = true)]
async fn handles_that_all_need_more_do_not_keep_each_other_awake() {
    let pool = MemoryPool::new(slots(3), TTL);
    let leases = [take(&pool, "first").await, take(&pool, "second").await, take(&pool, "third").await];
    let mut heavy = JoinSet::new();
    for n in 0..3 {
        let handle = pool.handle();
        heavy.spawn(async move {
            let two = request(&format!("heavy {n}")).weight(slots(2));
            let lease = handle.acquire(&two, &Wait::new()).await.unwrap().unwrap();
            handle.release(&lease).await.unwrap()
        });
    }
    sleep(Duration::from_millis(1)).await;
    // One slot is of use to nobody, nor is one that a lower limit has taken away.
    pool.release(&leases[0]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    pool.resize(slots(2)).await.unwrap();
    pool.release(&leases[1]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    pool.release(&leases[2]).await.unwrap();
    let served = timeout(Duration::from_secs(5), heavy.join_all()).await;
    assert_eq!(served.expect("all are served"), [true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn raising_a_lowered_ttl_still_tells_those_who_were_promised_more() {
    let pool = MemoryPool::new(slots(1), TTL);
    let lease = take(&pool, "holder").await;
    pool.set_ttl(TTL / 5).await.unwrap();
    sleep(TTL / 10).await;
    pool.set_ttl(TTL / 2).await.unwrap();
    let begin = Instant::now() - TTL / 10;
    assert_eq!(pool.lost(&lease).await, LossCause::TtlLowered);
    assert_eq!(begin.elapsed(), TTL / 2, "when it ends, before the deadline {:?}", lease.remaining());
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_handle_are_served_in_order() {
    let pool = MemoryPool::new(slots(2), TTL);
    let mut waiting = JoinSet::new();
    for n in 0..20 {
        let pool = pool.clone();
        waiting.spawn(async move {
            let lease = pool.acquire(&request(&format!("caller {n}")), &Wait::new()).await.unwrap().unwrap();
            sleep(Duration::from_millis(7)).await;
            pool.release(&lease).await.unwrap();
            (lease.token(), n)
        });
    }
    let mut grants = waiting.join_all().await;
    grants.sort();
    let order: Vec<i32> = grants.into_iter().map(|(_, n)| n).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn weights_are_all_or_nothing() {
    let pool = MemoryPool::new(slots(5), TTL);
    let three = pool.try_acquire(&request("three").weight(slots(3))).await.unwrap().unwrap();
    assert_eq!(three.weight(), slots(3));
    assert!(pool.try_acquire(&request("also three").weight(slots(3))).await.unwrap().is_none());
    assert_eq!(pool.describe().await.unwrap().held, Some(3), "a refusal takes nothing");
    let error = pool.try_acquire(&request("six").weight(slots(6))).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");

    let plain = MemoryPool::builder(slots(5), TTL).weighted(false).build();
    let error = plain.try_acquire(&request("two").weight(slots(2))).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unsupported, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_by_expiry() {
    let pool = MemoryPool::new(slots(1), TTL);
    let begin = Instant::now();
    let _crashed = take(&pool, "crashed").await;
    let wait = Wait::new().poll_interval(TTL * 100);
    let lease = pool.handle().acquire(&request("next"), &wait).await.unwrap();
    assert!(lease.is_some());
    assert_eq!(begin.elapsed(), TTL, "to the millisecond, without a poll");
}

#[tokio::test(start_paused = true)]
async fn lowering_the_ttl_ends_leases_early_and_says_so() {
    let pool = MemoryPool::new(slots(2), TTL);
    let lease = take(&pool, "holder").await;
    sleep(TTL / 4).await;
    let lost = tokio::spawn({
        let (pool, lease) = (pool.clone(), lease.clone());
        async move { (pool.lost(&lease).await, Instant::now()) }
    });
    let begin = Instant::now() - TTL / 4;
    pool.set_ttl(TTL / 2).await.unwrap();
    let (cause, at) = lost.await.unwrap();
    assert_eq!((cause, at - begin), (LossCause::TtlLowered, TTL / 2));
    assert!(!pool.release(&lease).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pool_is_not_found_and_tells_its_holders() {
    let pool = MemoryPool::new(slots(2), TTL);
    let lease = take(&pool, "holder").await;
    pool.delete().await.unwrap();
    assert_eq!(pool.lost(&lease).await, LossCause::Deleted);
    let error = pool.handle().try_acquire(&request("next")).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_a_loss_that_is_none() {
    let pool = MemoryPool::new(slots(2), TTL);
    let released = take(&pool, "releases").await;
    pool.release(&released).await.unwrap();
    let expired = take(&pool, "expires").await;
    assert!(timeout(TTL * 2, pool.lost(&released)).await.is_err());
    assert!(timeout(TTL * 2, pool.lost(&expired)).await.is_err(), "its own clock tells the holder");
}
