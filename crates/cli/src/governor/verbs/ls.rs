use serde::Serialize;
use sluicegate_governor::{Filter, GovernorAdmin, Warning};

use crate::Failure;
use crate::cx::Cx;
use crate::failure;
use crate::governor::args::LsArgs;
use crate::governor::documents::{SUMMARY, SummaryDocument, summary_row};
use crate::output::{self, Format, Grid};

const TYPE: &str = "sluicegate.v1.governor_ls";

/// `sluicegate.v1.governor_ls`
#[derive(Debug, Serialize)]
struct Document {
    r#type: &'static str,
    governors: Vec<SummaryDocument>,
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
    let format = cx.format();
    if args.names {
        let names: Vec<_> = found.iter().map(|found| found.name.as_str()).collect();
        return Ok(output::print_lines(&output::names(format, TYPE, &names)?)?);
    }
    if found.is_empty() && format == Format::Table {
        cx.note("no governors; make one: sluicegate governor add NAME CAPACITY TTL");
    }
    let document = Document { r#type: TYPE, governors: found.iter().map(SummaryDocument::of).collect() };
    let rows = Grid::new(&SUMMARY, found.iter().map(summary_row).collect());
    let text = output::list(format, cx.output.header, &document, &document.governors, &rows)?;
    Ok(output::print_lines(&text)?)
}
