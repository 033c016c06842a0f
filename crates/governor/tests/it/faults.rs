//! Governors on servers and connections that fail: what is stored in the end is what is held, and nobody works with a
//! slot that is somebody else's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluicegate_core::{Holder, Lease, LeaseError, LeasePool, LossCause, Random};
use sluicegate_governor::{
    CampaignPool, Governor, GovernorErrorKind, GovernorEvent, NativePool, Permit, PoolOptions, Released,
};
use sluicegate_nats::Connection;
use sluicegate_testkit::server::{Direction, Fault, NatsServer, Proxy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    LONG, SOON, config, connection, request, server, settles_at, shared, soon, stored, unique, watched,
};

/// As short as native leases allow that are to outlast a restart.
const TTL: Duration = Duration::from_secs(3);

/// A pool of either wire, on the same governor for all who call it with the same name.
#[derive(Clone, Debug)]
enum Pool {
    Campaign(CampaignPool),
    Native(NativePool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Campaign,
    Native,
}

const BOTH: [On; 2] = [On::Campaign, On::Native];

impl Pool {
    async fn of(on: On, connection: &Connection, name: &str, limit: u32, ttl: Duration) -> Self {
        Self::with(on, connection, name, limit, ttl, PoolOptions::default()).await
    }

    async fn with(
        on: On,
        connection: &Connection,
        name: &str,
        limit: u32,
        ttl: Duration,
        options: PoolOptions,
    ) -> Self {
        let config = config(name, limit, ttl);
        match on {
            On::Campaign => CampaignPool::create_with(connection, &config, options).await.map(Self::Campaign),
            On::Native => NativePool::create_with(connection, &config, options).await.map(Self::Native),
        }
        .expect("created, or bound to what is the same")
    }

    fn governor(&self, holder: &str) -> Governor {
        let holder = Holder::try_new(holder).expect("tests use proper names");
        match self {
            Self::Campaign(pool) => Governor::builder(pool.clone(), holder),
            Self::Native(pool) => Governor::builder(pool.clone(), holder),
        }
        .build()
    }

    fn pool(&self) -> &dyn LeasePool {
        match self {
            Self::Campaign(pool) => pool,
            Self::Native(pool) => pool,
        }
    }

    fn stream(&self) -> &str {
        match self {
            Self::Campaign(pool) => pool.stream(),
            Self::Native(pool) => pool.stream(),
        }
    }

