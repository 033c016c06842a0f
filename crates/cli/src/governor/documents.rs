//! Governors and leases as documents, rows and blocks. Keys and columns only ever grow.

use std::time::SystemTime;

use serde::Serialize;
use sluicegate_core::HeldLease;
use sluicegate_governor::{GovernorSummary, GovernorView, Wire};

use crate::output::{Block, Cell, Column, Kind, age, millis, timestamp};

/// A line of `ls`.
#[derive(Debug, Serialize)]
pub(crate) struct SummaryDocument {
    name: String,
    wire: String,
    capacity: Option<u64>,
    active: Option<u64>,
    free: Option<u64>,
    ttl_seconds: Option<f64>,
    oldest_age_seconds: Option<f64>,
    waiters: Option<u64>,
    replicas: u8,
    kind: Option<String>,
}

pub(crate) const SUMMARY: [Column; 10] = [
    Column { key: "name", title: "Name", kind: Kind::Text },
    Column { key: "wire", title: "Wire", kind: Kind::Text },
    Column { key: "capacity", title: "Capacity", kind: Kind::Number },
    Column { key: "active", title: "Active", kind: Kind::Number },
    Column { key: "free", title: "Free", kind: Kind::Number },
    Column { key: "ttl_seconds", title: "TTL", kind: Kind::Number },
    Column { key: "oldest_age_seconds", title: "Oldest", kind: Kind::Number },
    Column { key: "waiters", title: "Waiters", kind: Kind::Number },
    Column { key: "replicas", title: "Replicas", kind: Kind::Number },
    Column { key: "kind", title: "Kind", kind: Kind::Text },
];

impl SummaryDocument {
    pub(crate) fn of(summary: &GovernorSummary) -> Self {
        Self {
            name: summary.name.clone(),
            wire: summary.wire.to_string(),
            capacity: summary.limit,
            active: summary.active,
            free: free(summary.limit, summary.active),
            ttl_seconds: summary.ttl.map(|ttl| ttl.as_secs_f64()),
            oldest_age_seconds: summary.oldest.map(|oldest| millis(oldest).as_secs_f64()),
            waiters: None,
            replicas: summary.replicas,
            kind: summary.kind.map(|kind| kind.to_string()),
        }
    }
}

pub(crate) fn summary_row(summary: &GovernorSummary) -> Vec<Cell> {
    vec![
        Cell::text(&summary.name),
        Cell::text(summary.wire.to_string()),
        capacity(summary.limit, summary.active.is_some()),
        Cell::count(summary.active),
        Cell::count(free(summary.limit, summary.active)),
        Cell::ttl(summary.ttl),
        summary.oldest.map_or_else(Cell::unknown, |oldest| Cell::age(millis(oldest))),
        Cell::unknown(),
        Cell::number(summary.replicas),
        summary.kind.map_or_else(Cell::unknown, |kind| Cell::text(kind.to_string())),
    ]
}

/// `sluicegate.v1.governor_view`, and what `add` and `edit` made.
#[derive(Debug, Serialize)]
pub(crate) struct ViewDocument {
    r#type: &'static str,
    name: String,
    wire: String,
    kind: String,
    stream: String,
    subject: Option<String>,
    capacity: Option<u64>,
    active: u64,
    free: Option<u64>,
    waiters: Option<u64>,
    ttl_seconds: Option<f64>,
    replicas: u8,
    seeded: bool,
    last_active: Option<String>,
    warnings: Vec<String>,
    leases: Vec<LeaseDocument>,
}

impl ViewDocument {
    pub(crate) fn of(view: &GovernorView) -> Self {
        Self {
            r#type: "sluicegate.v1.governor_view",
            name: view.name.to_string(),
            wire: view.wire.to_string(),
            kind: view.kind.to_string(),
            stream: view.stream.clone(),
            subject: view.subject.clone(),
            capacity: view.limit,
            active: view.active,
            free: free(view.limit, Some(view.active)),
            waiters: None,
            ttl_seconds: view.ttl.map(|ttl| ttl.as_secs_f64()),
            replicas: view.replicas,
            seeded: view.seeded,
            last_active: view.last_active.map(|time| timestamp(time.into())),
            warnings: view.warnings.iter().map(ToString::to_string).collect(),
            leases: view.holders.iter().map(|lease| LeaseDocument::of(lease, view)).collect(),
        }
    }
}

