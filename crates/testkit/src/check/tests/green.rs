//! What must not be taken for a breach.

use proptest::prelude::*;

use super::world::history;
use super::{broken, plans, report};
use crate::check::{Event, History, Op, Params, Phase, Rule, check};

fn figure(rule: Rule, events: &[Event], name: &str) -> f64 {
    check(rule, events, &Params::default()).figures.get(name).copied().unwrap_or(-1.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_calm_history(plan in plans(false)) {
        let events = history(plan);
        prop_assert_eq!(broken(&events, plan), [], "{}", report(&events));
        prop_assert!(figure(Rule::Starvation, &events, "waits") > 50.0);
    }

    /// Lost answers of attempts that were stored and of others, calls without an answer, evictions, resizes, holders
    /// that are killed, and holders that stand still while others are in, and are refused then.
    #[test]
    fn a_rough_history(plan in plans(true)) {
        let events = history(plan);
        prop_assert_eq!(broken(&events, plan), [], "{}", report(&events));
        for op in [Op::Evict, Op::Lost, Op::Refuse] {
            prop_assert!(events.iter().any(|event| event.op == op), "no {op:?}");
        }
        prop_assert!(events.iter().any(|event| event.op == Op::Acquire && event.ph == Phase::Unknown));
        prop_assert!(figure(Rule::Reclaim, &events, "left_by_the_dead") >= 1.0);
        prop_assert!(figure(Rule::Leak, &events, "stored") >= 1.0);
        prop_assert!(figure(Rule::Loss, &events, "held_to_the_deadline") >= 2.0);
        prop_assert_eq!(figure(Rule::Limit, &events, "most_valid"), figure(Rule::Limit, &events, "most_inside"));
    }

    #[test]
    fn equal_times(plan in plans(true)) {
        let mut events = history(plan);
        for event in &mut events {
            event.t -= event.t % 100_000;
            event.deadline = event.deadline.map(|deadline| deadline - deadline % 100_000);
        }
        prop_assert_eq!(broken(&events, plan), [], "{}", report(&events));
    }

    #[test]
    fn lines_of_different_processes_in_another_order(plan in plans(true)) {
        let mut events = history(plan);
        let last = events.len() - 1;
        events[1..last].sort_by(|a, b| a.writer().cmp(b.writer()));
        prop_assert_eq!(broken(&events, plan), [], "{}", report(&events));
    }

    #[test]
    fn what_is_written_is_read(plan in plans(true)) {
        let events = history(plan);
        let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        prop_assert_eq!(History::read(lines.join("\n").as_bytes()).unwrap().events, events);
    }
}
