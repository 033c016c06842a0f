//! What the cells have shown: `report.json` for machines, `report.md` for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_testkit::check::{Event, Op, Params, Phase, Rule, check, doubts};

use super::cells::Cell;
use super::{Flags, Verdict, figure};
use crate::chaos::Tally;
use crate::shell::{Doing, Failure, Outcome};

/// What the short form has to show at least.
const LEADER_FAULTS: u64 = 3;
const OTHER_FAULTS: u64 = 20;

#[derive(Debug)]
pub(super) struct Report {
    started: String,
    seed: u64,
    commit: String,
    repeat: String,
    pub(super) rows: Vec<Row>,
}

/// What one cell has shown.
#[derive(Debug)]
pub(super) struct Row {
    cell: &'static Cell,
    version: String,
    took: Duration,
    failure: Option<String>,
    grants: u64,
    outcomes: BTreeMap<&'static str, u64>,
    resolved: u64,
    gap: Duration,
    leader_changes: u64,
    faults: BTreeMap<String, Tally>,
    figures: BTreeMap<&'static str, Value>,
    violations: Vec<Value>,
    doubts: Vec<String>,
    history: PathBuf,
}

impl Row {
    pub(super) fn new(
        cell: &'static Cell,
        version: String,
        took: Duration,
        failure: Option<String>,
        events: Result<Vec<Event>, String>,
        history: &Path,
    ) -> Self {
        let mut row = Self {
            cell,
            version,
            took,
            failure,
            grants: 0,
            outcomes: BTreeMap::new(),
            resolved: 0,
            gap: Duration::ZERO,
            leader_changes: 0,
            faults: BTreeMap::new(),
            figures: BTreeMap::new(),
            violations: Vec::new(),
            doubts: Vec::new(),
            history: history.to_owned(),
        };
        match events {
            Ok(events) => {
                row.count(&events);
                row.judge(&events);
            }
            Err(error) => row.doubts.push(format!("the history cannot be read: {error}")),
        }
        row
    }

    fn count(&mut self, events: &[Event]) {
        let (mut last_grant, mut leader) = (None::<u64>, None);
        for event in events {
            let asks = matches!(event.op, Op::Acquire | Op::Renew | Op::Release);
            let outcome = match event.ph {
                Phase::Done => "done",
                Phase::NotDone => "not_done",
                Phase::Unknown => "unknown",
                _ => "",
            };
            if asks && !outcome.is_empty() {
                *self.outcomes.entry(outcome).or_default() += 1;
            }
            self.resolved += u64::from(event.tries.is_some_and(|tries| tries > 1));
            if event.op == Op::Acquire && event.ph == Phase::Done && event.lease.is_some() {
                self.grants += 1;
                if let Some(last) = last_grant.replace(event.t) {
                    self.gap = self.gap.max(Duration::from_nanos(event.t.saturating_sub(last)));
                }
            }
            if event.op == Op::Fault {
                let tally = self.faults.entry(event.kind.as_deref().unwrap_or("?").to_owned()).or_default();
                tally.begun += u64::from(event.ph == Phase::Call);
                tally.confirmed += u64::from(event.ph == Phase::Done);
            }
            if event.op == Op::Poll
                && let Some(seen) = &event.target
                && leader.replace(seen) != Some(seen)
            {
                self.leader_changes += 1;
            }
        }
        // The first leader is no change, and a server that comes back alone is none either.
        let changes = self.leader_changes.saturating_sub(1);
        self.leader_changes = if self.cell.replicas > 1 { changes } else { 0 };
    }

    fn judge(&mut self, events: &[Event]) {
        let mut params = Params::default();
        params.wait_ratio = self.cell.fair.unwrap_or(f64::INFINITY);
        if self.cell.admin && self.cell.replicas > 1 {
            // A server that comes back hears of leases before it hears of a lowered limit, and may lead in between.
            // What it grants by the old one is counted.
            params.adopted = Duration::from_secs(5);
        }
        for rule in Rule::ALL {
            let verdict = check(rule, events, &params);
            self.figures.extend(verdict.figures.iter().map(|(name, value)| (*name, figure(*value))));
            let found = verdict.violations.iter();
            self.violations.extend(
                found.map(|found| json!({"rule": rule.name(), "lines": found.lines, "text": found.text})),
            );
        }
        let calm = |doubt: &String| self.cell.fair.is_none() || !doubt.contains("never full");
        self.doubts.extend(doubts(events, &params).into_iter().filter(calm));
    }

