//! What the auto-scaler of NATS by Example did, and what must not come back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_autoscaler::{Plan, ScalerErrorKind, ScalerEvent, Seed, SeedRate};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::world::{World, run, until};

const MU: f64 = 500.0;
const SEEDS: u64 = 5;
const COLD: Duration = Duration::from_secs(1);

/// The seed went 0, -1, -1, … once nothing had been received for two seconds.
#[tokio::test(start_paused = true)]
async fn must_not_f02_go_below_zero() {
    let world = World::new(MU, COLD, 1, |t| if t < 5.0 { 900.0 } else { 0.0 });
    let outcome = run(&world, world.scaler().policy(Seed::default()), 600).await;
    // A count that wrapped around would be brought to the maximum.
    assert!((1..=5).contains(&outcome.peak()), "{:?}", outcome.decisions);
    assert_eq!(outcome.decisions.last().map(|last| last.to), Some(0));
    assert_eq!(outcome.changes_after(Duration::from_secs(60)), 0, "{:?}", outcome.decisions);
}

fn step(t: f64) -> f64 {
    match t {
        t if t < 60.0 => 200.0,
        t if t < 180.0 => 2000.0,
        _ => 200.0,
    }
}

/// The seed divided by the whole time since its start: ten times the load went unnoticed for minutes.
#[tokio::test(start_paused = true)]
async fn must_not_f04_average_over_all_time() {
    let mut p99 = Vec::new();
    for policy in 0..3 {
        let world = World::new(MU, COLD, 3, step);
        let builder = match policy {
            0 => world.scaler().policy(Seed::default().rate(SeedRate::Cumulative)),
            1 => world.scaler().policy(Seed::default().rate(SeedRate::Windowed)),
            _ => world.scaler().policy(Plan::default()),
        };
        p99.push(run(&world, builder, 180).await.p99);
    }
    assert!(p99[0] > Duration::from_secs(10), "the seed's own measure is as slow as it was: {p99:?}");
    assert!(p99[1] < Duration::from_secs(5), "{p99:?}");
    assert!(p99[2] < Duration::from_secs(2), "{p99:?}");
}

/// The seed changed its mind seven times in twelve seconds at 500 messages a second.
#[tokio::test(start_paused = true)]
async fn must_not_f05_flap_under_steady_load() {
    for rate in [5.0, 20.0, 50.0, 100.0, 250.0, 480.0, 500.0, 1000.0, 1900.0, 2000.0, 2375.0, 4750.0] {
        let mut late = Vec::new();
        for seed in 1..=SEEDS {
            let world = World::new(MU, COLD, seed, move |_| rate);
            let outcome = run(&world, world.scaler(), 300).await;
            late.push(outcome.changes_after(Duration::from_secs(30)));
            assert!(outcome.p99 < Duration::from_secs(3), "{rate}/s: p99 {:?}", outcome.p99);
        }
        println!("{rate}/s: {late:?}");
        late.sort_unstable();
        assert_eq!(late[late.len() / 2], 0, "{rate}/s: changes after 30 s with {SEEDS} seeds: {late:?}");
    }
}

/// The seed scaled to zero and ended at the first error.
#[tokio::test(start_paused = true)]
async fn must_not_f09_end_at_an_error() {
    for kind in [ScalerErrorKind::Unavailable, ScalerErrorKind::NotFound, ScalerErrorKind::NotPermitted] {
        let world = World::new(MU, COLD, 1, |_| 700.0);
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let observer = move |event: &ScalerEvent| {
            if matches!(event, ScalerEvent::Holding { .. } | ScalerEvent::HoldEnded { .. }) {
                seen.lock().unwrap().push(event.clone());
            }
        };
        let token = CancellationToken::new();
        let running = world.scaler().observer(observer).build().unwrap().start(token.clone());
        until(&running, "two instances", |status| status.fleet.ready == 2).await;
        sleep(Duration::from_secs(30)).await;
        world.fail(Some(kind));
        until(&running, "holding", |status| status.holding == Some(kind)).await;
        sleep(Duration::from_secs(300)).await;
        assert_eq!(running.status().borrow().target, 2, "an error is not an empty queue");
        let before = running.decisions().len();
        world.fail(None);
        until(&running, "looks again", |status| status.holding.is_none()).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(running.decisions().len(), before, "the counters made the gap exact: nothing to correct");
        token.cancel();
        running.join().await.unwrap();
        let told = events.lock().unwrap().clone();
        assert!(matches!(told[..], [ScalerEvent::Holding { .. }, ScalerEvent::HoldEnded { .. }]), "{told:?}");
    }
}

/// Neither up nor down on an error, and from zero only at a look that saw work.
#[tokio::test(start_paused = true)]
async fn must_not_f09_start_anybody_on_an_error() {
    let world = World::new(MU, COLD, 1, |_| 0.0);
    world.fail(Some(ScalerErrorKind::NotFound));
    let token = CancellationToken::new();
    let running = world.scaler().build().unwrap().start(token.clone());
    world.put(100);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.orders(), []);
    world.fail(None);
    until(&running, "an instance", |status| status.target > 0).await;
    token.cancel();
    running.join().await.unwrap();
}
