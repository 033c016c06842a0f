//! What the limiter costs, beside a crate that does nothing else.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_batcher::{Bucket, Rate};
use sluicegate_testkit::figures::Figures;
use tokio::time::Instant;

use crate::{Effort, median};

const OPERATIONS: u32 = 4_000_000;

pub(crate) fn measure(effort: Effort, figures: &mut Figures) {
    let operations = u32::try_from(effort.part(OPERATIONS as usize)).unwrap();
    let (mut batch, mut each, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds() {
        batch.push(time(operations, || per_batch(operations)));
        each.push(time(operations, || per_operation(operations)));
        peer.push(time(operations, || governor(operations)));
    }
    figures.alone("limiter/per_batch", "time", "ns/operation", median(batch));
    figures
        .beside("limiter/per_op", "time", "ns/operation", median(each), median(peer))
        .note("floor: the crate `governor` with the same clock, which it asks each time, as we do here");
}

fn time(operations: u32, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / f64::from(operations)
}

fn bucket() -> Bucket {
    Bucket::full(Rate::per_second(u64::from(u32::MAX)), Duration::from_secs(1), Instant::now())
}

/// As the engine does: one look at the clock, then a hundred operations.
fn per_batch(operations: u32) {
    let mut bucket = bucket();
    for _ in 0..operations / 100 {
        bucket.refill(Instant::now());
        for _ in 0..100 {
            if black_box(&bucket).admits(1) {
                bucket.take(1);
            }
        }
    }
    black_box(bucket);
}

fn per_operation(operations: u32) {
    let mut bucket = bucket();
    for _ in 0..operations {
        black_box(bucket.try_take(1, Instant::now()));
    }
}

fn governor(operations: u32) {
    let quota = governor::Quota::per_second(NonZeroU32::MAX).allow_burst(NonZeroU32::MAX);
    let limiter = governor::RateLimiter::direct_with_clock(quota, governor::clock::MonotonicClock);
    for _ in 0..operations {
        let _ = black_box(limiter.check());
    }
}
