use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::event::{Event, Op};
use super::super::index::Index;
use super::super::model::{NEVER, Outcome};
use super::super::verdict::{Params, Verdict, nanos};

pub(in super::super) fn check(index: &Index<'_>, params: &Params, verdict: &mut Verdict) {
    orphans(index, params, verdict);
    let finals: Vec<&Event> = index.events.iter().filter(|event| event.op == Op::Final).collect();
    let unknown = index.waits.iter().filter(|wait| wait.outcome == Outcome::Unknown).count();
    verdict.count("unknown", unknown as u64);
    let (Some(first), Some(last)) = (finals.first(), finals.last()) else { return };
    for replica in &finals {
        if ids(replica) != ids(first) {
            let text = format!("{} has stored something else than {}", name(replica), name(first));
            verdict.violation([first.n, replica.n], text);
        }
    }
    let mut unexplained = Vec::new();
    for id in ids(last) {
        match index.by_token.get(&id).map(|at| &index.leases[*at]) {
            None => unexplained.push(id),
            Some(lease) if lease.deadline().saturating_add(params.late()) < last.t => {
                let text = format!("lease {id} is stored after its time");
                verdict.violation([lease.grant.line, last.n], text);
            }
            Some(lease) => {
                let given_back = index.releases.iter().find(|release| {
                    release.lease == lease.id && release.freed.is_some() && release.done != NEVER
                });
                if let Some(release) = given_back {
                    let text = format!("lease {id} was given back to {}, and is stored", lease.p);
                    verdict.violation([release.line, last.n], text);
                }
            }
        }
    }
    // What the dead had asked for may have been granted, and nobody is left who could give it back.
    let excused = index.waits.iter().filter(|wait| {
        wait.outcome == Outcome::Unknown && index.death(wait.p) != NEVER && young(index, wait.call, last.t)
    });
    let excused = excused.count();
    if unexplained.len() > excused {
        let text = format!("{unexplained:?} are stored, and nobody holds them: leaked");
        verdict.violation([last.n], text);
    }
    missing(index, last, verdict);
    verdict.count("stored", ids(last).len() as u64);
    verdict.count("leaked", unexplained.len().saturating_sub(excused) as u64);
    verdict.count("replicas", finals.len() as u64);
}

/// What an onlooker saw stored for a long time while nobody held it: it was leaked, although it may have expired
/// before the end.
fn orphans(index: &Index<'_>, params: &Params, verdict: &mut Verdict) {
    let mut seen: BTreeMap<u64, (&Event, &Event)> = BTreeMap::new();
    for poll in index.events.iter().filter(|event| event.op == Op::Poll) {
        for token in ids(poll) {
            let lease = index.by_token.get(&token).map(|at| &index.leases[*at]);
            // Whoever holds it, or tries to give it back, knows of it.
            if lease.is_none_or(|lease| index.freed(lease) < poll.t) {
                seen.entry(token).or_insert((poll, poll)).1 = poll;
            }
        }
    }
    // Of the dead nobody knows what they had asked for.
    let unknown = index.waits.iter().filter(|wait| wait.outcome == Outcome::Unknown);
    let deaths: BTreeSet<u64> =
        unknown.map(|wait| index.death(wait.p)).filter(|death| *death != NEVER).collect();
    let mut longest = 0;
    for (token, (first, last)) in seen {
        if deaths.range(..=first.t).any(|death| young(index, *death, first.t)) {
            continue;
        }
        longest = longest.max(last.t - first.t);
        if last.t - first.t > nanos(params.resolve) {
            let seconds = (last.t - first.t) / 1_000_000_000;
            verdict.violation(
                [first.n, last.n],
                format!("{token} was stored for {seconds} s, and nobody held it"),
            );
        }
    }
    verdict.figures.insert("orphaned_max_s", Duration::from_nanos(longest).as_secs_f64());
}

/// Leases that their holders have, and the pool has not.
fn missing(index: &Index<'_>, last: &Event, verdict: &mut Verdict) {
    let stored = ids(last);
    let begun: BTreeSet<u64> = index.releases.iter().map(|release| release.lease).collect();
    for lease in &index.leases {
        let held = lease.deadline() > last.t && lease.revoked > last.t && !begun.contains(&lease.id);
        if held && !stored.contains(&lease.token()) {
            let text = format!("lease {} of {} is held, and is not stored", lease.id, lease.p);
            verdict.violation([lease.grant.line, last.n], text);
        }
    }
}

fn ids(replica: &Event) -> BTreeSet<u64> {
    replica.stored.iter().flatten().copied().collect()
}

fn name(replica: &Event) -> &str {
    replica.target.as_deref().unwrap_or("the pool")
}

/// It may be stored still.
fn young(index: &Index<'_>, call: u64, now: u64) -> bool {
    call.saturating_add(index.ttls.max(call, now)).saturating_add(1_000_000_000) >= now
}
