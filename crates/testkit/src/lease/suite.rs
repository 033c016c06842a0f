//! One function a clause; each panics where the clause is broken.

use std::collections::BTreeSet;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::poll;
use sluicegate_core::{
    FencingToken, HeldLease, Holder, Lease, LeaseError, LeaseErrorKind, LeasePool, LeasePoolAdmin,
    LeasePoolExt, LossCause, Request, Wait,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::PoolFixture;

/// Long enough that nothing expires during a test.
const LONG: Duration = Duration::from_secs(60);
/// The shortest time to live that every pool can keep.
const SHORT: Duration = Duration::from_secs(1);
/// How long injected and real transient faults are borne with.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a busy machine may add to any bound.
const SLACK: Duration = Duration::from_secs(3);

type Pool = Arc<dyn LeasePoolAdmin>;

fn slots(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("tests ask for at least one slot")
}

fn request(holder: &str) -> Request {
    Request::new(Holder::try_new(holder).expect("tests use proper names"))
}

/// Repeats what failed without effect.
async fn patiently<T, Fut>(mut call: impl FnMut() -> Fut) -> Result<T, LeaseError>
where
    Fut: Future<Output = Result<T, LeaseError>>,
{
    let give_up = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(error) if error.is_transient() && Instant::now() < give_up => {
                sleep(Duration::from_millis(10)).await
            }
            other => return other,
        }
    }
}

async fn attempt(pool: &Pool, holder: &str) -> Option<Lease> {
    patiently(|| async { pool.try_acquire(&request(holder)).await }).await.expect("an attempt answers")
}

async fn take(pool: &Pool, holder: &str) -> Lease {
    attempt(pool, holder).await.expect("a slot is free")
}

async fn give_back(pool: &Pool, lease: &Lease) -> bool {
    patiently(|| async { pool.release(lease).await }).await.expect("a release answers")
}

async fn renew(pool: &Pool, lease: &Lease) -> Result<Lease, LeaseError> {
    patiently(|| async { pool.renew(lease).await }).await
}

async fn held(pool: &Pool) -> Vec<HeldLease> {
    patiently(|| async { pool.held().await }).await.expect("held answers")
}

async fn is_renewable(pool: &Pool) -> bool {
    patiently(|| async { pool.describe().await }).await.expect("describe answers").renewable
}

async fn evict(pool: &Pool, lease: &Lease) -> Option<HeldLease> {
    patiently(|| async { pool.evict(lease.id()).await }).await.expect("evict answers")
}

async fn reset(pool: &Pool) -> u64 {
    patiently(|| async { pool.reset().await }).await.expect("reset answers")
}

async fn resize(pool: &Pool, limit: u32) {
    patiently(|| async { pool.resize(slots(limit)).await }).await.expect("resize answers");
}

/// 1: never more than `limit` unexpired leases, however many ask at once.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_01_never_more_than_limit(fixture: &dyn PoolFixture) {
    const LIMIT: u32 = 3;
    let mut handles = vec![fixture.create(slots(LIMIT), LONG).await];
    for _ in 0..2 {
        handles.push(fixture.attach().await);
    }
    // Counted at the resource, not by the pool.
    let inside = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let begin = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..12 {
        let pool = Arc::clone(&handles[worker % handles.len()]);
        let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
        workers.spawn(async move {
            let wait = Wait::new().poll_interval(Duration::from_millis(50));
            for round in 0..5 {
                let lease = pool.acquire(&request(&format!("worker {worker}")), &wait).await;
                let lease = lease.expect("waiting answers").expect("waits without end");
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(1 + (worker as u64 + round) % 4)).await;
                // The first ones stay until the pool is full, however slowly the others are served.
                while most.load(Ordering::SeqCst) < LIMIT && begin.elapsed() < PATIENCE {
                    sleep(Duration::from_millis(1)).await;
                }
                inside.fetch_sub(1, Ordering::SeqCst);
                assert!(give_back(&pool, &lease).await, "a live lease is freed by its release");
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.expect("no worker fails");
    }
    assert_eq!(most.load(Ordering::SeqCst), LIMIT, "the limit is reached, and never passed");
    assert_eq!(held(&handles[0]).await, [], "everything was given back");
}

/// 2: a full pool answers `Ok(None)`, never an error.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_02_full_is_none(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(2), LONG).await;
    let other = fixture.attach().await;
    let _first = take(&pool, "first").await;
    let _second = take(&other, "second").await;
    assert_eq!(attempt(&pool, "third").await, None, "full for the handle that took the first slot");
    assert_eq!(attempt(&other, "third").await, None, "full for the other handle");
}

