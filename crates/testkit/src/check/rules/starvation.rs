use std::collections::BTreeMap;

use super::super::index::Index;
use super::super::model::{NEVER, Outcome, Wait};
use super::super::verdict::{Params, Verdict};

#[expect(clippy::cast_precision_loss, reason = "waits and counts are far below 2^52")]
pub(in super::super) fn check(index: &Index<'_>, params: &Params, verdict: &mut Verdict) {
    let mut turns: BTreeMap<(&str, u32), f64> = BTreeMap::new();
    let mut waits = Vec::new();
    for wait in index.waits.iter().filter(|wait| wait.waits) {
        let until = wait.done.min(index.end);
        let turn = turns.entry((wait.p, wait.c)).or_default();
        if counts(index, wait) && index.calm(wait.call, until, params.settle()) {
            *turn += f64::from(u8::from(wait.outcome == Outcome::Granted));
            waits.push((until - wait.call, wait.line));
        }
    }
    let Some((longest, line)) = waits.iter().max().copied() else { return };
    let mean = waits.iter().map(|(took, _)| *took as f64).sum::<f64>() / waits.len() as f64;
    let ratio = if mean > 0.0 { longest as f64 / mean } else { 1.0 };
    if ratio > params.wait_ratio {
        let text = format!("somebody waited {ratio:.1} times as long as the others on average");
        verdict.violation([line], text);
    }
    verdict.figures.insert("longest_by_mean", ratio);
    verdict.figures.insert("jain", jain(turns.values()));
    verdict.count("waits", waits.len() as u64);
    verdict
        .seconds(["wait_p50_s", "wait_p99_s", "wait_max_s"], waits.iter().map(|(took, _)| *took).collect());
}

/// It was served, or stands in line still.
fn counts(index: &Index<'_>, wait: &Wait<'_>) -> bool {
    let alive = index.death(wait.p) == NEVER && !index.stood_still(wait.p, wait.call, wait.done, 0);
    alive && (wait.outcome == Outcome::Granted || (wait.outcome == Outcome::Unknown && wait.done == NEVER))
}

/// One: all had as many turns; 1/n: one had them all.
fn jain<'a>(turns: impl Iterator<Item = &'a f64> + Clone) -> f64 {
    let (sum, squares) = (turns.clone().sum::<f64>(), turns.clone().map(|turn| turn * turn).sum::<f64>());
    let n: f64 = turns.map(|_| 1.0).sum();
    if squares > 0.0 { sum * sum / (n * squares) } else { 1.0 }
}