    fn verdict(&self) -> Verdict {
        if self.failure.is_some() || !self.violations.is_empty() {
            Verdict::Failed
        } else if self.doubts.is_empty() {
            Verdict::Passed
        } else {
            Verdict::Inconclusive
        }
    }

    fn confirmed(&self) -> u64 {
        self.faults.values().map(|tally| tally.confirmed).sum()
    }

    fn name(&self) -> String {
        let Cell { name, native, replicas, limit, .. } = self.cell;
        let wire = if *native { "native" } else { "campaign" };
        format!("{name}: {wire} R{replicas} L{limit}")
    }

    pub(super) fn line(&self) -> String {
        let mut line = format!(
            "{}: {} in {:.0?}: {} grants, {} leader changes, {} faults confirmed, longest gap {:.1?}",
            self.name(),
            self.verdict().name(),
            self.took,
            self.grants,
            self.leader_changes,
            self.confirmed(),
            self.gap
        );
        let problems =
            self.violations.iter().map(|violation| format!("{} {}", violation["rule"], violation["text"]));
        for problem in problems.take(5).chain(self.doubts.clone()).chain(self.failure.clone()) {
            let _ = write!(line, "\n  {problem}");
        }
        line
    }

    fn json(&self) -> Value {
        let faults: BTreeMap<_, _> = self
            .faults
            .iter()
            .map(|(kind, tally)| (kind, json!({"begun": tally.begun, "confirmed": tally.confirmed})))
            .collect();
        json!({
            "cell": self.cell.name, "wire": if self.cell.native { "native" } else { "campaign" },
            "replicas": self.cell.replicas, "limit": self.cell.limit, "ttl_s": self.cell.ttl.as_secs(),
            "server": self.version, "seconds": self.took.as_secs(), "grants": self.grants,
            "outcomes": self.outcomes, "resolved_unknowns": self.resolved,
            "longest_gap_s": figure(self.gap.as_secs_f64()), "leader_changes": self.leader_changes,
            "faults": faults, "figures": self.figures, "violations": self.violations, "doubts": self.doubts,
            "failure": self.failure, "history": self.history, "verdict": self.verdict().name(),
        })
    }
}

impl Report {
    pub(super) fn new(started: String, seed: u64, commit: String, flags: &Flags) -> Self {
        let mut repeat =
            format!("cargo xtask chaos --only governor --minutes {} --seed {seed}", flags.minutes);
        if !flags.replicas.is_empty() {
            let replicas: Vec<String> = flags.replicas.iter().map(ToString::to_string).collect();
            let _ = write!(repeat, " --replicas {}", replicas.join(","));
        }
        if let Some(version) = &flags.server {
            let _ = write!(repeat, " --server {version}");
        }
        Self { started, seed, commit, repeat, rows: Vec::new() }
    }

    fn total(&self, of: impl Fn(&Row) -> u64) -> u64 {
        self.rows.iter().map(of).sum()
    }

    /// Faults that change the leader, and all others, as far as they were confirmed.
    fn faults(&self) -> (u64, u64) {
        let mut faults = (0, 0);
        for (kind, tally) in self.rows.iter().filter(|row| row.cell.replicas > 1).flat_map(|row| &row.faults)
        {
            if kind.starts_with("server-")
                || matches!(&**kind, "stepdown" | "partition" | "quorum-kill" | "all-kill")
            {
                faults.0 += tally.confirmed;
            }
        }
        faults.1 = self.total(Row::confirmed) - faults.0;
        faults
    }