/// 3: expiry frees exactly the slot of the expired lease, and not before its time.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_03_expiry_frees_that_slot_and_not_early(fixture: &dyn PoolFixture) {
    let ttl = SHORT * 2;
    let pool = fixture.create(slots(2), ttl).await;
    let before_first = Instant::now();
    let first = take(&pool, "first").await;
    assert!(first.deadline() <= Instant::now() + ttl, "the holder's deadline counts from before the request");
    sleep(ttl / 2).await;
    let before_second = Instant::now();
    let second = take(&pool, "second").await;
    let third = loop {
        match attempt(&pool, "third").await {
            Some(lease) => break lease,
            None => sleep(Duration::from_millis(20)).await,
        }
        let late = before_first.elapsed();
        assert!(late <= ttl + fixture.expiry_grace() + SLACK, "the expired slot is free by now: {late:?}");
    };
    assert!(before_first.elapsed() >= ttl, "not before its time: {:?}", before_first.elapsed());
    let listed = held(&pool).await;
    assert!(!give_back(&pool, &first).await, "an expired lease has nothing to give back");
    // A slow machine may have let the second one run out too; then the list proves nothing about it.
    if before_second.elapsed() < ttl {
        let ids: Vec<_> = listed.iter().map(|lease| lease.id).collect();
        assert_eq!(ids, [second.id(), third.id()], "only the first one's slot was freed");
        assert_eq!(attempt(&pool, "fourth").await, None, "one expiry frees one slot");
    }
}

/// 4: release is idempotent, and never frees somebody else's slot.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_04_release_is_idempotent_and_frees_only_its_own(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(1), LONG).await;
    let other = fixture.attach().await;
    let first = take(&pool, "first").await;
    assert!(give_back(&pool, &first).await, "the first release frees");
    assert!(!give_back(&pool, &first).await, "the second one finds nothing");
    let second = take(&other, "second").await;
    assert!(!give_back(&pool, &first).await, "a late release frees nothing");
    let ids: Vec<_> = held(&pool).await.iter().map(|lease| lease.id).collect();
    assert_eq!(ids, [second.id()], "the slot's new holder still has it");
    assert_eq!(attempt(&pool, "third").await, None, "and the pool is full");
}

/// 5: tokens strictly increase in the order of grants and renewals, also over reset and restart.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_05_tokens_strictly_increase(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(2), LONG).await;
    let mut tokens: Vec<FencingToken> = Vec::new();
    let first = take(&pool, "first").await;
    tokens.push(first.token());
    let second = take(&pool, "second").await;
    tokens.push(second.token());
    give_back(&pool, &first).await;
    tokens.push(take(&pool, "third").await.token());
    if is_renewable(&pool).await {
        tokens.push(renew(&pool, &second).await.expect("a held lease is renewed").token());
    }
    reset(&pool).await;
    let fourth = take(&pool, "fourth").await;
    tokens.push(fourth.token());
    give_back(&pool, &fourth).await;
    if fixture.restart().await {
        tokens.push(take(&pool, "after the restart").await.token());
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "strictly increasing: {tokens:?}");
}

/// 6: ids are never used again.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_06_ids_are_never_reused(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(2), LONG).await;
    let mut ids = BTreeSet::new();
    for round in 0..12 {
        let lease = take(&pool, "holder").await;
        assert!(ids.insert(lease.id()), "id {} was used before", lease.id());
        match round % 3 {
            0 => assert!(give_back(&pool, &lease).await),
            1 => assert!(evict(&pool, &lease).await.is_some()),
            _ => assert_eq!(reset(&pool).await, 1),
        }
    }
    if fixture.restart().await {
        let lease = take(&pool, "after the restart").await;
        assert!(ids.insert(lease.id()), "id {} was used before the restart", lease.id());
    }
}

/// 7: a `try_acquire` whose future is dropped leaves no slot behind once the pool has settled.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_07_dropped_attempt_leaves_nothing(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(5), LONG).await;
    for round in 0..40_u64 {
        let holder = request(&format!("dropped {round}"));
        let mut attempt = pin!(pool.try_acquire(&holder));
        let mut answer = poll!(attempt.as_mut());
        if answer.is_pending() && round % 4 > 0 {
            let patience = Duration::from_micros(100 * (round % 16));
            if let Ok(ready) = timeout(patience, attempt.as_mut()).await {
                answer = std::task::Poll::Ready(ready);
            }
        }
        if let std::task::Poll::Ready(Ok(Some(lease))) = answer {
            give_back(&pool, &lease).await;
        }
    }
    // Well before anything expires.
    let settled = timeout(LONG / 2, async {
        while !held(&pool).await.is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(settled.await.is_ok(), "still held by nobody: {:?}", held(&pool).await);
    for n in 0..5 {
        let _ = take(&pool, &format!("afterwards {n}")).await;
    }
}

/// 8: raising the limit takes effect at once; lowering it evicts nobody.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_08_resize(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(3), LONG).await;
    let other = fixture.attach().await;
    let mut leases = Vec::new();
    for n in 0..3 {
        leases.push(take(&pool, &format!("holder {n}")).await);
    }
    assert_eq!(attempt(&other, "too many").await, None);
    resize(&pool, 5).await;
    for (n, handle) in [&other, &pool].into_iter().enumerate() {
        leases.push(take(handle, &format!("holder {}", n + 3)).await);
    }
    assert_eq!(attempt(&other, "too many").await, None);
    resize(&pool, 2).await;
    assert_eq!(held(&pool).await.len(), 5, "lowering the limit evicts nobody");
    assert_eq!(attempt(&other, "too many").await, None, "the other handle knows the new limit");
    for lease in &leases[..4] {
        assert!(give_back(&pool, lease).await, "still held");
    }
    let _ = take(&pool, "fits again").await;
    assert_eq!(attempt(&pool, "too many").await, None, "the new limit holds");
}

