//! The result as a document, a table or TSV.

use serde::Serialize;

use super::check::Check;
use crate::code::Code;
use crate::error::CliError;
use crate::output::{self, Format};

/// Everything the run was made from, so that it can be repeated.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Parameters {
    pub(crate) backend: &'static str,
    pub(crate) orders: u64,
    pub(crate) bursts: u64,
    pub(crate) seed: u64,
    pub(crate) capacity_per_second: u64,
    pub(crate) capacity_leases: u32,
    pub(crate) writers: u32,
    pub(crate) payment_slots: u32,
    pub(crate) max_workers: u32,
}

/// One chapter of the story, in a sentence.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Chapter {
    pub(crate) chapter: &'static str,
    pub(crate) text: String,
}

/// One change of the number of workers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scaling {
    pub(crate) at_seconds: f64,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) why: String,
}

/// `sluicegate.v1.demo`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    r#type: &'static str,
    pub(crate) parameters: Parameters,
    pub(crate) chapters: Vec<Chapter>,
    pub(crate) scaling: Vec<Scaling>,
    pub(crate) checks: Vec<Check>,
    /// What ended the story before its time.
    #[serde(skip)]
    error: Option<CliError>,
}

impl Report {
    pub(crate) fn new(
        parameters: Parameters,
        chapters: Vec<Chapter>,
        scaling: Vec<Scaling>,
        checks: Vec<Check>,
        error: Option<CliError>,
    ) -> Self {
        Self { r#type: "sluicegate.v1.demo", parameters, chapters, scaling, checks, error }
    }

    pub(crate) fn render(&self, format: Format) -> Result<String, CliError> {
        Ok(match format {
            Format::Json => output::json(self)?,
            Format::Ndjson => {
                let lines: Result<Vec<_>, _> = self.checks.iter().map(output::json).collect();
                lines?.join("\n")
            }
            Format::Tsv => output::tsv(&self.checks.iter().map(Check::raw_row).collect::<Vec<_>>()),
            Format::Table => {
                let header = ["Check (at the datastore)", "Limit", "Seen", "Verdict"];
                output::table(header, &self.checks.iter().map(Check::row).collect::<Vec<_>>(), 1..3)
            }
        })
    }

    /// What ended the story before its time, or else the checks that are not good.
    pub(crate) fn verdict(self) -> Result<(), CliError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let bad: Vec<_> =
            self.checks.iter().filter(|check| check.is_bad()).map(|check| check.check).collect();
        if bad.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} of {} checks failed or not measured: {}",
            bad.len(),
            self.checks.len(),
            bad.join(", ")
        );
        Err(CliError::new(Code::Partial, message)
            .help("run it again with -v, and keep its output for a report"))
    }
}
