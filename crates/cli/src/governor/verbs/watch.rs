use std::time::Duration;

use serde::Serialize;
use sluicegate_governor::{Change, GovernorView, GovernorWatch};

use crate::Failure;
use crate::cx::Cx;
use crate::governor::refused;
use crate::output::{self, Cell, Column, Format, Grid, Kind, age, millis};
use crate::watch;

/// `sluicegate.v1.governor_event`
#[derive(Debug, Serialize)]
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

/// Tells what changes until it is interrupted.
pub(super) async fn watch(cx: &Cx<'_>, watch: GovernorWatch) -> Result<(), Failure> {
    let refused = |view: &GovernorView, error: &_| refused("view", view.name.as_str(), error);
    watch::follow(watch, refused, |change, time, view| {
        render(cx.format(), &event(change, time, view.name.to_string(), view.limit))
    })
    .await
}

fn event(change: &Change, time: String, governor: String, capacity: Option<u64>) -> Event {
    let (event, lease) = watch::what(change);
    Event {
        r#type: "sluicegate.v1.governor_event",
        time,
        event,
        governor,
        id: lease.map(|lease| lease.id.0),
        holder: lease.map(|lease| lease.holder.to_string()),
        age_seconds: lease.map(|lease| millis(lease.age).as_secs_f64()),
        capacity,
    }
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
