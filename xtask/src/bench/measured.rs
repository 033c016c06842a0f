//! What benchmarks leave behind: criterion's directories, and files of figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use crate::shell::{Doing, Outcome};

/// One figure of one benchmark.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figure {
    pub(super) bench: String,
    pub(super) figure: String,
    pub(super) value: f64,
    pub(super) unit: String,
    pub(super) floor: Option<f64>,
    pub(super) ratio: Option<f64>,
    pub(super) note: String,
}

impl Figure {
    /// What a goal is held against.
    pub(super) fn judged(&self) -> f64 {
        self.ratio.unwrap_or(self.value)
    }
}

/// Results that are older than this file are of another run.
pub(super) fn mark(target: &Path) -> Outcome<SystemTime> {
    let path = target.join("tmp/bench-started");
    fs::create_dir_all(target.join("tmp")).and_then(|()| fs::write(&path, "")).doing(path.display())?;
    fs::metadata(&path).and_then(|metadata| metadata.modified()).doing(path.display())
}

pub(super) fn collect(target: &Path, since: Option<SystemTime>) -> Outcome<Vec<Figure>> {
    let mut rounds = Rounds::new();
    for path in files(&target.join("criterion"), "new/estimates.json", since)? {
        let (group, id) = names(&read_json(&path.with_file_name("benchmark.json"))?);
        let estimates = read_json(&path)?;
        let [median, mean] =
            ["median", "mean"].map(|which| estimates[which]["point_estimate"].as_f64().unwrap_or(f64::NAN));
        rounds.entry(group).or_default().entry(id).or_default().push((median, mean));
    }
    let mut figures = of_criterion(&rounds);
    for path in files(&target.join("tmp"), "figures.json", since)? {
        let all = read_json(&path)?;
        figures.extend(all.as_array().into_iter().flatten().map(figure));
    }
    Ok(figures)
}

/// Files below that directory whose path ends so, in order.
fn files(dir: &Path, end: &str, since: Option<SystemTime>) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).doing(dir.display())? {
            let path = entry.doing(dir.display())?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(end) && is_newer(&path, since) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_newer(path: &Path, since: Option<SystemTime>) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    since.is_none_or(|since| modified.is_ok_and(|modified| modified >= since))
}

fn read_json(path: &Path) -> Outcome<Value> {
    let text = fs::read_to_string(path).doing(path.display())?;
    serde_json::from_str(&text).doing(path.display())
}

fn figure(value: &Value) -> Figure {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Figure {
        bench: text("bench"),
        figure: text("figure"),
        value: value["value"].as_f64().unwrap_or(f64::NAN),
        unit: text("unit"),
        floor: value["floor"].as_f64(),
        ratio: value["ratio"].as_f64(),
        note: text("note"),
    }
}

/// Criterion's rounds, median and mean in ns, by group and by who was measured: `floor`, `ours` or a peer.
type Rounds = BTreeMap<String, BTreeMap<String, Vec<(f64, f64)>>>;

/// The group, and who was measured, without the number of the round.
fn names(benchmark: &Value) -> (String, String) {
    let group = benchmark["group_id"].as_str().unwrap_or_default();
    let full = benchmark["full_id"].as_str().unwrap_or_default();
    let id = full.strip_prefix(group).unwrap_or(full).trim_start_matches('/');
    let who = match id.rsplit_once('/') {
        Some((who, round)) if round.bytes().all(|b| b.is_ascii_digit()) => who,
        _ => id,
    };
    (group.to_owned(), who.to_owned())
}

fn of_criterion(rounds: &Rounds) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (group, by_who) in rounds {
        let floor = by_who.get("floor").map(|rounds| medians(rounds));
        for (who, rounds) in by_who.iter().filter(|(who, _)| *who != "floor" || by_who.len() == 1) {
            let (median, mean) = medians(rounds);
            let note = if rounds.len() == 1 { String::new() } else { format!("{} rounds", rounds.len()) };
            let figure = |figure: &str, unit: &str, value: f64, floor: Option<f64>| Figure {
                bench: format!("{group}/{who}"),
                figure: figure.to_owned(),
                value,
                unit: unit.to_owned(),
                floor,
                ratio: floor.map(|floor| value / floor),
                note: note.clone(),
            };
            figures.push(figure("median", "ns", median, floor.map(|floor| floor.0)));
            figures.push(figure("rate", "/s", 1e9 / mean, floor.map(|floor| 1e9 / floor.1)));
        }
    }
    figures
}

fn medians(rounds: &[(f64, f64)]) -> (f64, f64) {
    let of = |pick: fn(&(f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
    (of(|round| round.0), of(|round| round.1))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rounds_of_one_id_become_one_figure_beside_the_floor() {
        let mut rounds = Rounds::new();
        for (id, value) in [("floor/0", 100.0), ("ours/0", 150.0), ("floor/1", 110.0), ("ours/1", 170.0)] {
            let full = format!("governor/acquire/{id}");
            let (group, who) = names(&json!({"group_id": "governor/acquire", "full_id": full}));
            rounds.entry(group).or_default().entry(who).or_default().push((value, value));
        }
        let figures = of_criterion(&rounds);
        assert_eq!(figures.len(), 2, "median and rate of ours, none of the floor: {figures:?}");
        assert_eq!((figures[0].bench.as_str(), figures[0].value), ("governor/acquire/ours", 160.0));
        assert!((figures[0].judged() - 160.0 / 105.0).abs() < 1e-9, "{figures:?}");
        assert!((figures[1].judged() - 105.0 / 160.0).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn a_peer_keeps_its_name() {
        let (group, who) = names(&json!({"group_id": "batcher/flush", "full_id": "batcher/flush/peer-x"}));
        assert_eq!((group.as_str(), who.as_str()), ("batcher/flush", "peer-x"));
    }

    #[test]
    fn a_file_of_figures_is_read_as_it_was_written() {
        let read = figure(&json!({"bench": "leak", "figure": "slots", "value": 2.0, "unit": "leaked"}));
        assert_eq!((read.bench.as_str(), read.judged(), read.floor), ("leak", 2.0, None));
    }
}
