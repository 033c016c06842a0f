//! What changes in a governor, as somebody sees it who may only look.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use sluicegate_core::{HeldLease, LeaseId};
use sluicegate_governor::{GovernorAdmin, GovernorView};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::Failure;
use crate::governor::{Cx, refused};
use crate::output::{self, Cell, Column, Format, Grid, Kind, age, millis, timestamp};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);
/// A lease that is gone so shortly before its end has expired: the server's clock and ours meet in the middle.
const NEARLY: Duration = Duration::from_millis(50);

/// `sluicegate.v1.governor_event`
#[derive(Debug, PartialEq, Serialize)]
struct Event {
    r#type: &'static str,
    time: String,
    event: &'static str,
    governor: String,
    id: Option<u64>,
    holder: Option<String>,
    age_seconds: Option<f64>,
    capacity: Option<u64>,
}

const EVENT: [Column; 7] = [
    Column { key: "time", title: "Time", kind: Kind::Text },
    Column { key: "event", title: "Event", kind: Kind::Text },
    Column { key: "governor", title: "Governor", kind: Kind::Text },
    Column { key: "id", title: "Id", kind: Kind::Id },
    Column { key: "holder", title: "Holder", kind: Kind::Text },
    Column { key: "age_seconds", title: "Age", kind: Kind::Number },
    Column { key: "capacity", title: "Capacity", kind: Kind::Number },
];

/// Tells what changes until it is interrupted. Who left is known, but not always why: a lease that is gone before its
/// time is `released`, whether by its holder or by somebody else.
pub(super) async fn watch(
    cx: &Cx<'_>,
    governor: &GovernorAdmin,
    mut before: GovernorView,
) -> Result<(), Failure> {
    loop {
        sleep(LOOK).await;
        let after = match governor.view().await {
            Ok(view) => view,
            // What passes is waited for: whoever watches wants to see the end of it.
            Err(error) if error.is_transient() => continue,
            Err(error) => return Err(refused("view", governor.name().as_str(), &error).into()),
        };
        for event in changes(&before, &after) {
            output::print(&render(cx.format(), &event)?)?;
        }
        before = after;
    }
}

fn changes(before: &GovernorView, after: &GovernorView) -> Vec<Event> {
    let leases = |view: &GovernorView| -> BTreeMap<LeaseId, HeldLease> {
        view.holders.iter().map(|lease| (lease.id, lease.clone())).collect()
    };
    let (had, has) = (leases(before), leases(after));
    let now = after.now.map_or_else(OffsetDateTime::now_utc, OffsetDateTime::from);
    let event = |event, lease: Option<&HeldLease>, aged: Duration| Event {
        r#type: "sluicegate.v1.governor_event",
        time: timestamp(now),
        event,
        governor: after.name.to_string(),
        id: lease.map(|lease| lease.id.0),
        holder: lease.map(|lease| lease.holder.to_string()),
        age_seconds: lease.map(|_| millis(aged).as_secs_f64()),
        capacity: after.limit,
    };
    let elapsed = after.now.zip(before.now).and_then(|(after, before)| after.duration_since(before).ok());
    let mut events = Vec::new();
    if before.limit != after.limit {
        events.push(event("resized", None, Duration::ZERO));
    }
    for (_, lease) in had.iter().filter(|(id, _)| !has.contains_key(id)) {
        let aged = lease.age + elapsed.unwrap_or_default();
        let expired = after.ttl.is_some_and(|ttl| aged + NEARLY >= ttl);
        events.push(event(if expired { "expired" } else { "released" }, Some(lease), aged));
    }
    for (_, lease) in has.iter().filter(|(id, _)| !had.contains_key(id)) {
        events.push(event("acquired", Some(lease), lease.age));
    }
    events
}

fn render(format: Format, event: &Event) -> Result<String, Failure> {
    let optional = |number: Option<u64>| number.map_or_else(Cell::unknown, Cell::number);
    let row = vec![
        Cell::text(&event.time),
        Cell::text(event.event),
        Cell::text(&event.governor),
        event.id.map_or_else(Cell::unknown, Cell::id),
        event.holder.as_ref().map_or_else(Cell::unknown, Cell::text),
        event.age_seconds.map_or_else(Cell::unknown, |age| Cell::age(Duration::from_secs_f64(age))),
        optional(event.capacity),
    ];
    Ok(match format {
        Format::Json | Format::Ndjson => output::json(event)?,
        Format::Tsv => Grid::new(&EVENT, vec![row]).tsv(false),
        Format::Table => {
            let aged = event.age_seconds.map(Duration::from_secs_f64);
            let who = event.holder.as_ref().zip(event.id).zip(aged);
            let what = who.map_or_else(
                || format!("capacity {}", optional(event.capacity).human()),
                |((holder, id), aged)| format!("{id} {} ({})", output::escape(holder), age(aged)),
            );
            format!("{} {:<8} {what}", event.time, event.event)
        }
    })
}
