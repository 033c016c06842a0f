use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Event;
use super::index::Index;
use super::rules;

/// What must hold in every history of a governor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum Rule {
    /// G1: never more than `limit` leases valid, and never more at the resource.
    #[serde(rename = "G1")]
    Limit,
    /// G2: who still holds a lease knows that it ends before it does, unless its process stood still.
    #[serde(rename = "G2")]
    Loss,
    /// G3: the slot of a dead holder is granted again at most a second after its time to live.
    #[serde(rename = "G3")]
    Reclaim,
    /// G4: what is stored in the end is what is held.
    #[serde(rename = "G4")]
    Leak,
    /// G5: tokens grow, ids are never used again.
    #[serde(rename = "G5")]
    Tokens,
    /// G6: a raised limit is used within a second, a lowered one evicts nobody.
    #[serde(rename = "G6")]
    Resize,
    /// G7: a release frees what its caller held, once.
    #[serde(rename = "G7")]
    Foreign,
    /// G8: nobody starves.
    #[serde(rename = "G8")]
    Starvation,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Limit,
        Self::Loss,
        Self::Reclaim,
        Self::Leak,
        Self::Tokens,
        Self::Resize,
        Self::Foreign,
        Self::Starvation,
    ];

    /// `G1` … `G8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "G1",
            Self::Loss => "G2",
            Self::Reclaim => "G3",
            Self::Leak => "G4",
            Self::Tokens => "G5",
            Self::Resize => "G6",
            Self::Foreign => "G7",
            Self::Starvation => "G8",
        }
    }
}

/// What the rules take for granted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Params {
    /// How long after a fault nothing is said of how fast anything is. Default 5 s.
    pub settle: Duration,
    /// How late the pool may notice an expiry, and how long a holder may take to notice that it was continued after
    /// it had stood still. Default 1 s.
    pub late: Duration,
    /// How long the pool may take to find out what became of an attempt. Default 30 s.
    pub resolve: Duration,
    /// For how long after a change was confirmed others may go by what was before: a new leader by the old limit, a
    /// worker by the old time to live. Default zero; on replicated streams a replica that was down learns of changes
    /// after it has learnt of the leases, and may lead in between, and what tells workers of changes comes over the
    /// same links that the run breaks.
    pub adopted: Duration,
    /// The longest wait may be that many times the mean wait. Default 3, for waiters of one process.
    pub wait_ratio: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(5),
            late: Duration::from_secs(1),
            resolve: Duration::from_secs(30),
            adopted: Duration::ZERO,
            wait_ratio: 3.0,
        }
    }
}

impl Params {
    pub(super) fn settle(&self) -> u64 {
        nanos(self.settle)
    }

    pub(super) fn late(&self) -> u64 {
        nanos(self.late)
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// The lines that show it.
    pub lines: Vec<u64>,
    /// For people.
    pub text: String,
}

/// What one rule says of a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Which rule.
    pub rule: Rule,
    /// Every breach of it.
    pub violations: Vec<Violation>,
    /// What was counted and measured on the way.
    pub figures: BTreeMap<&'static str, f64>,
}

impl Verdict {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, violations: Vec::new(), figures: BTreeMap::new() }
    }

    pub(super) fn violation(&mut self, lines: impl Into<Vec<u64>>, text: String) {
        self.violations.push(Violation { rule: self.rule, lines: lines.into(), text });
    }

    #[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
    pub(super) fn count(&mut self, name: &'static str, count: u64) {
        self.figures.insert(name, count as f64);
    }

    /// Quantiles of times, in seconds.
    pub(super) fn seconds(&mut self, names: [&'static str; 3], mut times: Vec<u64>) {
        times.sort_unstable();
        let Some(last) = times.len().checked_sub(1) else { return };
        for (name, at) in names.into_iter().zip([last / 2, last * 99 / 100, last]) {
            self.figures.insert(name, Duration::from_nanos(times[at]).as_secs_f64());
        }
    }
}

/// What the rule says of the history: pure, O(n log n).
pub fn check(rule: Rule, history: &[Event], params: &Params) -> Verdict {
    let index = Index::judging(history, nanos(params.adopted));
    let mut verdict = Verdict::new(rule);
    match rule {
        Rule::Limit => rules::limit::check(&index, &mut verdict),
        Rule::Loss => rules::loss::check(&index, params, &mut verdict),
        Rule::Reclaim => rules::reclaim::check(&index, params, &mut verdict),
        Rule::Leak => rules::leak::check(&index, params, &mut verdict),
        Rule::Tokens => rules::tokens::check(&index, &mut verdict),
        Rule::Resize => rules::resize::check(&index, params, &mut verdict),
        Rule::Foreign => rules::foreign::check(&index, params, &mut verdict),
        Rule::Starvation => rules::starvation::check(&index, params, &mut verdict),
    }
    verdict
}