/// 9: evict and reset complete the holder's `lost`.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_09_evict_and_reset_are_seen_by_the_holder(fixture: &dyn PoolFixture) {
    // A pool that has to look for itself looks at least every third of the time to live.
    let ttl = SHORT * 9;
    let pool = fixture.create(slots(3), ttl).await;
    let admin = fixture.attach().await;
    let evicted = take(&pool, "evicted").await;
    let reset_away = take(&pool, "reset away").await;
    let released = take(&pool, "released").await;
    {
        let mut lost = pin!(pool.lost(&evicted));
        assert!(poll!(lost.as_mut()).is_pending(), "not lost yet");
        let told = evict(&admin, &evicted).await.expect("it was held");
        assert_eq!((told.id, &told.holder), (evicted.id(), evicted.holder()), "evict tells whose it was");
        let cause =
            timeout(evicted.remaining(), lost).await.expect("the evicted holder is told before its deadline");
        assert!(matches!(cause, LossCause::Evicted | LossCause::Gone), "and why, if that is known: {cause}");
    }
    let again = timeout(evicted.remaining(), pool.lost(&evicted)).await;
    assert!(again.is_ok(), "who asks after the eviction is told, too");
    assert_eq!(evict(&admin, &evicted).await, None, "evicting again finds nothing");
    assert!(give_back(&pool, &released).await);
    {
        let mut lost = pin!(pool.lost(&reset_away));
        assert!(poll!(lost.as_mut()).is_pending(), "somebody else's eviction is not its own");
        assert_eq!(reset(&admin).await, 1, "reset tells how many there were");
        let cause = timeout(reset_away.remaining(), lost).await.expect("reset is seen before the deadline");
        assert!(matches!(cause, LossCause::Reset | LossCause::Evicted | LossCause::Gone), "{cause}");
    }
    assert!(timeout(SHORT, pool.lost(&released)).await.is_err(), "a released lease was not lost");
}

/// 10: `held` lists all that is held, oldest first, with holder and age.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_10_held_lists_everything(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(4), LONG).await;
    let other = fixture.attach().await;
    assert_eq!(held(&pool).await, [], "empty at first");
    let begin = Instant::now();
    let first = take(&pool, "first ☂").await;
    sleep(SHORT).await;
    let second = take(&other, "second").await;
    let third = take(&pool, "third").await;
    let listed = held(&other).await;
    // Ages are the pool's clock, whose grain and drift against ours stay far below this.
    let oldest = begin.elapsed() + Duration::from_millis(500);
    let expected = [&first, &second, &third].map(|lease| (lease.id(), lease.token(), lease.holder().clone()));
    let seen: Vec<_> = listed.iter().map(|lease| (lease.id, lease.token, lease.holder.clone())).collect();
    assert_eq!(seen, expected, "all of them, oldest first, with their holders");
    assert!(listed.is_sorted_by(|a, b| a.age >= b.age), "ages fall: {listed:?}");
    assert!(listed[0].age <= oldest, "not older than the test: {listed:?}");
    assert!(listed[0].age >= SHORT * 9 / 10, "as old as it is: {listed:?}");
    assert!(give_back(&other, &second).await);
    let ids: Vec<_> = held(&pool).await.iter().map(|lease| lease.id).collect();
    assert_eq!(ids, [first.id(), third.id()]);
}

