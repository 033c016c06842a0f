use sluicegate_governor::GovernorView;

use crate::Failure;
use crate::governor::args::ViewArgs;
use crate::governor::documents::{LEASE, ViewDocument, lease_row, view_block};
use crate::governor::verbs::watch;
use crate::governor::{Cx, refused};
use crate::output::{self, Format, Grid};

pub(crate) async fn view(cx: &Cx<'_>, args: &ViewArgs) -> Result<(), Failure> {
    let governor = cx.bind("view", &args.name).await?;
    let view = governor.view().await.map_err(|error| refused("view", &args.name, &error))?;
    // Whoever reads lines of events wants nothing else.
    if !(args.watch && cx.format() == Format::Ndjson) {
        output::print(&render(cx, &view)?)?;
    }
    if args.watch {
        watch::watch(cx, &governor, view).await?;
    }
    Ok(())
}

fn render(cx: &Cx<'_>, view: &GovernorView) -> Result<String, Failure> {
    let rows = || view.holders.iter().map(|lease| lease_row(lease, view)).collect();
    Ok(match cx.format() {
        Format::Json | Format::Ndjson => output::json(&ViewDocument::of(view))?,
        Format::Table if view.holders.is_empty() => view_block(view).table(),
        Format::Table => {
            format!("{}\n{}", view_block(view).table(), Grid::new(&LEASE, rows()).table(output::width()))
        }
        Format::Tsv => view_block(view).tsv_with("lease", &Grid::new(&LEASE, rows())),
    })
}
