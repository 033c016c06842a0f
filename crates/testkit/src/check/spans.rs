//! How many at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::index::Index;
use super::model::Steps;

/// Something that counts from `start` until just before `end`, and that the pool decided on between `call` and `done`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) call: u64,
    pub(super) done: u64,
    pub(super) line: u64,
}

/// Too many at a time.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    pub(super) lines: Vec<u64>,
    pub(super) allowed: u64,
}

/// Every start at which there are more than allowed, and the most there ever were.
pub(super) fn crowds(mut spans: Vec<Span>, limits: &Steps) -> (Vec<Crowd>, usize) {
    let lowest = limits.0.iter().map(|step| step.value).min().unwrap_or(u64::MAX);
    spans.retain(|span| span.start < span.end);
    spans.sort_by_key(|span| span.start);
    let (mut open, mut found, mut most) = (BinaryHeap::new(), Vec::new(), 0);
    for (at, span) in spans.iter().enumerate() {
        while open.peek().is_some_and(|Reverse((end, _))| *end <= span.start) {
            open.pop();
        }
        open.push(Reverse((span.end, at)));
        most = most.max(open.len());
        if open.len() as u64 <= lowest {
            continue;
        }
        let now: Vec<&Span> = open.iter().map(|Reverse((_, at))| &spans[*at]).collect();
        let allowed = allowed(&now, limits);
        if now.len() as u64 > allowed {
            let mut lines: Vec<u64> = now.iter().map(|span| span.line).collect();
            lines.sort_unstable();
            found.push(Crowd { lines, allowed });
        }
    }
    (found, most)
}

/// The pool saw all of them when it decided on the last one: that can only be one whose answer came after the others
/// were asked for.
fn allowed(now: &[&Span], limits: &Steps) -> u64 {
    let asked = now.iter().map(|span| span.call).max().unwrap_or(0);
    let last = now.iter().filter(|span| span.done >= asked);
    last.map(|span| limits.max(span.call, span.done)).max().unwrap_or(u64::MAX)
}

/// How many leases their holders believed in, over time.
#[derive(Debug)]
pub(super) struct Timeline(Vec<(u64, u64)>);

impl Timeline {
    pub(super) fn of(index: &Index<'_>) -> Self {
        let spans = index.leases.iter().map(|lease| (lease.grant.done, lease.believed_until()));
        let mut changes: Vec<(u64, i64)> = spans
            .filter(|(start, end)| start < end)
            .flat_map(|(start, end)| [(start, 1), (end, -1)])
            .collect();
        // What ends at a time has ended before what begins then.
        changes.sort_unstable();
        let mut now = 0_i64;
        let counted = changes.into_iter().map(|(t, change)| {
            now += change;
            (t, now.unsigned_abs())
        });
        Self(counted.collect())
    }

    /// The most at some time from `from` to `to`.
    pub(super) fn most(&self, from: u64, to: u64) -> u64 {
        let first = self.0.partition_point(|(t, _)| *t <= from);
        let before = first.checked_sub(1).map_or(0, |at| self.0[at].1);
        let within = self.0[first..].iter().take_while(|(t, _)| *t <= to).map(|(_, count)| *count);
        within.max().unwrap_or(0).max(before)
    }
}
