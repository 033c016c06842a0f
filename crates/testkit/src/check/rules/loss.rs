use super::super::event::Op;
use super::super::index::Index;
use super::super::model::{Lease, NEVER, Steps};
use super::super::verdict::{Params, Verdict};

pub(in super::super) fn check(index: &Index<'_>, params: &Params, verdict: &mut Verdict) {
    let (mut to_the_end, mut unaware) = (0, 0);
    for lease in &index.leases {
        unaware += deadlines(index, lease, verdict);
        let deadline = lease.deadline();
        let over = lease.release.min(lease.revoked).min(index.death(lease.p)).min(index.end);
        if over <= deadline {
            continue;
        }
        to_the_end += 1;
        let told = lease.lost <= deadline;
        if !told && !index.stood_still(lease.p, lease.grant.call, deadline, params.late()) {
            let text = format!("lease {} came to its deadline, and its holder was not told before", lease.id);
            verdict.violation([lease.grant.line], text);
        }
    }
    verdict.count("held_to_the_deadline", to_the_end);
    verdict.count("granted_by_an_old_ttl", unaware);
    used_when_over(index, params, verdict);
    let refused = index.events.iter().filter(|event| event.op == Op::Refuse);
    let mut count = 0;
    for event in refused {
        count += 1;
        if event.kind.is_some() && !index.stood_still(&event.p, event.t, event.t, params.late()) {
            let text = format!("the resource was shown lease {:?}, which is over", event.lease);
            verdict.violation([event.n], text);
        }
    }
    verdict.count("refused", count);
}

/// A deadline counts from before the request that was confirmed, and by the time to live of then. How many went by one
/// that had been lowered, and that their holder cannot have heard of yet?
fn deadlines(index: &Index<'_>, lease: &Lease<'_>, verdict: &mut Verdict) -> u64 {
    let mut unaware = 0;
    for grant in std::iter::once(&lease.grant).chain(&lease.renewals).filter(|grant| grant.deadline != NEVER)
    {
        let latest = |ttls: &Steps| grant.done.saturating_add(ttls.max(grant.call, grant.done));
        if grant.deadline > latest(&index.ttls) {
            let excess = grant.deadline - latest(&index.ttls);
            verdict.violation([grant.line], format!("lease {} lasts {excess} ns too long", lease.id));
        } else if grant.deadline > latest(&index.strict_ttls) {
            unaware += 1;
        }
    }
    unaware
}

fn used_when_over(index: &Index<'_>, params: &Params, verdict: &mut Verdict) {
    for entry in &index.entries {
        let Some(lease) = index.held(entry.p, entry.lease) else { continue };
        let over = lease.deadline();
        for used in std::iter::once(entry.start).chain(entry.touches.iter().copied()) {
            if used > over && !index.stood_still(entry.p, lease.grant.call, used, params.late()) {
                let late = (used - over) / 1_000_000;
                let text = format!("lease {} was used {late} ms after its deadline", lease.id);
                verdict.violation([lease.grant.line, entry.line], text);
                break;
            }
        }
    }
}