    async fn close(&self) {
        match self {
            Self::Campaign(pool) => pool.close(SOON).await,
            Self::Native(pool) => pool.close(SOON).await,
        }
        .expect("all that was abandoned is resolved");
    }
}

/// So many attempts, all dropped after that time unless they are answered before, and then given back. Returns how many
/// were dropped.
async fn dropped(pool: &Pool, attempts: u32, after: Duration) -> u32 {
    let mut asking = JoinSet::new();
    for n in 0..attempts {
        let pool = pool.clone();
        asking.spawn(async move {
            let request = request(&format!("storm {n}"));
            match timeout(after, pool.pool().try_acquire(&request)).await {
                Ok(Ok(Some(lease))) => assert!(soon(released(&pool, &lease)).await, "it was there"),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => assert!(error.is_transient() || error.is_unknown(), "{error}"),
                Err(_) => return 1,
            }
            0
        });
    }
    asking.join_all().await.into_iter().sum()
}

/// Whether it was still there; the server may be away for a while.
async fn released(pool: &Pool, lease: &Lease) -> bool {
    loop {
        match pool.pool().release(lease).await {
            Ok(freed) => return freed,
            Err(error) => assert!(error.is_transient() || error.is_unknown(), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_of_dropped_attempts_on_a_governor_that_is_full_leave_nothing() {
    let connection = shared().await;
    for on in BOTH {
        for micros in [50, 100, 200] {
            let pool = Pool::of(on, &connection, &unique("storms"), 5, LONG * 5).await;
            let cut_off = dropped(&pool, 500, Duration::from_micros(micros)).await;
            assert!(cut_off > 100, "the storm did cut attempts off: {cut_off}");
            pool.close().await;
            assert_eq!(stored(&connection, pool.stream()).await, 0, "{on:?}, after {micros} µs");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cancelled_acquisitions_leave_nothing() {
    let connection = shared().await;
    let pool = Pool::of(On::Campaign, &connection, &unique("cancelled"), 3, LONG * 5).await;
    let governor = pool.governor("impatient");
    let mut random = Random::seeded(4711);
    let mut waiting = JoinSet::new();
    for _ in 0..1_000 {
        let (governor, patience) = (governor.clone(), Duration::from_micros(random.below(400_000)));
        // In the line, in the middle of an attempt, or with a permit in hand.
        waiting.spawn(async move {
            let held = async {
                let permit = governor.acquire().await.expect("no error");
                sleep(Duration::from_millis(5)).await;
                drop(permit);
            };
            timeout(patience, held).await.is_err()
        });
    }
    let cancelled = waiting.join_all().await.into_iter().filter(|cancelled| *cancelled).count();
    assert!(cancelled > 500, "most were cancelled: {cancelled}");
    let next = soon(governor.acquire()).await.expect("nobody is before it");
    next.release().await.expect("released");
    soon(governor.close(SOON)).await;
    pool.close().await;
    assert_eq!(stored(&connection, pool.stream()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_in_the_middle_of_publishes_has_stored_what_is_held() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    for on in BOTH {
        let options = PoolOptions::default().request_timeout(Duration::from_millis(300));
        let pool = Pool::with(on, &connection, &unique("still"), 200, LONG * 5, options).await;
        let mut leases = Vec::new();
        for round in 0..4 {
            let mut asking = JoinSet::new();
            for n in 0..20 {
                let pool = pool.clone();
                let request = request(&format!("still {round} {n}"));
                asking.spawn(async move { pool.pool().try_acquire(&request).await });
            }
            // Some are on their way, some are not sent yet.
            tokio::task::yield_now().await;
            server.pause().unwrap();
            sleep(Duration::from_millis(1_100)).await;
            server.resume().unwrap();
            for answer in soon(asking.join_all()).await {
                leases.push(answer.expect("an answer after the pause").expect("there is room"));
            }
        }
        assert_eq!(stored(&connection, pool.stream()).await, leases.len() as u64, "{on:?}: what is held");
        for lease in &leases {
            assert!(pool.pool().release(lease).await.unwrap(), "each of them was there");
        }
        assert_eq!(stored(&connection, pool.stream()).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_storms_has_nothing_left() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    for on in BOTH {
        let options = PoolOptions::default().request_timeout(Duration::from_millis(500));
        let pool = Pool::with(on, &connection, &unique("killed"), 5, LONG * 5, options).await;
        for _ in 0..3 {
            let back = AtomicBool::new(false);
            // For as long as it takes, which with a container is longer than one storm.
            let storms = async {
                let mut waves = JoinSet::new();
                while !back.load(Ordering::Acquire) {
                    let pool = pool.clone();
                    waves.spawn(async move { dropped(&pool, 30, Duration::from_millis(20)).await });
                    sleep(Duration::from_millis(5)).await;
                }
                waves.join_all().await.into_iter().sum::<u32>()
            };
            let (cut_off, ()) = tokio::join!(storms, async {
                sleep(Duration::from_millis(5)).await;
                server.kill().await.unwrap();
                server.restart().await.unwrap();
                back.store(true, Ordering::Release);
            });
            assert!(cut_off > 0, "some attempts had no answer");
        }
        pool.close().await;
        assert_eq!(stored(&connection, pool.stream()).await, 0, "{on:?}");
    }
}

async fn patiently(call: impl AsyncFn() -> Result<Permit, sluicegate_governor::GovernorError>) -> Permit {
    soon(async {
        loop {
            match call().await {
                Ok(permit) => return permit,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_outlast_a_server_that_is_killed_and_comes_back() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    for on in BOTH {
        let ttl = if on == On::Native { TTL } else { LONG };
        let pool = Pool::of(on, &connection, &unique("outlast"), 2, ttl).await;
        let governor = pool.governor("steadfast");
        let (first, second) =
            (patiently(|| governor.acquire()).await, patiently(|| governor.acquire()).await);
        let began = Instant::now();
        for _ in 0..2 {
            server.kill().await.unwrap();
            server.restart().await.unwrap();
        }
        if on == On::Native {
            // Beyond the time that they had without being renewed.
            tokio::time::sleep_until(began + TTL + Duration::from_secs(1)).await;
        }
        assert_eq!((first.loss(), second.loss()), (None, None), "{on:?}");
        let error = governor.try_acquire().await.map(|permit| permit.is_some());
        assert!(!error.expect("an answer"), "{on:?}: both slots are still taken");
        assert_eq!(first.release().await.unwrap(), Released::Freed);
        assert_eq!(second.release().await.unwrap(), Released::Freed);
        assert_eq!(stored(&connection, pool.stream()).await, 0);
    }
}

/// A pool behind a proxy, and another one on the same governor that goes around it.
async fn two_ways(server: &NatsServer, on: On, limit: u32, ttl: Duration) -> (Proxy, Pool, Pool, Connection) {
    let proxy = Proxy::start(server.addr()).await.expect("a free port");
    let (through, around) = (connection(&proxy.url()).await, connection(&server.url()).await);
    let name = unique("ways");
    let options = PoolOptions::default().request_timeout(Duration::from_millis(300));
    let behind = Pool::with(on, &through, &name, limit, ttl, options).await;
    let beside = Pool::of(on, &around, &name, limit, ttl).await;
    (proxy, behind, beside, around)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_cut_off_stops_before_its_slot_is_given_away() {
    let server = server("2.15.1").await;
    for on in BOTH {
        let (proxy, behind, beside, _) = two_ways(&server, on, 1, TTL).await;
        let (cut_off, other) = (behind.governor("cut off"), beside.governor("other"));
        let permit = soon(cut_off.acquire()).await.unwrap();
        let token = permit.token();
        proxy.set(Fault::Hold);
        let lost = tokio::spawn(async move {
            let cause = permit.lost().await;
            (cause, Instant::now(), permit)
        });
        let next = soon(other.acquire()).await.unwrap();
        let granted = Instant::now();
        let (cause, at, permit) = soon(lost).await.unwrap();
        assert!(at < granted, "{on:?}: told {:?} too late", at - granted);
        assert_eq!(cause, LossCause::Expired);
        assert!(next.token() > token, "the resource can tell them apart");
        proxy.set(Fault::Pass);
        // What it gives back is no longer its own, and nobody else's.
        let released = soon(permit.release()).await;
        assert!(matches!(released, Ok(Released::Gone)) || released.is_err(), "{released:?}");
        assert_eq!(next.loss(), None);
        assert_eq!(next.release().await.unwrap(), Released::Freed, "{on:?}: it was still held");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_whose_answers_are_lost_free_their_own_slot_only() {
    let server = server("2.15.1").await;
    for on in BOTH {
        let (proxy, behind, beside, around) = two_ways(&server, on, 1, LONG * 5).await;
        let (unlucky, other) = (behind.governor("unlucky"), beside.governor("other"));
        for _ in 0..5 {
            let permit = soon(unlucky.acquire()).await.unwrap();
            proxy.set_one_way(Direction::ToClient, Fault::Hold);
            let releasing = tokio::spawn(permit.release());
            // The slot is free, which its holder does not know yet, and already somebody else's.
            let next = soon(other.acquire()).await.unwrap();
            proxy.reset();
            proxy.set(Fault::Pass);
            let released = soon(releasing).await.unwrap();
            assert_eq!(released.expect("told in the end"), Released::Freed, "{on:?}");
            assert_eq!(stored(&around, beside.stream()).await, 1, "{on:?}: somebody else's is still there");
            assert_eq!(next.release().await.unwrap(), Released::Freed);
        }
        settles_at(&around, beside.stream(), 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_whose_answers_are_lost_are_not_lost() {
    let server = server("2.15.1").await;
    let (observer, mut events) = watched();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let (through, around) = (connection(&proxy.url()).await, connection(&server.url()).await);
    let options = PoolOptions::default().request_timeout(Duration::from_millis(300)).observer(observer);
    let pool = Pool::with(On::Campaign, &through, &unique("lost"), 3, LONG * 5, options).await;
    let governor = pool.governor("unlucky");
    for _ in 0..5 {
        proxy.set_one_way(Direction::ToClient, Fault::Hold);
        let asking = tokio::spawn({
            let governor = governor.clone();
            async move { governor.acquire().await }
        });
        settles_at(&around, pool.stream(), 1).await;
        proxy.reset();
        proxy.set(Fault::Pass);
        let permit = soon(asking).await.unwrap().expect("granted in the end");
        assert_eq!(stored(&around, pool.stream()).await, 1, "one acquisition, one slot");
        assert_eq!(permit.release().await.unwrap(), Released::Freed);
    }
    let mut repeated = 0;
    while let Ok(event) = events.try_recv() {
        repeated += u32::from(matches!(event, GovernorEvent::Acquired { tries, .. } if tries > 1));
    }
    assert!(repeated > 0, "some answers were lost, and asked for again");
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_and_never_full() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    let options = PoolOptions::default()
        .request_timeout(Duration::from_millis(200))
        .resolve_for(Duration::from_millis(500));
    let pool = Pool::with(On::Campaign, &connection, &unique("gone"), 1, LONG, options).await;
    server.kill().await.unwrap();
    let answer: Result<_, LeaseError> = pool.pool().try_acquire(&request("early")).await;
    let error = answer.expect_err("nobody can say that it is full");
    assert!(error.is_transient() || error.is_unknown(), "{error}");
    let governor = Governor::builder(
        match &pool {
            Pool::Campaign(pool) => pool.clone(),
            Pool::Native(_) => unreachable!("it is the other one"),
        },
        Holder::try_new("patient").unwrap(),
    )
    .max_wait(Duration::from_secs(2))
    .build();
    let error = soon(governor.acquire()).await.expect_err("nobody can grant it");
    assert!(matches!(error.kind(), GovernorErrorKind::Pool(_)), "not a timeout of waiting: {error}");
    server.restart().await.unwrap();
    let permit = patiently(|| governor.acquire()).await;
    assert_eq!(permit.release().await.unwrap(), Released::Freed);
    settles_at(&connection, pool.stream(), 0).await;
}
