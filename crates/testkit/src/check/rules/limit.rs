use super::super::event::Op;
use super::super::index::Index;
use super::super::model::NEVER;
use super::super::spans::{Crowd, Span, crowds};
use super::super::verdict::Verdict;

pub(in super::super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    let leases = index.leases.iter().map(|lease| {
        let (grant, end) = (lease.grant, lease.believed_until());
        Span { start: grant.done, end, call: grant.call, done: grant.done, line: grant.line }
    });
    let leases: Vec<Span> = leases.collect();
    let (strictly, _) = crowds(leases.clone(), &index.strict);
    let (crowded, most) = crowds(leases, &index.limits);
    report(verdict, &crowded, "leases are valid");
    verdict.count("granted_by_an_old_limit", strictly.len().saturating_sub(crowded.len()) as u64);
    verdict.count("grants", index.leases.len() as u64);
    verdict.count("most_valid", most as u64);

    let entries = index.entries.iter().map(|entry| {
        let grant = index.held(entry.p, entry.lease).map(|lease| lease.grant);
        let (call, done) = grant.map_or((entry.start, entry.start), |grant| (grant.call, grant.done));
        let end = entry.end.min(index.excused(entry));
        Span { start: entry.start, end, call, done, line: entry.line }
    });
    let (crowded, most) = crowds(entries.collect(), &index.limits);
    report(verdict, &crowded, "are in at the resource");
    verdict.count("entries", index.entries.len() as u64);
    verdict.count("most_inside", most as u64);
    refused_although_valid(index, verdict);
}

fn report(verdict: &mut Verdict, crowded: &[Crowd], what: &str) {
    for crowd in crowded {
        let text = format!("{} {what}, {} are allowed", crowd.lines.len(), crowd.allowed);
        verdict.violation(crowd.lines.clone(), text);
    }
}

/// A resource that refuses a small token hides that there were two; but then one of them was refused rightly.
fn refused_although_valid(index: &Index<'_>, verdict: &mut Verdict) {
    let refused = index.events.iter().filter(|event| event.op == Op::Refuse && event.kind.is_none());
    for event in refused {
        let lease = event.lease.and_then(|id| index.held(&event.p, id));
        if let Some(lease) = lease
            && event.t < lease.believed_until()
            && !index.stood_still(&event.p, lease.grant.call, event.t, NEVER)
        {
            let text = format!("lease {} was refused, and it is valid", lease.id);
            verdict.violation([lease.grant.line, event.n], text);
        }
    }
}
