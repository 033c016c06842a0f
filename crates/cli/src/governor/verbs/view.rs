use sluicegate_governor::GovernorView;

use crate::Failure;
use crate::cx::Cx;
use crate::governor::args::ViewArgs;
use crate::governor::documents::{LEASE, ViewDocument, lease_row, view_block};
use crate::governor::verbs::watch;
use crate::governor::{bind, refused};
use crate::output::{self, Format, Grid};
use crate::watch::LOOK;

pub(crate) async fn view(cx: &Cx<'_>, args: &ViewArgs) -> Result<(), Failure> {
    let governor = bind(cx, "view", &args.name).await?;
    if !args.watch {
        let view = governor.view().await.map_err(|error| refused("view", &args.name, &error))?;
        return Ok(output::print(&render(cx, &view)?)?);
    }
    let watching = governor.watch(LOOK).await.map_err(|error| refused("view", &args.name, &error))?;
    // Whoever reads lines of events wants nothing else.
    if cx.format() != Format::Ndjson {
        output::print(&render(cx, watching.view())?)?;
    }
    watch::watch(cx, watching).await
}

fn render(cx: &Cx<'_>, view: &GovernorView) -> Result<String, Failure> {
    Ok(match cx.format() {
        Format::Json | Format::Ndjson => output::json(&ViewDocument::of(view))?,
        format => {
            let rows = view.holders.iter().map(|lease| lease_row(lease, view)).collect();
            view_block(view).with("lease", &Grid::new(&LEASE, rows), format)
        }
    })
}
