use std::collections::{BTreeMap, HashMap};

use super::event::{Event, Op, Phase};
use super::index::Index;
use super::model::{NEVER, Outcome};
use super::verdict::Params;

/// Why a history shows nothing, whatever the rules say of it; none: it does show something.
pub fn doubts(history: &[Event], params: &Params) -> Vec<String> {
    let index = Index::of(history);
    if index.leases.is_empty() {
        return vec!["nothing was granted".to_owned()];
    }
    let mut doubts = Vec::new();
    if history.last().is_none_or(|event| event.op != Op::End) {
        doubts.push("the end is missing: the file is cut off".to_owned());
    }
    if let Some(line) = turned_back(history) {
        doubts.push(format!("line {line}: the clock went back"));
    }
    if !index.waits.iter().any(|wait| wait.outcome == Outcome::Full) {
        doubts.push("the pool was never full: there was no contention".to_owned());
    }
    doubts.extend(unconfirmed(&index));
    let killed = index.faults.iter().any(|fault| fault.kind.contains("kill") && fault.confirmed != NEVER);
    if killed && !history.iter().any(in_doubt) && !index.waits.iter().any(|wait| wait.done == NEVER) {
        doubts.push("something was killed, and no outcome was ever unknown".to_owned());
    }
    doubts.extend(unanswered(&index, params));
    doubts
}

/// Where a process's clock shows less than before.
fn turned_back(history: &[Event]) -> Option<u64> {
    let mut last: HashMap<&str, u64> = HashMap::new();
    history.iter().find(|event| last.insert(event.writer(), event.t) > Some(event.t)).map(|event| event.n)
}

/// Kinds of faults that never happened although they were begun.
fn unconfirmed(index: &Index<'_>) -> Vec<String> {
    let mut kinds: BTreeMap<&str, bool> = BTreeMap::new();
    for fault in &index.faults {
        *kinds.entry(fault.kind).or_default() |= fault.confirmed != NEVER;
    }
    let never = kinds.into_iter().filter(|(_, confirmed)| !confirmed);
    never.map(|(kind, _)| format!("no fault of kind {kind} was ever confirmed")).collect()
}

/// The outcome was unknown, or was for a while.
fn in_doubt(event: &Event) -> bool {
    let asks = matches!(event.op, Op::Acquire | Op::Renew | Op::Release);
    asks && (event.ph == Phase::Unknown || event.tries.is_some_and(|tries| tries > 1))
}

/// An onlooker that cannot look when all is well again has not looked before.
fn unanswered(index: &Index<'_>, params: &Params) -> Option<String> {
    let healed = index.faults.iter().map(|fault| fault.end).filter(|end| *end != NEVER).max().unwrap_or(0);
    let polls = index.events.iter().filter(|event| {
        event.op == Op::Poll && event.ph != Phase::Call && event.t > healed.saturating_add(params.settle())
    });
    let (all, failed) = polls
        .fold((0_u64, 0_u64), |(all, failed), poll| (all + 1, failed + u64::from(poll.ph != Phase::Done)));
    (failed * 100 > all).then(|| format!("{failed} of {all} looks at the pool were not answered in the end"))
}
