//! The whole loop over a simulated queue.

use std::time::Duration;

use sluicegate_autoscaler::{Plan, Reason, Seed, ServiceSource};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::world::{World, run, until};

const MU: f64 = 500.0;
const COLD: Duration = Duration::from_secs(1);

fn two_batches(t: f64) -> f64 {
    if (1.0..6.0).contains(&t) || (9.0..14.0).contains(&t) { 2000.0 } else { 0.0 }
}

#[tokio::test(start_paused = true)]
async fn up_with_the_load_and_down_to_zero() {
    for seed in 1..=9 {
        let world = World::new(MU, COLD, seed, two_batches);
        let outcome = run(&world, world.scaler(), 60).await;
        assert_eq!(outcome.left, 0);
        assert!(outcome.served > 19_000, "{} served", outcome.served);
        assert_eq!(outcome.decisions.last().map(|last| last.to), Some(0), "{:?}", outcome.decisions);
        assert!((5..=10).contains(&outcome.peak()), "peak {}", outcome.peak());
        // Looking once a second while idle, plus the cold start, plus what is left to drain.
        let bound = Duration::from_secs(1) + COLD + Duration::from_millis(500);
        assert!(outcome.p99 <= bound, "p99 {:?}", outcome.p99);
        println!(
            "seed {seed}: p99 {:?}, {:.0} instance-seconds, {} changes, peak {}",
            outcome.p99,
            outcome.instance_seconds,
            outcome.decisions.len(),
            outcome.peak()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_run_gives_the_same_decisions() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let world = World::new(MU, COLD, 7, two_batches);
        let outcome = run(&world, world.scaler(), 60).await;
        runs.push(
            outcome.decisions.iter().map(|d| format!("{:?} {d} {}", d.at, d.terms)).collect::<Vec<_>>(),
        );
    }
    assert!(!runs[0].is_empty());
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(start_paused = true)]
async fn a_message_after_the_zero_decision_wakes_it_under_every_policy() {
    for policy in ["plan", "seed"] {
        let world = World::new(MU, COLD, 1, |_| 0.0);
        let builder = match policy {
            "plan" => world.scaler().policy(Plan::default()),
            _ => world.scaler().policy(Seed::default()),
        };
        let token = CancellationToken::new();
        let running = builder.build().unwrap().start(token.clone());
        for round in 0..5 {
            world.put(100);
            until(&running, "an instance", |status| status.target > 0).await;
            until(&running, "zero", |status| status.target == 0).await;
            assert_eq!(world.left(), 0, "{policy}: zero with work left");
            // At another phase of the idle looks in each round.
            sleep(Duration::from_millis(170 * round)).await;
        }
        world.put(1);
        until(&running, "the late message's instance", |status| status.target == 1).await;
        until(&running, "zero", |status| status.target == 0).await;
        assert_eq!(world.left(), 0);
        token.cancel();
        running.join().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_and_never_settled_keeps_an_instance() {
    let world = World::new(MU, COLD, 1, |_| 0.0);
    let token = CancellationToken::new();
    let running = world.scaler().build().unwrap().start(token.clone());
    world.stick(1);
    until(&running, "an instance", |status| status.target == 1).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(running.status().borrow().target, 1);
    world.stick(0);
    until(&running, "zero", |status| status.target == 0).await;
    token.cancel();
    running.join().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn learns_what_an_instance_can_do() {
    let world = World::new(50.0, COLD, 1, |t| if t < 120.0 { 400.0 } else { 0.0 });
    let builder =
        sluicegate_autoscaler::Autoscaler::builder(world.clone()).provisioner(world.clone()).limits(0..=40);
    let token = CancellationToken::new();
    let running = builder.build().unwrap().start(token.clone());
    let learned = until(&running, "a service rate", |status| status.service.mu.is_some()).await;
    assert_eq!(learned.service.source, ServiceSource::Saturated);
    assert!((learned.service.mu.unwrap() - 50.0).abs() < 5.0, "{:?}", learned.service);
    until(&running, "enough instances", |status| (8..=40).contains(&status.fleet.ready)).await;
    until(&running, "zero", |status| status.target == 0).await;
    token.cancel();
    let decisions = running.join().await.unwrap().decisions;
    assert!(matches!(decisions[0].why, Reason::Work { .. }), "{}", decisions[0]);
    assert_eq!(decisions[0].to, 1, "one instance until somebody knows more");
    assert_eq!(world.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_paused_scaler_looks_and_does_not_order() {
    let world = World::new(MU, COLD, 1, |_| 0.0);
    let token = CancellationToken::new();
    let running = world.scaler().build().unwrap().start(token.clone());
    running.pause();
    world.put(1000);
    let seen = until(&running, "the load", |status| status.load.as_ref().is_some_and(|l| l.lag() > 0)).await;
    assert_eq!(seen.target, 0);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(running.status().borrow().target, 0);
    running.resume();
    until(&running, "instances", |status| status.target > 0).await;
    token.cancel();
    running.join().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_order_that_failed_is_given_again() {
    let world = World::new(MU, COLD, 1, |_| 0.0);
    world.refuse_orders(true);
    let token = CancellationToken::new();
    let running = world.scaler().build().unwrap().start(token.clone());
    world.put(1000);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(running.status().borrow().target, 0, "an order that nobody took is no target");
    world.refuse_orders(false);
    until(&running, "instances", |status| status.fleet.ready > 0).await;
    token.cancel();
    running.join().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_there_at_the_start_is_adopted() {
    let world = World::new(MU, COLD, 1, |_| 700.0);
    let first = run(&world, world.scaler(), 30).await;
    assert_eq!(first.decisions.last().map(|last| last.to), Some(2));
    let second = run(&world, world.scaler(), 30).await;
    assert_eq!(second.decisions, [], "the fleet was right, and stays");
}
