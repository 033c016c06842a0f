//! What a benchmark has measured: for people at once, and as a file that `cargo xtask bench` reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One figure of one benchmark.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Figure {
    /// Which benchmark, for example `handoff/wide`.
    pub bench: String,
    /// Which figure of it, for example `p50`.
    pub figure: String,
    /// In that unit.
    pub value: f64,
    /// For example `ns`; empty for a plain number.
    pub unit: String,
    /// The floor of the same run, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// What is judged where there is a floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What else there is to know, peers for example.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// All figures of one benchmark program.
#[derive(Debug)]
pub struct Figures {
    path: PathBuf,
    all: Vec<Figure>,
}

impl Figures {
    /// For a program of that name; `directory` is `env!("CARGO_TARGET_TMPDIR")`.
    pub fn begin(directory: &str, name: &str) -> Self {
        Self { path: Path::new(directory).join(format!("{name}.figures.json")), all: Vec::new() }
    }

    /// A figure beside its floor; the ratio is judged.
    pub fn beside(&mut self, bench: &str, figure: &str, unit: &str, value: f64, floor: f64) -> &mut Figure {
        let (floor, ratio) = (Some(floor), Some(value / floor));
        self.push(Figure { floor, ratio, ..Figure::new(bench, figure, unit, value) })
    }

    /// A figure that stands for itself.
    pub fn alone(&mut self, bench: &str, figure: &str, unit: &str, value: f64) -> &mut Figure {
        self.push(Figure::new(bench, figure, unit, value))
    }

    #[expect(clippy::print_stderr, reason = "benchmarks run for minutes, in front of people")]
    fn push(&mut self, figure: Figure) -> &mut Figure {
        let ratio = figure.ratio.map_or_else(String::new, |ratio| format!(" = {ratio:.2} × the floor"));
        eprintln!("  {} {}: {:.3} {}{ratio}", figure.bench, figure.figure, figure.value, figure.unit);
        self.all.push(figure);
        let last = self.all.len() - 1;
        &mut self.all[last]
    }

    /// Writes the file, with all figures so far.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn save(&self) -> io::Result<()> {
        fs::write(&self.path, serde_json::to_string_pretty(&self.all)?)
    }
}

impl Figure {
    fn new(bench: &str, figure: &str, unit: &str, value: f64) -> Self {
        let [bench, figure, unit] = [bench, figure, unit].map(str::to_owned);
        Self { bench, figure, value, unit, ..Self::default() }
    }

    /// What else there is to know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }
}

/// Nanoseconds in milliseconds.
pub fn ms(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3
}

/// A count as a number for ratios.
pub fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}
