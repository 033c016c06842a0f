//! Capacities and their holders as documents, rows and blocks. Keys and columns only ever grow.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use sluicegate_governor::{GovernorView, Units};

use crate::governor::ttl;
use crate::output::{Block, Cell, Column, Kind, millis};

/// A line of `ls`, and the head of `view`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) name: String,
    total: u64,
    factor: u64,
    leases: u64,
    pub(crate) held: u64,
    held_units: u64,
    /// Not known to whom the leases are hidden.
    holders: Option<u64>,
    ttl_seconds: Option<f64>,
    #[serde(skip)]
    ttl: Option<Duration>,
}

pub(crate) const SUMMARY: [Column; 8] = [
    Column { key: "name", title: "Name", kind: Kind::Text },
    Column { key: "total", title: "Total/s", kind: Kind::Number },
    Column { key: "factor", title: "Factor/s", kind: Kind::Number },
    Column { key: "leases", title: "Leases", kind: Kind::Number },
    Column { key: "held", title: "Held", kind: Kind::Number },
    Column { key: "held_units", title: "Held/s", kind: Kind::Number },
    Column { key: "holders", title: "Holders", kind: Kind::Number },
    Column { key: "ttl_seconds", title: "TTL", kind: Kind::Number },
];

impl Summary {
    pub(crate) fn of(view: &GovernorView, units: Units) -> Self {
        let hidden = view.active > 0 && view.holders.is_empty();
        Self {
            name: view.name.to_string(),
            total: units.total(),
            factor: units.factor(),
            leases: view.limit.unwrap_or_default(),
            held: view.active,
            held_units: view.active.saturating_mul(units.factor()),
            holders: (!hidden).then(|| holders(view, units).len() as u64),
            ttl_seconds: view.ttl.map(|ttl| ttl.as_secs_f64()),
            ttl: view.ttl,
        }
    }

    pub(crate) fn row(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::number(self.total),
            Cell::number(self.factor),
            Cell::number(self.leases),
            Cell::number(self.held),
            Cell::number(self.held_units),
            self.holders.map_or_else(Cell::unknown, Cell::number),
            ttl(self.ttl),
        ]
    }

    pub(crate) fn block(&self) -> Block {
        let columns = SUMMARY.iter().map(|column| (column.key, column.title));
        columns.zip(self.row()).fold(Block::new(), |block, ((key, title), cell)| block.row(key, title, cell))
    }
}

/// One process, and its part.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    holder: String,
    leases: u64,
    units: u64,
    oldest_age_seconds: f64,
    #[serde(skip)]
    oldest: Duration,
}

pub(crate) const PART: [Column; 4] = [
    Column { key: "holder", title: "Holder", kind: Kind::Text },
    Column { key: "leases", title: "Leases", kind: Kind::Number },
    Column { key: "units", title: "Units/s", kind: Kind::Number },
    Column { key: "oldest_age_seconds", title: "Oldest", kind: Kind::Number },
];

impl Part {
    pub(crate) fn row(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.holder),
            Cell::number(self.leases),
            Cell::number(self.units),
            Cell::age(self.oldest),
        ]
    }
}

/// Who holds how much, the most first.
pub(crate) fn holders(view: &GovernorView, units: Units) -> Vec<Part> {
    let mut parts: BTreeMap<String, (u64, Duration)> = BTreeMap::new();
    for lease in &view.holders {
        let (leases, oldest) = parts.entry(lease.holder.to_string()).or_default();
        *leases += 1;
        *oldest = millis(lease.age).max(*oldest);
    }
    let part = |(holder, (leases, oldest)): (String, (u64, Duration))| Part {
        holder,
        leases,
        units: leases * units.factor(),
        oldest_age_seconds: oldest.as_secs_f64(),
        oldest,
    };
    let mut parts: Vec<_> = parts.into_iter().map(part).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.leases));
    parts
}
