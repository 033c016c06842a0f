//! `reset` and `rm`.

use serde::Serialize;
use sluicegate_governor::GovernorView;

use crate::Failure;
use crate::cx::Cx;
use crate::governor::args::NameArgs;
use crate::governor::documents::{LEASE, LeaseDocument, lease_row};
use crate::governor::verbs::evict::who;
use crate::governor::{bind, refused};
use crate::output::Grid;
use crate::removal::{self, Removal};

/// `sluicegate.v1.governor_reset` and `sluicegate.v1.governor_rm`: whom it freed.
#[derive(Debug, Serialize)]
struct Document<'a> {
    r#type: String,
    name: &'a str,
    freed: u64,
    leases: Vec<LeaseDocument>,
}

pub(crate) async fn remove(cx: &Cx<'_>, removal: Removal, args: &NameArgs) -> Result<(), Failure> {
    let verb = removal.verb();
    let governor = bind(cx, verb, &args.name).await?;
    let holders = |view: &GovernorView| view.holders.iter().map(who).collect();
    let refused = |error: &_| refused(verb, &args.name, error);
    let (view, freed) = removal.carry_out(cx, &governor, holders, refused).await?;
    let document = Document {
        r#type: format!("sluicegate.v1.governor_{verb}"),
        name: view.name.as_str(),
        freed,
        leases: view.holders.iter().map(|lease| LeaseDocument::of(lease, &view)).collect(),
    };
    let rows = Grid::new(&LEASE, view.holders.iter().map(|lease| lease_row(lease, &view)).collect());
    removal::show(cx, &document, (document.name, freed), ("lease", &rows))
}
