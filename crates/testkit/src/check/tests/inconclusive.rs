//! What shows nothing, whatever the rules say.

use super::world::{MS, Plan, history};
use crate::check::{Event, History, Op, Params, Phase, doubts};

fn rough() -> Vec<Event> {
    history(Plan { seed: 7, limit: 2, processes: 4, rough: true })
}

fn doubts_of(edit: impl FnOnce(&mut Vec<Event>)) -> String {
    let mut events = rough();
    edit(&mut events);
    doubts(&events, &Params::default()).join("; ")
}

#[test]
fn a_whole_history_leaves_no_doubt() {
    assert_eq!(doubts_of(|_| {}), "");
}

#[test]
fn an_empty_one() {
    assert_eq!(doubts_of(Vec::clear), "nothing was granted");
}

#[test]
fn one_that_is_cut_off() {
    assert!(doubts_of(|events| drop(events.pop())).contains("cut off"));
    let line = serde_json::to_string(&rough()[1]).unwrap();
    let error = History::read(&line.as_bytes()[..line.len() - 1]).unwrap_err();
    assert!(error.to_string().starts_with("line 1: "), "{error}");
}

#[test]
fn a_fault_that_never_happened() {
    let found = doubts_of(|events| {
        events.retain(|event| event.ph != Phase::Done || event.kind.as_deref() != Some("stop"));
    });
    assert!(found.contains("kind stop"), "{found}");
}

#[test]
fn no_contention() {
    let found = doubts_of(|events| {
        events.retain(|event| event.op != Op::Acquire || event.ph != Phase::Done || event.lease.is_some());
    });
    assert!(found.contains("never full"), "{found}");
}

#[test]
fn a_kill_that_left_nothing_unknown() {
    let found = doubts_of(|events| {
        let answered: Vec<u64> = events
            .iter()
            .filter(|event| event.op == Op::Acquire && event.ph == Phase::Done)
            .map(|event| event.id)
            .collect();
        events.retain(|event| event.op != Op::Acquire || answered.contains(&event.id));
    });
    assert!(found.contains("ever unknown"), "{found}");
}

#[test]
fn a_clock_that_goes_back() {
    let found = doubts_of(|events| {
        let second = events.iter().rposition(|event| &*event.p == "w1").unwrap();
        events[second].t = 1;
    });
    assert!(found.contains("went back"), "{found}");
}

#[test]
fn an_onlooker_that_does_not_see_the_end() {
    let poll = |t, ph| Event::new(t, "onlooker", Op::Poll, ph);
    let found = doubts_of(|events| {
        let end = events.pop().unwrap();
        let t = end.t + 10_000 * MS;
        events.extend((0..50).map(|n| poll(t + n, if n == 7 { Phase::Unknown } else { Phase::Done })));
        events.push(Event { t: t + 50, ..end });
    });
    assert!(found.contains("1 of 50"), "{found}");
}
