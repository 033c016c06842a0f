//! What was measured, for people at once, and as a file that `cargo xtask bench` reads.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One figure of one benchmark.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figure {
    pub(crate) bench: String,
    /// Which figure of it, for example `p50`.
    pub(crate) figure: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// The floor of the same run, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<f64>,
    /// What is judged where there is a floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// What else there is to know, peers for example.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

#[derive(Debug)]
pub(crate) struct Figures {
    path: PathBuf,
    all: Vec<Figure>,
}

impl Figures {
    pub(crate) fn begin() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("governor.figures.json");
        Self { path, all: Vec::new() }
    }

    /// A figure beside its floor; the ratio is judged.
    pub(crate) fn beside(
        &mut self,
        bench: &str,
        figure: &str,
        unit: &str,
        value: f64,
        floor: f64,
    ) -> &mut Figure {
        let (floor, ratio) = (Some(floor), Some(value / floor));
        self.push(Figure { floor, ratio, ..Figure::new(bench, figure, unit, value) })
    }

    /// A figure that stands for itself.
    pub(crate) fn alone(&mut self, bench: &str, figure: &str, unit: &str, value: f64) -> &mut Figure {
        self.push(Figure::new(bench, figure, unit, value))
    }

    fn push(&mut self, figure: Figure) -> &mut Figure {
        let ratio = figure.ratio.map_or_else(String::new, |ratio| format!(" = {ratio:.2} × the floor"));
        eprintln!("  {} {}: {:.3} {}{ratio}", figure.bench, figure.figure, figure.value, figure.unit);
        self.all.push(figure);
        self.all.last_mut().expect("just pushed")
    }

    pub(crate) fn save(&self) {
        let text = serde_json::to_string_pretty(&self.all).expect("JSON");
        fs::write(&self.path, text).expect("the target directory can be written to");
    }
}

impl Figure {
    fn new(bench: &str, figure: &str, unit: &str, value: f64) -> Self {
        let [bench, figure, unit] = [bench, figure, unit].map(str::to_owned);
        Self { bench, figure, value, unit, ..Self::default() }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }
}

/// Nanoseconds in milliseconds.
pub(crate) fn ms(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3
}

/// A count as a number for ratios.
pub(crate) fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}
