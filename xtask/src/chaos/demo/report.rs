//! What a chaos run has shown: `report.json` for machines, `report.md` for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::schedule::Fault;
use crate::chaos::{Tally, Verdict};

/// What one check of the workload has seen over all runs.
#[derive(Clone, Debug, Default)]
struct Check {
    limit: Value,
    verdicts: BTreeMap<String, u64>,
    least: Option<f64>,
    most: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) started: String,
    pub(crate) seed: u64,
    pub(crate) minutes: u64,
    pub(crate) server: String,
    pub(crate) commit: String,
    pub(crate) runs: u64,
    pub(crate) failures: Vec<Value>,
    faults: BTreeMap<&'static str, Tally>,
    checks: BTreeMap<String, Check>,
}

impl Report {
    pub(crate) fn new(started: String, seed: u64, minutes: u64, server: String, commit: String) -> Self {
        let faults = BTreeMap::from([("kill", Tally::default()), ("pause", Tally::default())]);
        let (failures, checks) = (Vec::new(), BTreeMap::new());
        Self { started, seed, minutes, server, commit, runs: 0, failures, faults, checks }
    }

    pub(crate) fn begun(&mut self, fault: Fault) {
        self.faults.entry(fault.name()).or_default().begun += 1;
    }

    pub(crate) fn confirmed(&mut self, fault: Fault) {
        self.faults.entry(fault.name()).or_default().confirmed += 1;
    }

    /// Takes up the checks of one run's document; `false` if it has none.
    pub(crate) fn take_checks(&mut self, document: &Value) -> bool {
        let checks = document["checks"].as_array().map_or(&[][..], Vec::as_slice);
        for seen in checks {
            let check = self.checks.entry(seen["check"].as_str().unwrap_or("?").to_owned()).or_default();
            check.limit = seen["limit"].clone();
            *check.verdicts.entry(seen["verdict"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
            if let Some(value) = seen["seen"].as_f64() {
                check.least = Some(check.least.map_or(value, |least| least.min(value)));
                check.most = Some(check.most.map_or(value, |most| most.max(value)));
            }
        }
        !checks.is_empty()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if !self.failures.is_empty() {
            Verdict::Failed
        } else if self.runs == 0 || self.faults.values().any(|tally| tally.confirmed == 0) {
            Verdict::Inconclusive
        } else {
            Verdict::Passed
        }
    }

    pub(crate) fn json(&self) -> Value {
        let faults: BTreeMap<_, _> = self
            .faults
            .iter()
            .map(|(name, tally)| (*name, json!({"begun": tally.begun, "confirmed": tally.confirmed})))
            .collect();
        let checks: Vec<_> = self
            .checks
            .iter()
            .map(|(name, check)| {
                json!({"check": name, "limit": check.limit, "verdicts": check.verdicts,
                    "least_seen": check.least, "most_seen": check.most})
            })
            .collect();
        json!({
            "type": "sluicegate.v1.chaos",
            "workload": "demo",
            "started": self.started, "seed": self.seed, "minutes": self.minutes,
            "server": self.server, "commit": self.commit,
            "runs": self.runs, "faults": faults, "checks": checks,
            "failures": self.failures, "verdict": self.verdict().name(),
        })
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Chaos: {}\n\nThe demo {} times on {} under kill -9 and SIGSTOP of the server; {} failed.\n\n\
             Started {}, seed {}, commit {}.\n\n| fault | begun | confirmed |\n|---|---|---|\n",
            self.verdict().name(),
            self.runs,
            self.server,
            self.failures.len(),
            self.started,
            self.seed,
            self.commit
        );
        for (name, tally) in &self.faults {
            let _ = writeln!(text, "| {name} | {} | {} |", tally.begun, tally.confirmed);
        }
        text += "\n| check | limit | least seen | most seen | verdicts |\n|---|---|---|---|---|\n";
        for (name, check) in &self.checks {
            let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
            let verdicts: Vec<_> =
                check.verdicts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let (least, most) = (number(check.least), number(check.most));
            let _ =
                writeln!(text, "| {name} | {} | {least} | {most} | {} |", check.limit, verdicts.join(", "));
        }
        let kills = self.faults["kill"].confirmed;
        if self.verdict() == Verdict::Passed {
            // Rule of three: what zero in n shows, at 95 %.
            let bound = 300.0 / f64::from(u32::try_from(kills).unwrap_or(u32::MAX));
            let _ = writeln!(
                text,
                "\nNo failure in {kills} kills: fewer than {bound:.1} % of kills cause one (95 %)."
            );
        }
        for failure in &self.failures {
            let _ = writeln!(text, "\n## Failure\n\n```json\n{failure:#}\n```");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report() -> Report {
        let mut report = Report::new("now".into(), 1, 1, "nats-server 0".into(), "abc".into());
        report.runs = 1;
        report
    }

    #[test]
    fn without_confirmed_faults_nothing_was_shown() {
        let mut report = report();
        assert_eq!(report.verdict(), Verdict::Inconclusive);
        for fault in [Fault::Kill(Duration::ZERO), Fault::Pause(Duration::ZERO)] {
            report.begun(fault);
            assert_eq!(report.verdict(), Verdict::Inconclusive);
            report.confirmed(fault);
        }
        assert_eq!(report.verdict(), Verdict::Passed);
        report.failures.push(json!({"run": 0}));
        assert_eq!(report.verdict(), Verdict::Failed);
    }

    #[test]
    fn the_worst_of_all_runs_is_kept() {
        let mut report = report();
        for seen in [3, 1, 2] {
            let check = json!({"check": "slots", "limit": 3, "seen": seen, "verdict": "ok"});
            assert!(report.take_checks(&json!({"checks": [check]})));
        }
        assert!(!report.take_checks(&json!({})));
        let json = report.json();
        assert_eq!(
            (&json["checks"][0]["least_seen"], &json["checks"][0]["most_seen"]),
            (&json!(1.0), &json!(3.0))
        );
        assert!(report.markdown().contains("| slots | 3 | 1 | 3 | ok 3 |"), "{}", report.markdown());
    }
}
