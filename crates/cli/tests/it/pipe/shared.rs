//! `--capacity`: a rate that several pipes share.

use std::time::Duration;

use sluicegate_testkit::server::NatsServer;
use tokio::time::Instant;

use super::{fed, numbers, spawn_on, summary};
use crate::tool::run_on;

/// Units a second of all together, and of one lease.
const TOTAL: u64 = 1_000;
const FACTOR: u64 = 100;

#[tokio::test]
async fn pipes_share_one_rate() {
    const EACH: u64 = 1_500;
    let server = NatsServer::start().await.unwrap();
    let add = ["capacity", "add", "shared", "--total", "1000", "--factor", "100", "--ttl", "1s"];
    assert_eq!(run_on(&server, &add).await.code, Some(0));
    let flags = ["--capacity", "shared", "--json"];
    let begun = Instant::now();
    let (one, two) = tokio::join!(
        fed(spawn_on(&server, &flags), numbers(EACH)),
        fed(spawn_on(&server, &flags), numbers(EACH))
    );
    let elapsed = begun.elapsed();
    for told in [&one, &two] {
        assert_eq!((told.code, &summary(told)["items"]), (Some(0), &EACH.into()), "{told:#?}");
    }
    // No window sees more than the total and a burst of each lease: the slice, which follows --linger, and the slack.
    let burst = TOTAL as f64 * (Duration::from_millis(50) + Duration::from_millis(2)).as_secs_f64();
    let least = (2 * EACH) as f64 - burst;
    assert!(elapsed.as_secs_f64() >= least / TOTAL as f64, "{elapsed:?}");

    let view = run_on(&server, &["capacity", "view", "shared", "--json"]).await;
    assert_eq!(view.document()["held"], 0, "both have given back what they held: {view:#?}");
    assert_eq!(view.document()["factor"], FACTOR);
}

#[tokio::test]
async fn a_capacity_that_is_none_is_said_so() {
    let server = NatsServer::shared().await.unwrap();
    let told = fed(spawn_on(server, &["--capacity", "nowhere", "--json"]), "1\n").await;
    assert_eq!((told.code, &told.error()["code"]), (Some(1), &"not_found".into()), "{told:#?}");
    assert!(told.error()["help"].as_str().unwrap().contains("capacity ls"), "{told:#?}");
    let both = fed(spawn_on(server, &["--capacity", "x", "--rate", "5/s"]), "").await;
    assert_eq!(both.code, Some(2), "{both:#?}");
}
