use std::time::Duration;

use serde::Serialize;
use sluicegate_core::LeaseError;
use sluicegate_governor::{CapacityEdit, Force, GovernorView};

use crate::Failure;
use crate::capacity::args::EditArgs;
use crate::capacity::{bind, note_unused, refused};
use crate::change::{self, Change};
use crate::code::Code;
use crate::confirm::consent;
use crate::cx::Cx;
use crate::error::CliError;
use crate::output::{Block, Cell, exact};

/// `sluicegate.v1.capacity_edit`
#[derive(Debug, Serialize)]
struct Document<'a> {
    r#type: &'static str,
    name: &'a str,
    changed: bool,
    changes: &'a [Change],
    held: u64,
    leases: Option<u64>,
}

pub(crate) async fn edit(cx: &Cx<'_>, args: &EditArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("edit", &args.name, &error);
    let edit = CapacityEdit {
        total: args.total,
        factor: args.factor,
        ttl: args.ttl.map(Duration::from),
        replicas: args.replicas,
    };
    if edit == CapacityEdit::default() {
        let message = "nothing to change: name --total, --factor, --ttl or --replicas";
        return Err(CliError::new(Code::Usage, message).help("sluicegate capacity edit --help").into());
    }
    let capacity = bind(cx, "edit", &args.name).await?;
    let before = capacity.governor().view().await.map_err(failed)?;
    // What needs force is first tried without: the library says what it would do, and then somebody is asked.
    let force = if cx.output.force { Force::Yes } else { Force::No };
    if let Err(error) = capacity.edit(&edit, force).await {
        consent(cx, error.kind(), failed(error))?;
        capacity.edit(&edit, Force::Yes).await.map_err(failed)?;
    }
    let after = capacity.governor().view().await.map_err(failed)?;
    cx.flush(capacity.governor()).await;
    if let Some(leases) = after.limit.filter(|leases| after.active > *leases) {
        let more = after.active - leases + 1;
        cx.note(&format!("{} held of {leases} leases: no new one until {more} are released", after.active));
    }
    note_unused(cx, after.units);
    let changes = changes(&before, &after);
    let document = Document {
        r#type: "sluicegate.v1.capacity_edit",
        name: &args.name,
        changed: !changes.is_empty(),
        changes: &changes,
        held: after.active,
        leases: after.limit,
    };
    let block = Block::new()
        .row("name", "Name", Cell::text(&args.name))
        .row("changed", "Changed", Cell::text(document.changed.to_string()))
        .row("held", "Held", Cell::number(after.active));
    change::show(cx, &document, &block, &changes)
}

fn changes(before: &GovernorView, after: &GovernorView) -> Vec<Change> {
    let number = |number: Option<u64>| number.map_or("not set".to_owned(), |number| number.to_string());
    let total = |view: &GovernorView| number(view.units.map(|units| units.total()));
    let factor = |view: &GovernorView| number(view.units.map(|units| units.factor()));
    let leases = |view: &GovernorView| number(view.limit);
    let ttl = |view: &GovernorView| view.ttl.map_or("not set".to_owned(), exact);
    let replicas = |view: &GovernorView| view.replicas.to_string();
    change::changes([
        ("total", total(before), total(after)),
        ("factor", factor(before), factor(after)),
        ("leases", leases(before), leases(after)),
        ("ttl", ttl(before), ttl(after)),
        ("replicas", replicas(before), replicas(after)),
    ])
}
