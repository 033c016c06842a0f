use std::time::Duration;

use serde::Serialize;
use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_governor::{Force, GovernorAdmin, GovernorView};
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::code::Code;
use crate::confirm::confirm;
use crate::error::CliError;
use crate::governor::args::EditArgs;
use crate::governor::{Cx, refused};
use crate::output::{self, Block, Cell, Column, Format, Grid, Kind, exact};

/// How often `--drain` looks.
const LOOK: Duration = Duration::from_millis(250);

/// `sluicegate.v1.governor_edit`
#[derive(Debug, Serialize)]
struct Document<'a> {
    r#type: &'static str,
    name: &'a str,
    changed: bool,
    changes: &'a [Change],
    active: u64,
    capacity: Option<u64>,
}

/// One field that is another now.
#[derive(Debug, Serialize)]
struct Change {
    field: &'static str,
    have: String,
    want: String,
}

const CHANGE: [Column; 3] = [
    Column { key: "field", title: "Field", kind: Kind::Text },
    Column { key: "have", title: "Have", kind: Kind::Text },
    Column { key: "want", title: "Want", kind: Kind::Text },
];

pub(crate) async fn edit(cx: &Cx<'_>, args: &EditArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("edit", &args.name, &error);
    let named =
        args.capacity.is_some() || args.ttl.is_some() || args.replicas.is_some() || args.subject.is_some();
    if !named && !args.drain {
        let message = "nothing to change: name --capacity, --ttl, --replicas or --subject";
        return Err(CliError::new(Code::Usage, message).help("sluicegate governor edit --help").into());
    }
    let governor = cx.bind("edit", &args.name).await?;
    let before = governor.view().await.map_err(failed)?;
    apply(cx, args, &governor).await?;
    let mut after = governor.view().await.map_err(failed)?;
    let changes = changes(&before, &after);
    if let Some(limit) = after.limit.filter(|limit| after.active > *limit) {
        let more = after.active - limit + 1;
        cx.note(&format!("{} held, capacity {limit}: no new slot until {more} are released", after.active));
    }
    if args.drain {
        after = drain(args, &governor, after).await?;
    }
    cx.flush(&governor).await;
    show(cx, args, &changes, &after)
}

/// What needs force is first tried without: the library says what it would do, and then somebody is asked.
async fn apply(cx: &Cx<'_>, args: &EditArgs, governor: &GovernorAdmin) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("edit", &args.name, &error);
    let consent = |error: LeaseError| match error.kind() {
        LeaseErrorKind::Conflict if !cx.output.force => confirm(&failed(error).to_string(), false),
        _ => Err(failed(error)),
    };
    let force = if cx.output.force { Force::Yes } else { Force::No };
    if let Some(subject) = &args.subject
        && let Err(error) = governor.set_subject(subject, force).await
    {
        consent(error)?;
        governor.set_subject(subject, Force::Yes).await.map_err(failed)?;
    }
    if let Some(ttl) = args.ttl.map(Duration::from)
        && let Err(error) = governor.set_ttl(ttl, force).await
    {
        consent(error)?;
        governor.set_ttl(ttl, Force::Yes).await.map_err(failed)?;
    }
    if let Some(replicas) = args.replicas {
        governor.set_replicas(replicas).await.map_err(failed)?;
    }
    if let Some(capacity) = args.capacity {
        governor.resize(capacity).await.map_err(failed)?;
    }
    Ok(())
}

fn changes(before: &GovernorView, after: &GovernorView) -> Vec<Change> {
    let limit = |view: &GovernorView| view.limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let ttl = |view: &GovernorView| view.ttl.map_or("never".to_owned(), exact);
    let subject = |view: &GovernorView| view.subject.clone().unwrap_or_default();
    let replicas = |view: &GovernorView| view.replicas.to_string();
    let fields: [(&'static str, String, String); 4] = [
        ("capacity", limit(before), limit(after)),
        ("ttl", ttl(before), ttl(after)),
        ("replicas", replicas(before), replicas(after)),
        ("subject", subject(before), subject(after)),
    ];
    let changed = fields.into_iter().filter(|(_, have, want)| have != want);
    changed.map(|(field, have, want)| Change { field, have, want }).collect()
}

/// Waits until no more are held than the capacity; nobody is evicted for that.
async fn drain(
    args: &EditArgs,
    governor: &GovernorAdmin,
    mut view: GovernorView,
) -> Result<GovernorView, Failure> {
    let begun = Instant::now();
    loop {
        let Some(limit) = view.limit.filter(|limit| view.active > *limit) else { return Ok(view) };
        if args.max_wait.is_some_and(|most| begun.elapsed() >= most.0) {
            let message = format!("governor {}: still {} held of {limit}", args.name, view.active);
            let help = format!("evict the rest: sluicegate governor evict {}", args.name);
            return Err(CliError::new(Code::NoSlot, message).help(help).into());
        }
        sleep(LOOK).await;
        match governor.view().await {
            Ok(seen) => view = seen,
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(refused("edit", &args.name, &error).into()),
        }
    }
}

fn show(cx: &Cx<'_>, args: &EditArgs, changes: &[Change], after: &GovernorView) -> Result<(), Failure> {
    let block = || {
        Block::new()
            .row("name", "Name", Cell::text(&args.name))
            .row("changed", "Changed", Cell::text((!changes.is_empty()).to_string()))
            .row("active", "Active", Cell::number(after.active))
    };
    let rows = || {
        let cells = |change: &Change| {
            vec![Cell::text(change.field), Cell::text(&change.have), Cell::text(&change.want)]
        };
        changes.iter().map(cells).collect()
    };
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(&Document {
            r#type: "sluicegate.v1.governor_edit",
            name: &args.name,
            changed: !changes.is_empty(),
            changes,
            active: after.active,
            capacity: after.limit,
        })?,
        Format::Tsv => block().tsv_with("change", &Grid::new(&CHANGE, rows())),
        Format::Table => {
            let changes =
                changes.iter().map(|Change { field, have, want }| format!("\n  {field} {have} → {want}"));
            format!("{}{}", block().table(), changes.collect::<String>())
        }
    };
    Ok(output::print(&text)?)
}
