use serde::Serialize;
use sluicegate_governor::{Change, GovernorView};

use crate::Failure;
use crate::capacity::args::ViewArgs;
use crate::capacity::documents::{ViewDocument, shares, view_block};
use crate::capacity::{bind, refused};
use crate::cx::Cx;
use crate::output::{self, Cell, Column, Format, Grid, Kind, escape, millis, thousands};
use crate::watch::{self, LOOK};

/// `sluicegate.v1.capacity_event`
#[derive(Debug, Serialize)]
struct Event {
    r#type: &'static str,
    time: String,
    event: &'static str,
    name: String,
    id: Option<u64>,
    holder: Option<String>,
    age_seconds: Option<f64>,
    held_units: Option<u64>,
    total: Option<u64>,
    factor: Option<u64>,
}

const EVENT: [Column; 9] = [
    Column { key: "time", title: "Time", kind: Kind::Text },
    Column { key: "event", title: "Event", kind: Kind::Text },
    Column { key: "name", title: "Name", kind: Kind::Text },
    Column { key: "id", title: "Id", kind: Kind::Id },
    Column { key: "holder", title: "Holder", kind: Kind::Text },
    Column { key: "age_seconds", title: "Age", kind: Kind::Number },
    Column { key: "held_units", title: "Held units", kind: Kind::Number },
    Column { key: "total", title: "Total", kind: Kind::Number },
    Column { key: "factor", title: "Factor", kind: Kind::Number },
];

pub(crate) async fn view(cx: &Cx<'_>, args: &ViewArgs) -> Result<(), Failure> {
    let capacity = bind(cx, "view", &args.name).await?;
    let refused = |error: &_| refused("view", &args.name, error);
    if !args.watch {
        let view = capacity.governor().view().await.map_err(|error| refused(&error))?;
        return Ok(output::print(&render(cx, &view)?)?);
    }
    let watching = capacity.governor().watch(LOOK).await.map_err(|error| refused(&error))?;
    // Whoever reads lines of events wants nothing else.
    if cx.format() != Format::Ndjson {
        output::print(&render(cx, watching.view())?)?;
    }
    watch::follow(watching, |_, error| refused(error), |change, time, view| event(cx, change, time, view))
        .await
}

fn render(cx: &Cx<'_>, view: &GovernorView) -> Result<String, Failure> {
    Ok(match cx.format() {
        Format::Json | Format::Ndjson => output::json(&ViewDocument::of(view))?,
        format => view_block(view).with("holder", &shares(view), format),
    })
}

/// What has changed, and how much of the capacity is taken since.
fn event(cx: &Cx<'_>, change: &Change, time: String, view: &GovernorView) -> Result<String, Failure> {
    let (event, lease) = watch::what(change);
    let document = Event {
        r#type: "sluicegate.v1.capacity_event",
        time,
        event,
        name: view.name.to_string(),
        id: lease.map(|lease| lease.id.0),
        holder: lease.map(|lease| lease.holder.to_string()),
        age_seconds: lease.map(|lease| millis(lease.age).as_secs_f64()),
        held_units: view.held_units(),
        total: view.units.map(|units| units.total()),
        factor: view.units.map(|units| units.factor()),
    };
    Ok(match cx.format() {
        Format::Json | Format::Ndjson => output::json(&document)?,
        Format::Tsv => {
            let row = vec![
                Cell::text(&document.time),
                Cell::text(event),
                Cell::text(&document.name),
                document.id.map_or_else(Cell::unknown, Cell::id),
                document.holder.as_ref().map_or_else(Cell::unknown, Cell::text),
                lease.map_or_else(Cell::unknown, |lease| Cell::age(millis(lease.age))),
                Cell::count(document.held_units),
                Cell::count(document.total),
                Cell::count(document.factor),
            ];
            Grid::new(&EVENT, vec![row]).tsv(false)
        }
        Format::Table => {
            let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), thousands);
            let (held, total) = (known(document.held_units), known(document.total));
            let who = document.holder.as_deref().map(escape).unwrap_or_default();
            let gap = if who.is_empty() { "" } else { ", " };
            format!("{} {event:<8} {who}{gap}{held} of {total} units/s held", document.time)
        }
    })
}
