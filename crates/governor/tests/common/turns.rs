//! What workers of any language tell of their turns, and what follows from it. Times are the system's monotonic clock,
//! which all processes of a machine share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One slot, held once. The four times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) worker: String,
    pub(crate) seq: u64,
    /// It began to ask.
    pub(crate) asked: u64,
    /// It knew that it had a slot.
    pub(crate) granted: u64,
    /// It began to give the slot back.
    pub(crate) leaving: u64,
    /// It knew that the slot was free.
    pub(crate) left: u64,
}

/// The clock of [`Turn`]s.
pub(crate) fn now() -> u64 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since_boot =
        Duration::from_secs(at.tv_sec.unsigned_abs()) + Duration::from_nanos(at.tv_nsec.unsigned_abs());
    u64::try_from(since_boot.as_nanos()).expect("less than centuries after the boot")
}

/// How many turns went on at the same time at most. A turn ends before the next one begins at the same instant.
pub(crate) fn most_at_once<'a>(turns: impl IntoIterator<Item = &'a Turn>) -> usize {
    let mut edges: Vec<(u64, bool)> = Vec::new();
    for turn in turns {
        edges.extend([(turn.granted, true), (turn.leaving, false)]);
    }
    edges.sort_unstable();
    let (mut inside, mut most) = (0_usize, 0);
    for (_, enters) in edges {
        inside = if enters { inside + 1 } else { inside - 1 };
        most = most.max(inside);
    }
    most
}

/// Turns of each worker; workers without any are counted too, as long as they are named.
pub(crate) fn by_worker<'a>(
    turns: impl IntoIterator<Item = &'a Turn>,
    workers: impl IntoIterator<Item = String>,
) -> BTreeMap<String, u32> {
    let mut counts: BTreeMap<String, u32> = workers.into_iter().map(|worker| (worker, 0)).collect();
    for turn in turns {
        *counts.entry(turn.worker.clone()).or_default() += 1;
    }
    counts
}

/// Jain's index: 1 = everybody had as much, 1/n = one of n had all.
pub(crate) fn jain(counts: &BTreeMap<String, u32>) -> f64 {
    let sum: f64 = counts.values().map(|n| f64::from(*n)).sum();
    let squares: f64 = counts.values().map(|n| f64::from(*n).powi(2)).sum();
    let workers = u32::try_from(counts.len()).map_or(f64::MAX, f64::from);
    if squares == 0.0 { 0.0 } else { sum * sum / (workers * squares) }
}

/// From the moment that a holder began to give the only slot back to the moment that somebody else had it, in
/// nanoseconds; and how often the same worker had it again.
pub(crate) fn hand_offs(turns: &[Turn]) -> (Vec<u64>, usize) {
    let mut order: Vec<&Turn> = turns.iter().collect();
    order.sort_unstable_by_key(|turn| turn.granted);
    let pairs = order.windows(2).map(|pair| (pair[0], pair[1]));
    let (strict, again): (Vec<_>, Vec<_>) = pairs.partition(|(before, after)| before.worker != after.worker);
    (strict.iter().map(|(before, after)| after.granted.saturating_sub(before.leaving)).collect(), again.len())
}

/// The value below which that share of them is; the values need not be in order.
pub(crate) fn quantile(values: &[u64], share: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    #[expect(clippy::cast_precision_loss, reason = "an index")]
    let at = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
