//! Capacities and shares as documents, rows and blocks. Keys and columns only ever grow.

use serde::Serialize;
use sluicegate_governor::{CapacityShare, GovernorView, Warning};

use crate::output::{Block, Cell, Column, Grid, Kind, millis, timestamp};

/// A line of `ls`.
#[derive(Debug, Serialize)]
pub(crate) struct SummaryDocument {
    name: String,
    total: Option<u64>,
    factor: Option<u64>,
    leases: Option<u64>,
    held: u64,
    held_units: Option<u64>,
    holders: Option<u64>,
    ttl_seconds: Option<f64>,
}

pub(crate) const SUMMARY: [Column; 8] = [
    Column { key: "name", title: "Name", kind: Kind::Text },
    Column { key: "total", title: "Total", kind: Kind::Number },
    Column { key: "factor", title: "Factor", kind: Kind::Number },
    Column { key: "leases", title: "Leases", kind: Kind::Number },
    Column { key: "held", title: "Held", kind: Kind::Number },
    Column { key: "held_units", title: "Held units", kind: Kind::Number },
    Column { key: "holders", title: "Holders", kind: Kind::Number },
    Column { key: "ttl_seconds", title: "TTL", kind: Kind::Number },
];

impl SummaryDocument {
    pub(crate) fn of(view: &GovernorView) -> Self {
        Self {
            name: view.name.to_string(),
            total: total(view),
            factor: factor(view),
            leases: view.limit,
            held: view.active,
            held_units: view.held_units(),
            holders: holders(view),
            ttl_seconds: view.ttl.map(|ttl| ttl.as_secs_f64()),
        }
    }
}

pub(crate) fn summary_row(view: &GovernorView) -> Vec<Cell> {
    vec![
        Cell::text(view.name.as_str()),
        Cell::count(total(view)),
        Cell::count(factor(view)),
        Cell::count(view.limit),
        Cell::number(view.active),
        Cell::count(view.held_units()),
        Cell::count(holders(view)),
        Cell::ttl(view.ttl),
    ]
}

/// `sluicegate.v1.capacity_view`
#[derive(Debug, Serialize)]
pub(crate) struct ViewDocument {
    r#type: &'static str,
    name: String,
    stream: String,
    total: Option<u64>,
    factor: Option<u64>,
    leases: Option<u64>,
    held: u64,
    held_units: Option<u64>,
    unused_units: Option<u64>,
    holders: Option<u64>,
    ttl_seconds: Option<f64>,
    replicas: u8,
    last_active: Option<String>,
    warnings: Vec<String>,
    parts: Vec<PartDocument>,
}

impl ViewDocument {
    pub(crate) fn of(view: &GovernorView) -> Self {
        let SummaryDocument { name, total, factor, leases, held, held_units, holders, ttl_seconds } =
            SummaryDocument::of(view);
        Self {
            r#type: "sluicegate.v1.capacity_view",
            name,
            stream: view.stream.clone(),
            total,
            factor,
            leases,
            held,
            held_units,
            unused_units: view.units.map(|units| units.unused()),
            holders,
            ttl_seconds,
            replicas: view.replicas,
            last_active: view.last_active.map(|time| timestamp(time.into())),
            warnings: view.warnings.iter().map(ToString::to_string).collect(),
            parts: PartDocument::all(view),
        }
    }
}

/// A view without its shares, which are rows of their own.
pub(crate) fn view_block(view: &GovernorView) -> Block {
    let last_active = view.last_active.map_or_else(Cell::unknown, |time| Cell::time(time.into()));
    let block = Block::new()
        .row("name", "Name", Cell::text(view.name.as_str()))
        .row("stream", "Stream", Cell::text(&view.stream))
        .row("total", "Total units/s", Cell::count(total(view)))
        .row("factor", "Units/s of a lease", Cell::count(factor(view)))
        .row("leases", "Leases", Cell::count(view.limit))
        .row("held", "Held", Cell::number(view.active))
        .row("held_units", "Held units/s", Cell::count(view.held_units()))
        .row("unused_units", "Unused units/s", Cell::count(view.units.map(|units| units.unused())))
        .row("holders", "Holders", Cell::count(holders(view)))
        .row("ttl_seconds", "Time to live", Cell::ttl(view.ttl))
        .row("replicas", "Replicas", Cell::number(view.replicas))
        .row("last_active", "Last active", last_active);
    view.warnings
        .iter()
        .fold(block, |block, warning| block.row("warning", "Warning", Cell::text(warning.to_string())))
}

/// What one holder has of it.
#[derive(Debug, Serialize)]
pub(crate) struct PartDocument {
    holder: String,
    leases: u64,
    units: Option<u64>,
    oldest_age_seconds: f64,
}

const SHARE: [Column; 4] = [
    Column { key: "holder", title: "Holder", kind: Kind::Text },
    Column { key: "leases", title: "Leases", kind: Kind::Number },
    Column { key: "units", title: "Units/s", kind: Kind::Number },
    Column { key: "oldest_age_seconds", title: "Oldest", kind: Kind::Number },
];

impl PartDocument {
    /// Those of everybody who holds some of it.
    pub(crate) fn all(view: &GovernorView) -> Vec<Self> {
        let document = |share: &CapacityShare| Self {
            holder: share.holder.to_string(),
            leases: share.leases,
            units: share.units,
            oldest_age_seconds: millis(share.oldest).as_secs_f64(),
        };
        view.shares().iter().map(document).collect()
    }
}

/// The same as rows.
pub(crate) fn shares(view: &GovernorView) -> Grid<'static> {
    let row = |share: &CapacityShare| {
        vec![
            Cell::text(share.holder.to_string()),
            Cell::number(share.leases),
            Cell::count(share.units),
            Cell::age(millis(share.oldest)),
        ]
    };
    Grid::new(&SHARE, view.shares().iter().map(row).collect())
}

fn total(view: &GovernorView) -> Option<u64> {
    view.units.map(|units| units.total())
}

fn factor(view: &GovernorView) -> Option<u64> {
    view.units.map(|units| units.factor())
}

/// How many hold some of it; none if that may not be read.
fn holders(view: &GovernorView) -> Option<u64> {
    let hidden = view.warnings.iter().any(|warning| matches!(warning, Warning::HoldersHidden(_)));
    (!hidden).then(|| view.shares().len() as u64)
}