/// 11: a lease that was lost or released cannot be renewed.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_11_lost_lease_cannot_be_renewed(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(3), SHORT * 2).await;
    let expired = take(&pool, "expires").await;
    if !is_renewable(&pool).await {
        let error = renew(&pool, &expired).await.expect_err("cannot renew");
        assert_eq!(error.kind(), LeaseErrorKind::Unsupported, "{error}");
        return;
    }
    let released = take(&pool, "releases").await;
    let evicted = take(&pool, "is evicted").await;
    give_back(&pool, &released).await;
    evict(&pool, &evicted).await;
    for gone in [&released, &evicted] {
        let error = renew(&pool, gone).await.expect_err("gone");
        assert_eq!(error.kind(), LeaseErrorKind::Lost, "{error}");
    }
    timeout(SHORT * 2 + fixture.expiry_grace() + SLACK, async {
        while held(&pool).await.iter().any(|lease| lease.id == expired.id()) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("expires in time");
    let error = renew(&pool, &expired).await.expect_err("expired");
    assert_eq!(error.kind(), LeaseErrorKind::Lost, "{error}");
    assert_eq!(held(&pool).await, [], "a refused renewal takes no slot");
}

/// 12: a release wakes at least one waiter within one poll interval, and a hint that arrives between a failed
/// attempt and the call of `freed` is not lost.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_12_release_wakes_a_waiter(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(1), LONG).await;
    let other = fixture.attach().await;
    let first = take(&pool, "first").await;
    let poll = Duration::from_secs(2);
    let waiter = Arc::clone(&other);
    let waiting = tokio::spawn(async move {
        let wait = Wait::new().poll_interval(poll);
        let lease = waiter.acquire(&request("waiter"), &wait).await.expect("waiting answers");
        (Instant::now(), lease.expect("waits without end"))
    });
    while other.line().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    let released = Instant::now();
    assert!(give_back(&pool, &first).await);
    let (woken, second) = waiting.await.expect("the waiter does not fail");
    // The poll is jittered by a quarter; the rest is round trips and injected faults.
    let bound = poll.mul_f64(1.25) + SLACK;
    assert!(woken.duration_since(released) <= bound, "woken after {:?}", woken.duration_since(released));

    // Where handles tell each other, the hint comes from another one, to one that has heard none yet.
    let waiter = if fixture.shares_hints() { fixture.attach().await } else { Arc::clone(&other) };
    assert_eq!(attempt(&waiter, "late").await, None, "a failed attempt");
    assert!(give_back(&other, &second).await, "then a hint");
    let hint = timeout(SLACK, waiter.freed()).await;
    assert!(hint.is_ok(), "the hint was kept for the caller of `freed`");
}

/// 13: a renewal keeps the id, raises the token, and keeps the slot beyond the first time to live, also while the
/// pool is full. Pools that cannot renew say so.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_13_renewal_keeps_the_slot(fixture: &dyn PoolFixture) {
    let ttl = SHORT * 5;
    let pool = fixture.create(slots(1), ttl).await;
    let other = fixture.attach().await;
    let begin = Instant::now();
    let mut lease = take(&pool, "holder").await;
    if !is_renewable(&pool).await {
        let error = renew(&pool, &lease).await.expect_err("cannot renew");
        assert_eq!(error.kind(), LeaseErrorKind::Unsupported, "{error}");
        return;
    }
    let mut confirmed = begin;
    while begin.elapsed() < ttl * 2 {
        sleep(ttl / 4).await;
        let asked = Instant::now();
        let renewed = renew(&pool, &lease).await;
        assert!(confirmed.elapsed() < ttl, "this machine is too slow for a test of {ttl:?}: run it again");
        let renewed = renewed.expect("a held lease is renewed");
        assert_eq!(renewed.id(), lease.id(), "the id stays");
        assert!(renewed.token() > lease.token(), "the token grows");
        assert!(renewed.deadline() > lease.deadline(), "the deadline moves on");
        (lease, confirmed) = (renewed, asked);
        assert_eq!(attempt(&other, "intruder").await, None, "full all the time, after {:?}", begin.elapsed());
    }
    assert!(give_back(&pool, &lease).await, "still held at the end");
    let _ = take(&other, "next").await;
}

/// 14: a request of several slots gets all of them or none, and they all count. Pools without weights say so.
///
/// # Panics
/// Where the clause is broken.
pub async fn clause_14_weights_are_all_or_nothing(fixture: &dyn PoolFixture) {
    let pool = fixture.create(slots(3), LONG).await;
    let two = request("two").weight(slots(2));
    let heavy = || patiently(|| async { pool.try_acquire(&two).await });
    if !patiently(|| async { pool.describe().await }).await.expect("describe answers").weighted {
        let error = heavy().await.expect_err("no weights");
        assert_eq!(error.kind(), LeaseErrorKind::Unsupported, "{error}");
        return;
    }
    let lease = heavy().await.expect("an attempt answers").expect("two of three are free");
    assert_eq!(lease.weight(), slots(2));
    assert_eq!(heavy().await.expect("an attempt answers"), None, "one slot is not two");
    let _third = take(&pool, "third").await;
    assert_eq!(attempt(&pool, "fourth").await, None, "all of them count");
    assert!(give_back(&pool, &lease).await);
    let _again = heavy().await.expect("an attempt answers").expect("both came back");
}
