//! The debt bucket against its formula and against exact arithmetic.

use std::time::Duration;

use proptest::prelude::*;
use sluicegate_batcher::{Bucket, Rate};
use tokio::time::Instant;

const UNIT: i128 = 1_000_000_000;

fn earned(rate: u64, time: Duration) -> i128 {
    i128::from(rate) * time.as_nanos() as i128
}

fn slices() -> impl Strategy<Value = Duration> {
    (100_000_u64..=1_000_000_000).prop_map(Duration::from_nanos)
}

/// From 1 to a million a second, each order of magnitude as likely as the others.
fn rates() -> impl Strategy<Value = u64> {
    (0_u32..=6, 1_u64..10).prop_map(|(power, digit)| (digit * 10_u64.pow(power)).min(1_000_000))
}

#[derive(Clone, Debug)]
enum Step {
    /// Waits until that cost is admitted, and so many nanoseconds longer; then takes as often as it is.
    Take {
        cost: u32,
        late: u64,
        often: usize,
    },
    Rate(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let take = (0_u32..5_000, 0_u64..20_000_000, 1_usize..4).prop_map(|(cost, late, often)| Step::Take {
        cost,
        late,
        often,
    });
    let step = prop_oneof![
        8 => take,
        1 => rates().prop_map(Step::Rate),
        2 => (0_u64..3_000_000_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Every window obeys S ≤ earned + R·j + max(b, c_max); where the rate changes, R and b are the largest on the one
    /// side, and the smallest b on the side of the debt.
    #[test]
    fn prop_bucket_window_bound(first in rates(), slice in slices(), steps in steps()) {
        let mut now = Instant::now();
        let (mut rate, mut highest, mut smallest, mut largest) = (first, first, first, 0_i128);
        let mut bucket = Bucket::full(Rate::per_second(rate), slice, now);
        // Cost taken less what the rate allowed, since the start: its largest rise is the worst window.
        let (mut taken, mut allowed, mut lowest, mut worst) = (0_i128, 0_i128, 0_i128, 0_i128);
        for step in steps {
            let before = now;
            match step {
                Step::Rate(new) => {
                    bucket.set_rate(Rate::per_second(new), now);
                    rate = new;
                    highest = highest.max(new);
                    smallest = smallest.min(new);
                }
                Step::Wait(nanos) => {
                    now += Duration::from_nanos(nanos);
                    allowed += earned(rate, now - before);
                }
                Step::Take { cost, late, often } => {
                    bucket.refill(now);
                    if let Some(at) = bucket.ready_at(cost.into()) {
                        now = now.max(at) + Duration::from_nanos(late);
                    }
                    allowed += earned(rate, now - before);
                    for _ in 0..often {
                        lowest = lowest.min(taken - allowed);
                        if bucket.try_take(cost, now) {
                            taken += i128::from(cost) * UNIT;
                            largest = largest.max(i128::from(cost) * UNIT);
                        }
                        worst = worst.max(taken - allowed - lowest);
                    }
                }
            }
        }
        let debt = (largest - earned(smallest, slice)).max(0);
        let bound = earned(highest, Bucket::SLACK) + earned(highest, slice) + debt;
        prop_assert!(worst <= bound, "{worst} > {bound}");
    }

    /// With a backlog and wake-ups at most the slack late nothing that was earned is lost.
    #[test]
    fn prop_bucket_throughput(
        rate in rates(),
        slice in slices(),
        costs in prop::collection::vec(1_u32..1_000, 1..20),
        lates in prop::collection::vec(0..=Bucket::SLACK.as_nanos() as u64, 1..20),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut bucket = Bucket::empty(Rate::per_second(rate), slice, start);
        let mut taken = 0_i128;
        for (late, cost) in lates.iter().cycle().zip(costs.iter().cycle()).take(500) {
            // Large enough that a wake-up takes no more than some thousand.
            let cost = (*cost).max(u32::try_from(rate / 10_000).unwrap());
            let at = bucket.ready_at(cost.into()).unwrap();
            now = now.max(at) + Duration::from_nanos(*late);
            bucket.refill(now);
            prop_assert!(bucket.admits(cost), "ready_at is no promise");
            while bucket.admits(cost) {
                bucket.take(cost);
                taken += i128::from(cost) * UNIT;
            }
        }
        let possible = earned(rate, now - start);
        let saved = earned(rate, slice + Bucket::SLACK);
        prop_assert!(taken + saved >= possible, "{taken} of {possible} after {:?}", now - start);
    }

    /// However the time is cut up, the balance is the exact one.
    #[test]
    fn prop_bucket_no_loss_no_gain(
        rate in rates(),
        debt in 1_u32..1_000_000,
        cuts in prop::collection::vec(0_u64..50_000, 1..200),
    ) {
        let start = Instant::now();
        let slice = Duration::from_millis(10);
        let mut bucket = Bucket::full(Rate::per_second(rate), slice, start);
        let mut balance = earned(rate, slice) - i128::from(debt) * UNIT;
        bucket.take(debt);
        let mut now = start;
        for nanos in cuts {
            now += Duration::from_nanos(nanos);
            bucket.refill(now);
            balance = (balance + earned(rate, Duration::from_nanos(nanos)))
                .min(earned(rate, slice + Bucket::SLACK));
            let owed = (-balance).max(0);
            prop_assert_eq!(i128::from(bucket.debt()), (owed + UNIT - 1) / UNIT);
            let missing = (UNIT.min(earned(rate, slice)) - balance).max(0);
            let wait = Duration::from_nanos(u64::try_from((missing + i128::from(rate) - 1) / i128::from(rate)).unwrap());
            prop_assert_eq!(bucket.ready_at(1), Some(now + wait));
        }
    }
}

#[test]
fn a_rate_of_zero_admits_only_what_is_free() {
    let now = Instant::now();
    let mut bucket = Bucket::full(Rate::ZERO, Duration::from_millis(10), now);
    assert!(bucket.try_take(0, now));
    assert!(!bucket.try_take(1, now + Duration::from_secs(60)));
    assert_eq!(bucket.ready_at(1), None);
    bucket.set_rate(Rate::per_second(10), now + Duration::from_secs(60));
    assert!(!bucket.try_take(1, now + Duration::from_secs(60)), "a change of rate brings nothing");
    assert!(bucket.try_take(1, now + Duration::from_secs(61)));
}

#[test]
fn what_was_saved_is_clamped_when_the_rate_falls() {
    let now = Instant::now();
    let slice = Duration::from_millis(100);
    let mut bucket = Bucket::full(Rate::per_second(1_000), slice, now);
    bucket.set_rate(Rate::per_second(10), now);
    assert!(bucket.try_take(1, now));
    assert!(!bucket.try_take(1, now), "100 units were saved, and one of them is left");
}

#[test]
fn time_does_not_run_back() {
    let now = Instant::now();
    let mut bucket = Bucket::empty(Rate::per_second(1), Duration::from_secs(1), now + Duration::from_secs(1));
    bucket.refill(now);
    bucket.refill(now + Duration::from_secs(1));
    assert!(!bucket.admits(1));
}
