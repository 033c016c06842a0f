//! `reset` and `rm`.

use serde::Serialize;
use sluicegate_governor::{CapacityShare, GovernorView};

use crate::Failure;
use crate::capacity::args::NameArgs;
use crate::capacity::documents::{PartDocument, shares};
use crate::capacity::{bind, refused};
use crate::cx::Cx;
use crate::removal::{self, Removal};

/// `sluicegate.v1.capacity_reset` and `sluicegate.v1.capacity_rm`: whom it freed.
#[derive(Debug, Serialize)]
struct Document<'a> {
    r#type: String,
    name: &'a str,
    freed: u64,
    parts: Vec<PartDocument>,
}

pub(crate) async fn remove(cx: &Cx<'_>, removal: Removal, args: &NameArgs) -> Result<(), Failure> {
    let verb = removal.verb();
    let capacity = bind(cx, verb, &args.name).await?;
    let holders = |view: &GovernorView| view.shares().iter().map(who).collect();
    let refused = |error: &_| refused(verb, &args.name, error);
    let (view, freed) = removal.carry_out(cx, capacity.governor(), holders, refused).await?;
    let document = Document {
        r#type: format!("sluicegate.v1.capacity_{verb}"),
        name: view.name.as_str(),
        freed,
        parts: PartDocument::all(&view),
    };
    removal::show(cx, &document, (document.name, freed), ("holder", &shares(&view)))
}

/// A share in a few words.
fn who(share: &CapacityShare) -> String {
    let leases = if share.leases == 1 { "lease" } else { "leases" };
    format!("{} ({} {leases})", share.holder, share.leases)
}