/// A view without its leases, which are rows of their own.
pub(crate) fn view_block(view: &GovernorView) -> Block {
    let optional = |text: Option<String>| text.map_or_else(Cell::unknown, Cell::text);
    let block = Block::new()
        .row("name", "Name", Cell::text(view.name.as_str()))
        .row("wire", "Wire", Cell::text(view.wire.to_string()))
        .row("kind", "Kind", Cell::text(view.kind.to_string()))
        .row("stream", "Stream", Cell::text(&view.stream))
        .row("subject", "Subject", optional(view.subject.clone()))
        .row("capacity", "Capacity", capacity(view.limit, true))
        .row("active", "Active", Cell::number(view.active))
        .row("free", "Free", Cell::count(free(view.limit, Some(view.active))))
        .row("waiters", "Waiters", Cell::unknown())
        .row("ttl_seconds", "Time to live", Cell::ttl(view.ttl))
        .row("replicas", "Replicas", Cell::number(view.replicas))
        .row("seeded", "Seeded", Cell::text(view.seeded.to_string()))
        .row(
            "last_active",
            "Last active",
            view.last_active.map_or_else(Cell::unknown, |time| Cell::time(time.into())),
        );
    view.warnings
        .iter()
        .fold(block, |block, warning| block.row("warning", "Warning", Cell::text(warning.to_string())))
}

/// A lease as anybody sees it.
#[derive(Debug, Serialize)]
pub(crate) struct LeaseDocument {
    pub(crate) id: u64,
    token: u64,
    holder: String,
    acquired: Option<String>,
    age_seconds: f64,
    expires: Option<String>,
}

pub(crate) const LEASE: [Column; 6] = [
    Column { key: "id", title: "Id", kind: Kind::Id },
    Column { key: "token", title: "Token", kind: Kind::Id },
    Column { key: "holder", title: "Holder", kind: Kind::Text },
    Column { key: "acquired", title: "Acquired", kind: Kind::Text },
    Column { key: "age_seconds", title: "Age", kind: Kind::Number },
    Column { key: "expires", title: "Expires", kind: Kind::Text },
];

impl LeaseDocument {
    pub(crate) fn of(lease: &HeldLease, view: &GovernorView) -> Self {
        let (acquired, expires) = times(lease, view);
        Self {
            id: lease.id.0,
            token: lease.token.0,
            holder: lease.holder.to_string(),
            acquired: acquired.map(|time| timestamp(time.into())),
            age_seconds: millis(lease.age).as_secs_f64(),
            expires: expires.map(|time| timestamp(time.into())),
        }
    }
}

pub(crate) fn lease_row(lease: &HeldLease, view: &GovernorView) -> Vec<Cell> {
    let (acquired, expires) = times(lease, view);
    let remaining = view.ttl.map(|ttl| format!("in {}", age(ttl.saturating_sub(lease.age))));
    vec![
        Cell::id(lease.id.0),
        Cell::id(lease.token.0),
        Cell::text(lease.holder.to_string()),
        acquired.map_or_else(Cell::unknown, |time| Cell::time(time.into())),
        Cell::age(millis(lease.age)),
        match (expires, remaining) {
            (Some(time), Some(remaining)) => Cell::time(time.into()).said(remaining),
            _ => Cell::unknown(),
        },
    ]
}

/// When it was acquired, and when it expires, by the server's clock. One that was renewed tells only of the renewal.
fn times(lease: &HeldLease, view: &GovernorView) -> (Option<SystemTime>, Option<SystemTime>) {
    let begun = view.now.and_then(|now| now.checked_sub(lease.age));
    let renewed = view.wire == Wire::Native && lease.token.0 != lease.id.0;
    let expires = begun.zip(view.ttl).and_then(|(begun, ttl)| begun.checked_add(ttl));
    (begun.filter(|_| !renewed), expires)
}

pub(crate) fn free(limit: Option<u64>, active: Option<u64>) -> Option<u64> {
    limit.zip(active).map(|(limit, active)| limit.saturating_sub(active))
}

fn capacity(limit: Option<u64>, known: bool) -> Cell {
    match limit {
        Some(limit) => Cell::number(limit),
        None if known => Cell::unknown().said("unlimited"),
        None => Cell::unknown(),
    }
}
