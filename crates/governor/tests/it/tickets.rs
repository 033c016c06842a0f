//! First come, first served between processes.

use std::time::Duration;

use sluicegate_core::{Lease, LeasePool, LeasePoolExt, Wait};
use sluicegate_governor::{GovernorEvent, NativePool, PoolOptions};
use sluicegate_testkit::server::{Fault, NatsServer, Proxy};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::support::{LONG, api, config, connection, info, request, server, slots, soon, watched};

const QUEUE: &str = "GOVERNOR2Q_T";

fn ordered() -> PoolOptions {
    PoolOptions::default().tickets(true)
}

async fn bind(url: &str) -> NativePool {
    NativePool::bind_with(&connection(url).await, "T", ordered()).await.expect("bound")
}

fn waiting(pool: &NativePool, holder: &str) -> JoinHandle<Lease> {
    let (pool, request) = (pool.clone(), request(holder));
    tokio::spawn(async move {
        let wait = Wait::new().patience(LONG);
        pool.acquire(&request, &wait).await.expect("waits over everything").expect("without end")
    })
}

/// Waits until so many tickets are there.
async fn tickets(server: &NatsServer, count: usize) {
    let onlooker = connection(&server.url()).await;
    soon(async {
        loop {
            let body = serde_json::json!({"subjects_filter": "$GOVERNOR2Q.T.*"});
            let queue = api(&onlooker, &format!("STREAM.INFO.{QUEUE}"), body).await;
            let there = queue["state"]["subjects"].as_object().map_or(0, serde_json::Map::len);
            if there >= count {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_granted_in_the_order_of_arrival() {
    for version in ["2.15.1", "2.11.11"] {
        let server = server(version).await;
        let first = connection(&server.url()).await;
        let first = NativePool::create_with(&first, &config("T", 1, LONG), ordered()).await.unwrap();
        let pools = [
            bind(&server.url()).await,
            bind(&server.url()).await,
            bind(&server.url()).await,
            bind(&server.url()).await,
        ];
        for round in 0..3 {
            let mut lease = first.try_acquire(&request("first")).await.unwrap().expect("free");
            let (granted, mut order) = mpsc::unbounded_channel();
            let mut waiters = JoinSet::new();
            for n in 0..pools.len() {
                let place = (n + round) % pools.len();
                let (pool, granted) = (pools[place].clone(), granted.clone());
                waiters.spawn(async move {
                    let lease = pool.acquire(&request("w"), &Wait::new()).await.expect("an answer");
                    granted.send((place, lease.expect("without end"))).expect("the test listens");
                });
                tickets(&server, n + 1).await;
            }
            let mut releaser = first.clone();
            for n in 0..pools.len() {
                assert!(releaser.release(&lease).await.unwrap());
                let begin = Instant::now();
                let (place, next) = soon(order.recv()).await.expect("somebody gets it");
                println!("{version}: handed on in {:?}", begin.elapsed());
                assert_eq!(place, (n + round) % pools.len(), "round {round}, turn {n} on {version}");
                (releaser, lease) = (pools[place].clone(), next);
            }
            assert!(releaser.release(&lease).await.unwrap());
            while waiters.join_next().await.is_some() {}
            // Nobody waits any more: what is left of the tickets is in nobody's way.
            let lone = soon(async {
                loop {
                    if let Some(lease) = first.try_acquire(&request("lone")).await.unwrap() {
                        break lease;
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            });
            assert!(first.release(&lone.await).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dies_in_the_queue_delays_the_others_little() {
    let server = server("2.15.1").await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let first = connection(&server.url()).await;
    let first = NativePool::create_with(&first, &config("T", 1, LONG), ordered()).await.unwrap();
    let (dying, second, third) =
        (bind(&proxy.url()).await, bind(&server.url()).await, bind(&server.url()).await);
    let lease = first.try_acquire(&request("first")).await.unwrap().expect("free");
    let dead = waiting(&dying, "dies");
    tickets(&server, 1).await;
    let second_waits = waiting(&second, "second");
    tickets(&server, 2).await;
    let third_waits = waiting(&third, "third");
    tickets(&server, 3).await;

    proxy.set(Fault::Hold);
    let begin = Instant::now();
    assert!(first.release(&lease).await.unwrap());
    let lease = soon(second_waits).await.unwrap();
    println!("past a dead one in {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(!third_waits.is_finished(), "one after the other");
    // Once its ticket has run out the dead one delays nobody.
    sleep(Duration::from_secs(6)).await;
    let begin = Instant::now();
    assert!(second.release(&lease).await.unwrap());
    let lease = soon(third_waits).await.unwrap();
    println!("after its ticket has run out in {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    // Back again it waits on.
    proxy.set(Fault::Pass);
    assert!(third.release(&lease).await.unwrap());
    let _lease = soon(dead).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_outlasts_a_restart_of_the_server() {
    let server = server("2.15.1").await;
    let first = connection(&server.url()).await;
    let first = NativePool::create_with(&first, &config("T", 1, LONG), ordered()).await.unwrap();
    let pools = [bind(&server.url()).await, bind(&server.url()).await, bind(&server.url()).await];
    let mut lease = first.try_acquire(&request("first")).await.unwrap().expect("free");
    let mut waiters = Vec::new();
    for (n, pool) in pools.iter().enumerate() {
        waiters.push(waiting(pool, "w"));
        tickets(&server, n + 1).await;
    }
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    // Everybody is back, and hears of the others.
    sleep(Duration::from_secs(3)).await;
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
    let mut releaser = first.clone();
    for (pool, waiter) in pools.iter().zip(waiters) {
        assert!(soon(releaser.release(&lease)).await.unwrap());
        (releaser, lease) = (pool.clone(), soon(waiter).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_passes_one_who_waits_for_several_slots() {
    let server = server("2.15.1").await;
    let first = connection(&server.url()).await;
    let first = NativePool::create_with(&first, &config("T", 2, LONG), ordered()).await.unwrap();
    let (heavy, light) = (bind(&server.url()).await, bind(&server.url()).await);
    let one = first.try_acquire(&request("one")).await.unwrap().expect("free");
    let two = first.try_acquire(&request("two")).await.unwrap().expect("free");
    let heavy_waits = tokio::spawn({
        let heavy = heavy.clone();
        async move { heavy.acquire(&request("heavy").weight(slots(2)), &Wait::new()).await }
    });
    tickets(&server, 1).await;
    let light_waits = waiting(&light, "light");
    tickets(&server, 2).await;
    assert!(first.release(&one).await.unwrap());
    sleep(Duration::from_secs(1)).await;
    assert!(!light_waits.is_finished(), "the free slot is kept for the one in front");
    assert!(first.try_acquire(&request("newcomer")).await.unwrap().is_none(), "newcomers do not pass either");
    assert!(first.release(&two).await.unwrap());
    let lease = soon(heavy_waits).await.unwrap().unwrap().expect("without end");
    assert!(!light_waits.is_finished());
    assert!(heavy.release(&lease).await.unwrap());
    let _lease = soon(light_waits).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_up_waiting_leaves_the_queue() {
    let server = server("2.15.1").await;
    let first = connection(&server.url()).await;
    let first = NativePool::create_with(&first, &config("T", 1, LONG), ordered()).await.unwrap();
    let (impatient, patient) = (bind(&server.url()).await, bind(&server.url()).await);
    let lease = first.try_acquire(&request("first")).await.unwrap().expect("free");
    let gone = waiting(&impatient, "impatient");
    tickets(&server, 1).await;
    let next = waiting(&patient, "patient");
    tickets(&server, 2).await;
    gone.abort();
    assert!(soon(gone).await.unwrap_err().is_cancelled());
    assert!(first.release(&lease).await.unwrap());
    let lease = soon(next).await.unwrap();
    assert!(patient.release(&lease).await.unwrap());
    // Nothing is left of the queue.
    let onlooker = connection(&server.url()).await;
    soon(async {
        while info(&onlooker, QUEUE).await["state"]["messages"] != 0 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_waiters_all_get_their_turn_and_the_limit_holds() {
    let server = server("2.15.1").await;
    let made = connection(&server.url()).await;
    NativePool::create(&made, &config("T", 3, LONG)).await.unwrap();
    let mut waiters = JoinSet::new();
    let used = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    for _ in 0..6 {
        let pool = bind(&server.url()).await;
        for _ in 0..3 {
            let (pool, used) = (pool.clone(), std::sync::Arc::clone(&used));
            waiters.spawn(async move {
                for _ in 0..5 {
                    let lease = pool.acquire(&request("w"), &Wait::new()).await.expect("an answer");
                    let lease = lease.expect("without end");
                    let now = used.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                    assert!(now <= 3, "{now} at once");
                    sleep(Duration::from_millis(5)).await;
                    used.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    assert!(pool.release(&lease).await.expect("an answer"));
                }
            });
        }
    }
    let begin = Instant::now();
    soon(async {
        while let Some(waiter) = waiters.join_next().await {
            waiter.expect("no waiter fails");
        }
    })
    .await;
    println!("90 turns of 5 ms on 3 slots by 6 processes took {:?}", begin.elapsed());
}

#[tokio::test]
async fn without_the_rights_for_it_there_is_no_order_and_it_is_told() {
    let allowed =
        r#"["$GOVERNOR2.T.>", "$JS.API.STREAM.*.GOVERNOR2_T", "$JS.API.STREAM.MSG.*.GOVERNOR2_T", "_GOV.>"]"#;
    let users = format!(
        r#"authorization {{ users: [
            {{ user: some, password: p, permissions: {{ publish: {allowed}, subscribe: [">"] }} }}
        ] }}"#
    );
    let server = NatsServer::builder().config(&users).start().await.unwrap();
    let url = server.url().replace("nats://", "nats://some:p@");
    let (observer, mut events) = watched();
    let connection = connection(&url).await;
    let options = ordered().observer(observer);
    let pool = NativePool::create_with(&connection, &config("T", 1, LONG), options).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let next = waiting(&pool, "b");
    assert!(pool.release(&lease).await.unwrap());
    let _lease = soon(next).await.unwrap();
    let denied = std::iter::from_fn(|| events.try_recv().ok())
        .filter(|event| matches!(event, GovernorEvent::PermissionDenied { what } if what.contains(QUEUE)))
        .count();
    assert_eq!(denied, 1, "told once");
}
