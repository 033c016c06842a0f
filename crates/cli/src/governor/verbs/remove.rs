//! `reset` and `rm`.

use serde::Serialize;
use sluicegate_core::LeaseError;
use sluicegate_governor::GovernorView;

use crate::Failure;
use crate::confirm::confirm;
use crate::governor::args::NameArgs;
use crate::governor::documents::{LEASE, LeaseDocument, lease_row};
use crate::governor::verbs::evict::who;
use crate::governor::{Cx, refused};
use crate::output::{self, Block, Cell, Format, Grid};

/// `sluicegate.v1.governor_reset` and `sluicegate.v1.governor_rm`: whom it freed.
#[derive(Debug, Serialize)]
struct Document<'a> {
    r#type: &'static str,
    name: &'a str,
    freed: u64,
    leases: Vec<LeaseDocument>,
}

pub(crate) async fn reset(cx: &Cx<'_>, args: &NameArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("reset", &args.name, &error);
    let governor = cx.bind("reset", &args.name).await?;
    let view = governor.view().await.map_err(failed)?;
    confirm(&format!("reset {}{}", args.name, held(&view)), cx.output.force)?;
    let freed = governor.reset().await.map_err(failed)?;
    cx.flush(&governor).await;
    show(cx, "sluicegate.v1.governor_reset", &view, freed)
}

pub(crate) async fn rm(cx: &Cx<'_>, args: &NameArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("rm", &args.name, &error);
    let governor = cx.bind("rm", &args.name).await?;
    let view = governor.view().await.map_err(failed)?;
    confirm(&format!("remove {}{}", args.name, held(&view)), cx.output.force)?;
    governor.delete().await.map_err(failed)?;
    cx.flush(&governor).await;
    show(cx, "sluicegate.v1.governor_rm", &view, view.active)
}

/// Who holds it, for the question whether that is meant.
fn held(view: &GovernorView) -> String {
    const SHOWN: usize = 5;
    let names: Vec<_> = view.holders.iter().take(SHOWN).map(who).collect();
    match view.holders.len() {
        0 => ", which nobody holds".to_owned(),
        all if all > SHOWN => format!(", held by {} and {} more", names.join(", "), all - SHOWN),
        _ => format!(", held by {}", names.join(", ")),
    }
}

fn show(cx: &Cx<'_>, r#type: &'static str, view: &GovernorView, freed: u64) -> Result<(), Failure> {
    let rows = || view.holders.iter().map(|lease| lease_row(lease, view)).collect();
    let block = || {
        Block::new().row("name", "Name", Cell::text(view.name.as_str())).row(
            "freed",
            "Leases ended",
            Cell::number(freed),
        )
    };
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(&Document {
            r#type,
            name: view.name.as_str(),
            freed,
            leases: view.holders.iter().map(|lease| LeaseDocument::of(lease, view)).collect(),
        })?,
        Format::Table if view.holders.is_empty() => block().table(),
        Format::Table => format!("{}\n{}", block().table(), Grid::new(&LEASE, rows()).table(output::width())),
        Format::Tsv => block().tsv_with("lease", &Grid::new(&LEASE, rows())),
    };
    Ok(output::print(&text)?)
}
