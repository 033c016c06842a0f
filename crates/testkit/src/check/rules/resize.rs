use std::collections::HashSet;

use super::super::index::Index;
use super::super::model::{NEVER, Release};
use super::super::spans::Timeline;
use super::super::verdict::{Params, Verdict};

pub(in super::super) fn check(index: &Index<'_>, params: &Params, verdict: &mut Verdict) {
    let timeline = Timeline::of(index);
    let (mut grown, mut shrunk_to, mut seen) = (0, 0, 0);
    for pair in index.strict.0.windows(2) {
        let (before, now) = (pair[0], pair[1]);
        if now.value < before.value {
            shrunk_to += 1;
        }
        if now.value <= before.value || now.done == NEVER {
            continue;
        }
        grown += 1;
        let (from, to) = (now.done, now.done.saturating_add(params.late()));
        // The next change may come at once.
        let alone = index.strict.max(from, to) == now.value && now.until > to;
        if !alone || !index.calm(from, to, params.settle()) {
            continue;
        }
        seen += 1;
        if timeline.most(from, to) < now.value
            && let Some(wait) = index.somebody_waits(from, to)
        {
            let text = format!("the limit was raised to {}, and nobody was let in", now.value);
            verdict.violation([now.line, wait.line], text);
        }
    }
    let evicted = taken(index, params).into_iter().filter(|release| shrunk(index, release));
    for release in evicted {
        let text = format!("lease {} was taken away when the limit was lowered", release.lease);
        verdict.violation([release.line], text);
    }
    verdict.count("raised", grown);
    verdict.count("raised_in_calm", seen);
    verdict.count("lowered", shrunk_to);
}

/// Releases that found their lease gone before its time, and nobody with authority had ended it. A repetition of a
/// release whose answer was lost finds that, too.
pub(super) fn taken<'i, 'a>(index: &'i Index<'a>, params: &Params) -> Vec<&'i Release<'a>> {
    let mut tried = HashSet::new();
    let taken = index.releases.iter().filter(|release| {
        let first = tried.insert((release.p, release.lease));
        let Some(lease) = index.held(release.p, release.lease) else { return false };
        first
            && release.freed == Some(false)
            && release.done < lease.deadline()
            && lease.revoked > release.done
            && index.calm(release.call, release.done, params.settle())
            && !index.stood_still(release.p, release.call, release.done, params.late())
    });
    taken.collect()
}

/// The limit was lowered while the lease was held.
pub(super) fn shrunk(index: &Index<'_>, release: &Release<'_>) -> bool {
    let held_since = index.held(release.p, release.lease).map_or(0, |lease| lease.grant.call);
    let lowered = index.limits.0.windows(2).filter(|pair| pair[1].value < pair[0].value);
    lowered.map(|pair| pair[1]).any(|step| step.call <= release.done && step.done >= held_since)
}
