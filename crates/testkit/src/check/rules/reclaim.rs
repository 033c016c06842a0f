use super::super::index::Index;
use super::super::model::{Lease, NEVER, Outcome};
use super::super::spans::Timeline;
use super::super::verdict::{Params, Verdict};

pub(in super::super) fn check(index: &Index<'_>, params: &Params, verdict: &mut Verdict) {
    let timeline = Timeline::of(index);
    let (mut left, mut took) = (0, Vec::new());
    for lease in &index.leases {
        let death = index.death(lease.p);
        if lease.believed_until() <= death || lease.deadline() == NEVER || lease.revoked != NEVER {
            continue;
        }
        left += 1;
        let (from, to) = (lease.deadline(), lease.deadline().saturating_add(params.late()));
        let limit = index.limits.max(from, to);
        if limit == 1 && index.calm(death, to, params.settle()) {
            took.extend(next_grant(index, death).map(|at| at - death));
        }
        // Attempts of the dead that nobody knows the outcome of hold slots, too.
        let hidden = unresolved(index, lease).min(limit.saturating_sub(1));
        if timeline.most(from, to) + hidden < limit
            && index.calm(from, to, params.settle())
            && let Some(wait) = index.somebody_waits(from, to)
        {
            let text = format!("the slot of lease {}, whose holder was killed, did not come back", lease.id);
            verdict.violation([lease.grant.line, wait.line], text);
        }
    }
    verdict.count("left_by_the_dead", left);
    verdict.seconds(["reclaimed_p50_s", "reclaimed_p99_s", "reclaimed_max_s"], took);
}

fn next_grant(index: &Index<'_>, after: u64) -> Option<u64> {
    let at = index.leases.partition_point(|lease| lease.grant.done <= after);
    index.leases.get(at).map(|lease| lease.grant.done)
}

fn unresolved(index: &Index<'_>, dead: &Lease<'_>) -> u64 {
    let ttl = dead.deadline().saturating_sub(dead.grant.done);
    let hidden = index.waits.iter().filter(|wait| {
        let death = index.death(wait.p);
        wait.outcome == Outcome::Unknown && death != NEVER && death.saturating_add(2 * ttl) >= dead.deadline()
    });
    hidden.count() as u64
}
