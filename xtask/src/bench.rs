//! `cargo xtask bench`: every figure as a ratio to the floor of the same run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use crate::shell::{Doing, Failure, Outcome, cargo, run as run_command};
use crate::workspace::Workspace;

const PACKAGES: [&str; 3] = ["sluicegate-governor", "sluicegate-batcher", "sluicegate-streaming-client"];

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Only benchmarks whose name contains this
    filter: Option<String>,
    /// Only the table of the last run
    #[arg(long)]
    table: bool,
}

pub(crate) async fn run(flags: &Flags) -> Outcome {
    let results = Workspace::read()?.target().join("criterion");
    let mut since = None;
    if !flags.table {
        since = Some(mark(&results)?);
        let mut command = cargo(&["bench"]);
        command.args(PACKAGES.iter().flat_map(|name| ["-p", name]));
        run_command(command.args(["--benches", "--"]).args(&flags.filter)).await?;
    }
    let measured = if results.is_dir() { collect(&results, since)? } else { Measured::new() };
    if measured.is_empty() {
        return Err(Failure::new(format!("no results in {}; run it without --table", results.display())));
    }
    print!("{}", table(&measured));
    println!(
        "\nratio: to the floor of the same run, less is better. No goals are set yet: nothing is judged."
    );
    Ok(())
}

/// Results that are older than this file are of another run.
fn mark(results: &Path) -> Outcome<SystemTime> {
    let path = results.join("started");
    fs::create_dir_all(results).and_then(|()| fs::write(&path, "")).doing(path.display())?;
    fs::metadata(&path).and_then(|metadata| metadata.modified()).doing(path.display())
}

/// Medians in ns by group and by who was measured: `floor`, `ours` or a peer.
type Measured = BTreeMap<String, BTreeMap<String, Vec<f64>>>;

fn collect(dir: &Path, since: Option<SystemTime>) -> Outcome<Measured> {
    let mut measured = Measured::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).doing(dir.display())? {
            let path = entry.doing(dir.display())?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with("new/estimates.json") && is_newer(&path, since) {
                let (group, id) = names(&read_json(&path.with_file_name("benchmark.json"))?);
                let median = read_json(&path)?["median"]["point_estimate"].as_f64().unwrap_or(f64::NAN);
                measured.entry(group).or_default().entry(id).or_default().push(median);
            }
        }
    }
    Ok(measured)
}

fn is_newer(path: &Path, since: Option<SystemTime>) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    since.is_none_or(|since| modified.is_ok_and(|modified| modified >= since))
}

fn read_json(path: &Path) -> Outcome<Value> {
    let text = fs::read_to_string(path).doing(path.display())?;
    serde_json::from_str(&text).doing(path.display())
}

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

fn table(measured: &Measured) -> String {
    let mut rows = vec![["bench", "who", "rounds", "median", "floor", "ratio"].map(str::to_owned)];
    for (group, by_id) in measured {
        let floor = by_id.get("floor").map(|rounds| median(rounds));
        for (id, rounds) in by_id.iter().filter(|(id, _)| *id != "floor" || by_id.len() == 1) {
            let seen = median(rounds);
            rows.push([
                group.clone(),
                id.clone(),
                rounds.len().to_string(),
                nanoseconds(seen),
                floor.map_or_else(|| "–".to_owned(), nanoseconds),
                floor.map_or_else(|| "–".to_owned(), |floor| format!("{:.2}", seen / floor)),
            ]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(
            |(n, (cell, width))| if n < 2 { format!("{cell:width$}") } else { format!("{cell:>width$}") },
        );
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn nanoseconds(value: f64) -> String {
    match value {
        _ if value < 1e3 => format!("{value:.1} ns"),
        _ if value < 1e6 => format!("{:.2} µs", value / 1e3),
        _ if value < 1e9 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rounds_of_one_id_become_one_row_beside_the_floor() {
        let mut measured = Measured::new();
        for (id, value) in [("floor/0", 100.0), ("ours/0", 150.0), ("floor/1", 110.0), ("ours/1", 170.0)] {
            let full = format!("governor/acquire/{id}");
            let (group, who) = names(&json!({"group_id": "governor/acquire", "full_id": full}));
            measured.entry(group).or_default().entry(who).or_default().push(value);
        }
        let table = table(&measured);
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["governor/acquire", "ours", "2", "160.0", "ns", "105.0", "ns", "1.52"], "{table}");
    }

    #[test]
    fn a_peer_keeps_its_name() {
        let (group, who) = names(&json!({"group_id": "batcher/flush", "full_id": "batcher/flush/peer-x"}));
        assert_eq!((group.as_str(), who.as_str()), ("batcher/flush", "peer-x"));
    }
}
