use serde::Serialize;
use sluicegate_governor::CapacityAdmin;

use crate::Failure;
use crate::capacity::args::LsArgs;
use crate::capacity::documents::{SUMMARY, SummaryDocument, summary_row};
use crate::cx::Cx;
use crate::failure;
use crate::output::{self, Format, Grid};

const TYPE: &str = "sluicegate.v1.capacity_ls";

/// `sluicegate.v1.capacity_ls`
#[derive(Debug, Serialize)]
struct Document {
    r#type: &'static str,
    capacities: Vec<SummaryDocument>,
}

pub(crate) async fn ls(cx: &Cx<'_>, args: &LsArgs) -> Result<(), Failure> {
    let connection = cx.connection("ls").await?;
    let found = CapacityAdmin::list(&connection).await;
    let found = found.map_err(|error| failure::capacity("", "capacity ls", &error))?;
    let format = cx.format();
    if args.names {
        let names: Vec<_> = found.iter().map(|found| found.name.as_str()).collect();
        return Ok(output::print_lines(&output::names(format, TYPE, &names)?)?);
    }
    if found.is_empty() && format == Format::Table {
        cx.note("no capacities; make one: sluicegate capacity add NAME --total N");
    }
    let document = Document { r#type: TYPE, capacities: found.iter().map(SummaryDocument::of).collect() };
    let rows = Grid::new(&SUMMARY, found.iter().map(summary_row).collect());
    let text = output::list(format, cx.output.header, &document, &document.capacities, &rows)?;
    Ok(output::print_lines(&text)?)
}
