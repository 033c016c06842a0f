use std::time::Duration;

use serde::Serialize;
use sluicegate_core::LeaseError;
use sluicegate_governor::{Force, GovernorAdmin, GovernorView};
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::change::{self, Change};
use crate::code::Code;
use crate::confirm::consent;
use crate::cx::Cx;
use crate::error::CliError;
use crate::governor::args::EditArgs;
use crate::governor::{bind, refused};
use crate::output::{Block, Cell, exact};

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

pub(crate) async fn edit(cx: &Cx<'_>, args: &EditArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("edit", &args.name, &error);
    let named =
        args.capacity.is_some() || args.ttl.is_some() || args.replicas.is_some() || args.subject.is_some();
    if !named && !args.drain {
        let message = "nothing to change: name --capacity, --ttl, --replicas or --subject";
        return Err(CliError::new(Code::Usage, message).help("sluicegate governor edit --help").into());
    }
    let governor = bind(cx, "edit", &args.name).await?;
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
    let consent = |error: LeaseError| consent(cx, error.kind(), failed(error));
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
    let total = |view: &GovernorView| view.units.map(|units| units.total().to_string()).unwrap_or_default();
    change::changes([
        ("capacity", limit(before), limit(after)),
        ("ttl", ttl(before), ttl(after)),
        ("replicas", replicas(before), replicas(after)),
        ("subject", subject(before), subject(after)),
        // That of a capacity follows the number of its slots.
        ("total", total(before), total(after)),
    ])
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
    let document = Document {
        r#type: "sluicegate.v1.governor_edit",
        name: &args.name,
        changed: !changes.is_empty(),
        changes,
        active: after.active,
        capacity: after.limit,
    };
    let block = Block::new()
        .row("name", "Name", Cell::text(&args.name))
        .row("changed", "Changed", Cell::text(document.changed.to_string()))
        .row("active", "Active", Cell::number(after.active));
    change::show(cx, &document, &block, changes)
}