    fn verdict(&self) -> Verdict {
        let verdicts: Vec<Verdict> = self.rows.iter().map(Row::verdict).collect();
        let (leaders, others) = self.faults();
        let clustered = self.rows.iter().any(|row| row.cell.replicas > 1);
        if verdicts.contains(&Verdict::Failed) {
            Verdict::Failed
        } else if verdicts.is_empty()
            || verdicts.contains(&Verdict::Inconclusive)
            || others < OTHER_FAULTS
            || (clustered && leaders < LEADER_FAULTS)
        {
            Verdict::Inconclusive
        } else {
            Verdict::Passed
        }
    }

    /// Rule of three: what zero in n shows, at 95 %.
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn bound(&self) -> Option<f64> {
        let changes = self.total(|row| row.leader_changes);
        (changes > 0).then(|| 300.0 / changes as f64)
    }

    fn json(&self) -> Value {
        let (leader_faults, other_faults) = self.faults();
        json!({
            "type": "sluicegate.v1.chaos", "workload": "governor",
            "started": self.started, "seed": self.seed, "commit": self.commit, "repeat": self.repeat,
            "grants": self.total(|row| row.grants), "leader_changes": self.total(|row| row.leader_changes),
            "leader_faults_confirmed": leader_faults, "other_faults_confirmed": other_faults,
            "faults_begun": self.total(|row| row.faults.values().map(|tally| tally.begun).sum()),
            "unknown": self.total(|row| row.outcomes.get("unknown").copied().unwrap_or(0)),
            "resolved_unknowns": self.total(|row| row.resolved),
            "longest_gap_s": self.rows.iter().map(|row| row.gap).max().map(|gap| figure(gap.as_secs_f64())),
            "violations": self.total(|row| row.violations.len() as u64),
            "bound_percent_per_leader_change": self.bound().map(figure),
            "cells": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "verdict": self.verdict().name(),
        })
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "# Chaos, governor: {}\n\n{} grants, {} leader changes, {} violations. Started {}, seed {}, commit {}.\n\n\
             `{}`\n\n| cell | verdict | s | grants | done / not done / unknown | leader changes | faults begun / confirmed \
             | longest gap s | violations |\n|---|---|---|---|---|---|---|---|---|\n",
            self.verdict().name(),
            self.total(|row| row.grants),
            self.total(|row| row.leader_changes),
            self.total(|row| row.violations.len() as u64),
            self.started,
            self.seed,
            self.commit,
            self.repeat,
        );
        for row in &self.rows {
            let outcome = |name| row.outcomes.get(name).copied().unwrap_or(0);
            let faults = row.faults.iter();
            let faults: Vec<_> =
                faults.map(|(kind, tally)| format!("{kind} {}/{}", tally.begun, tally.confirmed)).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} / {} / {} | {} | {} | {:.1} | {} |",
                row.name(),
                row.verdict().name(),
                row.took.as_secs(),
                row.grants,
                outcome("done"),
                outcome("not_done"),
                outcome("unknown"),
                row.leader_changes,
                faults.join(", "),
                row.gap.as_secs_f64(),
                row.violations.len(),
            );
        }
        if let Some(bound) = self.bound().filter(|_| self.verdict() == Verdict::Passed) {
            let _ =
                writeln!(text, "\nNo violation: fewer than {bound:.2} % of leader changes cause one (95 %).");
        }
        for row in self.rows.iter().filter(|row| row.verdict() != Verdict::Passed) {
            let _ = writeln!(text, "\n## {}\n\n```text\n{}\n```", row.name(), row.line());
        }
        text
    }

    pub(super) fn write(&self, dir: &Path) -> Outcome {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).doing(path.display())
        };
        write("report.json", format!("{:#}\n", self.json()))?;
        write("report.md", self.markdown())
    }

    pub(super) fn finish(&self, dir: &Path) -> Outcome {
        self.write(dir)?;
        println!("{}\n{}", self.markdown(), dir.join("report.json").display());
        match self.verdict() {
            Verdict::Passed => Ok(()),
            Verdict::Failed => Err(Failure::new(format!("failed; again: {}", self.repeat))),
            Verdict::Inconclusive => {
                Err(Failure::new("inconclusive: too little happened for that to mean something; run longer"))
            }
        }
    }
}
