//! Checkers are tested before they are believed.

mod green;
mod inconclusive;
mod lowering;
mod mutants;
mod renewals;
mod world;

use proptest::prelude::*;

use self::world::Plan;
use super::{Event, Params, Rule, check};

/// Rules of the first kind hold whatever happens; nobody promises that the waits of a rough history are even.
fn broken(events: &[Event], plan: Plan) -> Vec<Rule> {
    let rules = Rule::ALL.into_iter().filter(|rule| !plan.rough || *rule != Rule::Starvation);
    rules.filter(|rule| !check(*rule, events, &Params::default()).violations.is_empty()).collect()
}

fn report(events: &[Event]) -> String {
    let verdicts = Rule::ALL.map(|rule| check(rule, events, &Params::default()));
    verdicts.iter().flat_map(|verdict| &verdict.violations).map(|found| format!("{found:?}\n")).collect()
}

fn plans(rough: bool) -> impl Strategy<Value = Plan> {
    (any::<u64>(), 1..=3_u64, 4..=5_u32).prop_map(move |(seed, limit, processes)| Plan {
        seed,
        limit,
        processes,
        rough,
    })
}
