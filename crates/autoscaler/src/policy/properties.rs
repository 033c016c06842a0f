//! What has to hold for every policy, whatever it is shown.

use std::time::Duration;

use proptest::prelude::*;
use sluicegate_core::Random;

use crate::scaler::settle;
use crate::{FleetView, Limits, Load, Plan, Policy, Seed, SeedRate, Service, Snapshot};

/// Looks in one sequence, and sequences: more than 10^5 looks in all, for each policy.
const LOOKS: usize = 40;
const SEQUENCES: u32 = 2_600;

#[derive(Clone, Debug)]
struct Look {
    step: Duration,
    load: Load,
    arrivals: f64,
    mu: Option<f64>,
    ready: u32,
    starting: Vec<Duration>,
    saturated: Duration,
    quiet: Duration,
    since_arrival: Option<Duration>,
    hold: Duration,
    cold_start: Duration,
    slots: u32,
    total: u64,
}

impl Look {
    fn snapshot<'a>(&'a self, at: Duration, load: &'a Load, limits: Limits) -> Snapshot<'a> {
        let mut s = Snapshot::new(at, load, FleetView::new(self.ready, &self.starting));
        s.rates.arrivals = self.arrivals;
        s.rates.total = self.total;
        s.service = self.mu.map_or(Service::default(), Service::configured);
        (s.saturated, s.quiet, s.since_arrival) = (self.saturated, self.quiet, self.since_arrival);
        (s.hold, s.zero_after, s.cold_start, s.slots) = (self.hold, self.hold, self.cold_start, self.slots);
        s.limits = limits;
        s
    }
}

/// Every edge often, everything else sometimes.
fn count(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => 0,
        1 => 1 + random.below(50),
        2 => random.below(100_000),
        _ => random.below(1 << 53),
    }
}

fn positive(random: &mut Random) -> f64 {
    match random.below(4) {
        0 => 0.0,
        1 => 0.001 + 10.0 * random.unit(),
        2 => 1e4 * random.unit(),
        _ => 1e12 * random.unit(),
    }
}

fn time(random: &mut Random) -> Duration {
    Duration::from_millis(match random.below(3) {
        0 => 0,
        1 => random.below(2_000),
        _ => random.below(120_000),
    })
}

fn maybe<T>(random: &mut Random, value: fn(&mut Random) -> T) -> Option<T> {
    (random.below(3) == 0).then(|| value(random))
}

fn look(random: &mut Random) -> Look {
    let load = Load::new(count(random), count(random), 0);
    let (max_ack_pending, paused) = (maybe(random, count), maybe(random, time));
    Look {
        step: time(random),
        load: Load { max_ack_pending, paused, ..load },
        arrivals: positive(random),
        mu: maybe(random, |_| ()).map_or_else(|| Some(positive(random)), |()| None),
        ready: [5, 40, u64::from(u32::MAX)].map(|bound| random.below(bound) as u32)[random.below(3) as usize],
        starting: (0..random.below(6)).map(|_| time(random)).collect(),
        saturated: time(random),
        quiet: time(random),
        since_arrival: maybe(random, time),
        hold: time(random),
        cold_start: time(random),
        slots: 1 + random.below(100) as u32,
        total: count(random),
    }
}

fn limits(random: &mut Random) -> Limits {
    let min = (random.below(30) as u32).saturating_sub(15);
    (min..=min + 1 + random.below(50) as u32).into()
}

fn policies() -> Vec<Box<dyn Policy>> {
    vec![
        Box::new(Plan::default()),
        Box::new(Plan::default().drain_time(Duration::ZERO).utilisation(1.0)),
        Box::new(Seed::default()),
        Box::new(Seed::default().rate(SeedRate::Cumulative).every(Duration::ZERO)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SEQUENCES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_policy_stays_within_its_limits_and_decides_alike(
        seed in any::<u64>(),
        more in 1u64..1_000_000,
    ) {
        let mut random = Random::seeded(seed);
        let limits = limits(&mut random);
        let looks: Vec<Look> = (0..LOOKS).map(|_| look(&mut random)).collect();
        for mut policy in policies() {
            let mut at = Duration::ZERO;
            for look in &looks {
                at += look.step;
                let snapshot = look.snapshot(at, &look.load, limits);
                let (mut twin, mut greedy) = (policy.fork(), policy.fork());
                let advice = policy.decide(&snapshot);
                let (to, clipped) = settle(advice.want, &snapshot);
                prop_assert!(limits.min <= to && to <= limits.max, "{to} outside {limits}: {advice:?}");
                prop_assert!(to > 0 || look.load.lag() == 0 || look.load.paused.is_some(), "work, and nobody");
                let line = format!("{} {}", advice.why, advice.terms);
                prop_assert!(!line.contains("NaN"), "{line}");
                let again = twin.decide(&snapshot);
                prop_assert_eq!(&advice, &again);
                prop_assert_eq!((to, clipped), settle(again.want, &snapshot));
                let fuller = Load { pending: look.load.pending + more, ..look.load.clone() };
                let full = look.snapshot(at, &fuller, limits);
                let wanted = greedy.decide(&full).want;
                prop_assert!(wanted >= advice.want, "{wanted} < {} with more pending", advice.want);
                prop_assert!(settle(wanted, &full).0 >= to, "fewer instances with more pending");
            }
        }
    }
}
