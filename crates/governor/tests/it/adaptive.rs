//! The adaptive limit over real governors.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sluicegate_core::{Holder, LeasePool, LeasePoolExt, Wait};
use sluicegate_governor::{AdaptiveConfig, AdaptiveEvent, AdaptiveLimit, CampaignPool, NativePool, Outcome};
use sluicegate_nats::Connection;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{LONG, SOON, config, info, request, shared, slots, unique};

async fn limit_is(connection: &Connection, stream: &str, wanted: impl Fn(u64) -> bool) {
    let begin = Instant::now();
    loop {
        let now = info(connection, stream).await["config"]["max_msgs"].as_u64().expect("a limit");
        if wanted(now) {
            return;
        }
        assert!(begin.elapsed() < SOON, "the limit stays at {now}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Moves the limit of a governor under load, while a lease of `leader` is held.
async fn moves(connection: &Connection, leader: Arc<dyn LeasePool>) {
    let pool =
        CampaignPool::create(connection, &config(&unique("adaptive"), 3, LONG)).await.expect("created");
    let before = info(connection, pool.stream()).await["config"].clone();
    let (gained, mut led) = watch::channel(false);
    let bounds = AdaptiveConfig::new(slots(2), slots(30)).window(Duration::from_millis(50));
    let holder = Holder::try_new("resizer").expect("a proper name");
    let adaptive = AdaptiveLimit::builder(bounds, Arc::new(pool.clone()), Arc::clone(&leader), holder)
        .observer(move |event: &AdaptiveEvent| {
            if matches!(event, AdaptiveEvent::LeaderGained { .. }) {
                gained.send_replace(true);
            }
        })
        .start()
        .expect("a proper configuration");
    led.wait_for(|led| *led).await.expect("the observer lives");

    let (says, hears) = watch::channel(Outcome::Ok);
    let mut callers = JoinSet::new();
    for n in 0..12 {
        let (pool, recorder, hears) = (pool.clone(), adaptive.recorder(), hears.clone());
        callers.spawn(async move {
            let request = request(&format!("caller {n}"));
            loop {
                let lease =
                    pool.acquire(&request, &Wait::new()).await.expect("waiting answers").expect("a slot");
                let begin = Instant::now();
                sleep(Duration::from_millis(5)).await;
                recorder.record(begin.elapsed(), *hears.borrow());
                pool.release(&lease).await.expect("released");
            }
        });
    }
    limit_is(connection, pool.stream(), |limit| limit >= 8).await;
    says.send_replace(Outcome::Throttled);
    limit_is(connection, pool.stream(), |limit| limit == 2).await;
    adaptive.stop().await;
    assert_eq!(leader.describe().await.expect("described").held, Some(0), "leadership was given back");

    let mut after = info(connection, pool.stream()).await["config"].clone();
    assert_eq!(after["max_msgs"], Value::from(2));
    after["max_msgs"] = before["max_msgs"].clone();
    assert_eq!(after, before, "nothing else was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_governors_limit_follows_what_the_calls_show() {
    let connection = shared().await;
    let native = NativePool::create(&connection, &config(&unique("leader"), 1, Duration::from_secs(3))).await;
    moves(&connection, Arc::new(native.unwrap())).await;
    let campaign = config(&unique("leader"), 1, Duration::from_secs(1));
    moves(&connection, Arc::new(CampaignPool::create(&connection, &campaign).await.unwrap())).await;
}
