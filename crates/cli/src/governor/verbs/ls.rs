use serde::Serialize;
use sluicegate_governor::{Filter, GovernorAdmin, GovernorSummary, Warning};

use crate::Failure;
use crate::failure;
use crate::governor::Cx;
use crate::governor::args::LsArgs;
use crate::governor::documents::{SUMMARY, SummaryDocument, summary_row};
use crate::output::{self, Format, Grid, escape};

/// `sluicegate.v1.governor_ls`
#[derive(Debug, Serialize)]
struct Document {
    r#type: &'static str,
    governors: Vec<SummaryDocument>,
}

/// The same with `--names`.
#[derive(Debug, Serialize)]
struct Names<'a> {
    r#type: &'static str,
    names: Vec<&'a str>,
}

pub(crate) async fn ls(cx: &Cx<'_>, args: &LsArgs) -> Result<(), Failure> {
    let connection = cx.connection("ls").await?;
    let filter = args.collective.iter().fold(Filter::all(), Filter::collective);
    let found = GovernorAdmin::list(&connection, &filter).await;
    let found = found.map_err(|error| failure::governor("", "governor ls", &error))?;
    for governor in &found {
        for warning in governor.warnings.iter().filter(|warning| matches!(warning, Warning::Unreachable(_))) {
            cx.note(&format!("{}: {warning}", governor.name));
        }
    }
    let text = if args.names { names(cx.format(), &found)? } else { all(cx, &found)? };
    Ok(output::print_lines(&text)?)
}

fn names(format: Format, found: &[GovernorSummary]) -> Result<String, Failure> {
    let names = found.iter().map(|governor| governor.name.as_str());
    Ok(match format {
        Format::Json => output::json(&Names { r#type: "sluicegate.v1.governor_ls", names: names.collect() })?,
        Format::Ndjson => lines(names)?,
        Format::Table | Format::Tsv => names.map(escape).collect::<Vec<_>>().join("\n"),
    })
}

fn all(cx: &Cx<'_>, found: &[GovernorSummary]) -> Result<String, Failure> {
    let documents = found.iter().map(SummaryDocument::of);
    let grid = || Grid::new(&SUMMARY, found.iter().map(summary_row).collect());
    Ok(match cx.format() {
        Format::Json => {
            output::json(&Document { r#type: "sluicegate.v1.governor_ls", governors: documents.collect() })?
        }
        Format::Ndjson => lines(documents)?,
        Format::Tsv => grid().tsv(cx.output.header),
        Format::Table if found.is_empty() => {
            cx.note("no governors; make one: sluicegate governor add NAME CAPACITY TTL");
            String::new()
        }
        Format::Table => grid().table(output::width()),
    })
}

fn lines(documents: impl Iterator<Item = impl Serialize>) -> Result<String, Failure> {
    let lines: Result<Vec<_>, _> = documents.map(|document| output::json(&document)).collect();
    Ok(lines?.join("\n"))
}
