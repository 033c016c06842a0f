use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_governor::{CapacityAdmin, CapacityConfig, Force, GovernorAdmin, GovernorView, Units, Wire};

use super::args::{AddArgs, EditArgs, NameArgs, ViewArgs};
use super::documents::{PART, Part, SUMMARY, Summary, holders};
use super::refused;
use crate::Failure;
use crate::code::Code;
use crate::confirm::confirm;
use crate::error::CliError;
use crate::governor::Cx;
use crate::output::{self, Format, Grid};

/// How many capacities are looked at at the same time.
const AT_ONCE: usize = 8;

/// What is there now, with or without who holds it; and what a change did.
#[derive(Debug, Serialize)]
struct Document {
    r#type: String,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freed: Option<u64>,
    #[serde(rename = "parts")]
    parts: Vec<Part>,
}

/// `sluicegate.v1.capacity_ls`
#[derive(Debug, Serialize)]
struct List<'a> {
    r#type: &'static str,
    capacities: &'a [Summary],
}

pub(super) async fn add(cx: &Cx<'_>, args: &AddArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("add", &args.name, &error);
    let units = Units::try_new(args.total, args.factor()).map_err(failed)?;
    let mut config = CapacityConfig::try_new(&args.name, units, args.ttl.into()).map_err(failed)?;
    if let Some(replicas) = args.replicas {
        config = config.replicas(replicas);
    }
    if units.unused() > 0 {
        cx.note(&format!(
            "{} of {} units a second are in no lease: the total is no multiple of the factor {}",
            units.unused(),
            units.total(),
            units.factor()
        ));
    }
    let connection = cx.connection("add").await?;
    let (capacity, changed) = if args.ensure || cx.output.force {
        if cx.output.force
            && let Ok(there) = CapacityAdmin::bind(&connection, &args.name).await
        {
            there.set_units(units, Force::Yes).await.map_err(failed)?;
        }
        CapacityAdmin::ensure(&connection, &config).await.map_err(failed)?
    } else {
        let existed = GovernorAdmin::bind_on(&connection, &args.name, Wire::Native).await.is_ok();
        (CapacityAdmin::create(&connection, &config).await.map_err(failed)?, !existed)
    };
    show(cx, "add", &capacity, Some(changed)).await
}

pub(super) async fn edit(cx: &Cx<'_>, args: &EditArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("edit", &args.name, &error);
    if args.total.is_none() && args.factor.is_none() && args.ttl.is_none() && args.replicas.is_none() {
        let message = "nothing to change: name --total, --factor, --ttl or --replicas";
        return Err(CliError::new(Code::Usage, message).help("sluicegate capacity edit --help").into());
    }
    let mut capacity = bind(cx, "edit", &args.name).await?;
    let before = capacity.view().await.map_err(failed)?;
    let (total, factor) = (args.total.unwrap_or(before.1.total()), args.factor.unwrap_or(before.1.factor()));
    let units = Units::try_new(total, factor).map_err(failed)?;
    if units != before.1 {
        let force = if cx.output.force { Force::Yes } else { Force::No };
        capacity = match capacity.set_units(units, force).await {
            Err(error) if error.kind() == LeaseErrorKind::Conflict => {
                confirm(&failed(error).to_string(), false)?;
                capacity.set_units(units, Force::Yes).await.map_err(failed)?
            }
            done => done.map_err(failed)?,
        };
    }
    if let Some(ttl) = args.ttl {
        capacity.governor().set_ttl(ttl.into(), Force::No).await.map_err(failed)?;
    }
    if let Some(replicas) = args.replicas {
        capacity.governor().set_replicas(replicas).await.map_err(failed)?;
    }
    let after = capacity.view().await.map_err(failed)?;
    let said = |(view, units): &(GovernorView, Units)| (*units, view.limit, view.ttl, view.replicas);
    show(cx, "edit", &capacity, Some(said(&before) != said(&after))).await
}

pub(super) async fn ls(cx: &Cx<'_>) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("ls", "", &error);
    let connection = cx.connection("ls").await?;
    let names = CapacityAdmin::list(&connection).await.map_err(failed)?;
    let looks = stream::iter(names).map(|(summary, _)| {
        let connection = &connection;
        async move {
            let view = async { CapacityAdmin::bind(connection, &summary.name).await?.view().await };
            match view.await {
                Ok((view, units)) => Ok(Some(Summary::of(&view, units))),
                // Removed in the meantime.
                Err(error) if error.kind() == LeaseErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        }
    });
    let found: Vec<_> = looks.buffered(AT_ONCE).try_collect().await.map_err(failed)?;
    let found: Vec<Summary> = found.into_iter().flatten().collect();
    let grid = || Grid::new(&SUMMARY, found.iter().map(Summary::row).collect());
    let text = match cx.format() {
        Format::Json => output::json(&List { r#type: "sluicegate.v1.capacity_ls", capacities: &found })?,
        Format::Ndjson => {
            let lines: Result<Vec<_>, _> = found.iter().map(output::json).collect();
            lines?.join("\n")
        }
        Format::Tsv => grid().tsv(cx.output.header),
        Format::Table if found.is_empty() => {
            cx.note("no capacities; make one: sluicegate capacity add NAME --total N");
            String::new()
        }
        Format::Table => grid().table(output::width()),
    };
    Ok(output::print_lines(&text)?)
}

pub(super) async fn view(cx: &Cx<'_>, args: &ViewArgs) -> Result<(), Failure> {
    let capacity = bind(cx, "view", &args.name).await?;
    show(cx, "view", &capacity, None).await
}

pub(super) async fn reset(cx: &Cx<'_>, args: &NameArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("reset", &args.name, &error);
    let capacity = bind(cx, "reset", &args.name).await?;
    let (view, units) = capacity.view().await.map_err(failed)?;
    confirm(&format!("reset {}, of which {} leases are held", args.name, view.active), cx.output.force)?;
    let freed = capacity.governor().reset().await.map_err(failed)?;
    cx.flush(capacity.governor()).await;
    print(cx, "reset", &view, units, None, Some(freed))
}

pub(super) async fn rm(cx: &Cx<'_>, args: &NameArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("rm", &args.name, &error);
    let capacity = bind(cx, "rm", &args.name).await?;
    let (view, units) = capacity.view().await.map_err(failed)?;
    confirm(&format!("remove {}, of which {} leases are held", args.name, view.active), cx.output.force)?;
    capacity.governor().delete().await.map_err(failed)?;
    cx.flush(capacity.governor()).await;
    print(cx, "rm", &view, units, None, Some(view.active))
}

async fn bind(cx: &Cx<'_>, verb: &str, name: &str) -> Result<CapacityAdmin, Failure> {
    let connection = cx.connection(verb).await?;
    Ok(CapacityAdmin::bind(&connection, name).await.map_err(|error| refused(verb, name, &error))?)
}

async fn show(
    cx: &Cx<'_>,
    verb: &str,
    capacity: &CapacityAdmin,
    changed: Option<bool>,
) -> Result<(), Failure> {
    let name = capacity.governor().name().as_str();
    let (view, units) = capacity.view().await.map_err(|error| refused(verb, name, &error))?;
    cx.flush(capacity.governor()).await;
    print(cx, verb, &view, units, changed, None)
}

fn print(
    cx: &Cx<'_>,
    verb: &str,
    view: &GovernorView,
    units: Units,
    changed: Option<bool>,
    freed: Option<u64>,
) -> Result<(), Failure> {
    let document = Document {
        r#type: format!("sluicegate.v1.capacity_{verb}"),
        summary: Summary::of(view, units),
        changed,
        freed,
        parts: holders(view, units),
    };
    let block = || {
        let block = document.summary.block();
        let block = changed.iter().fold(block, |block, changed| {
            block.row("changed", "Changed", output::Cell::text(changed.to_string()))
        });
        freed
            .iter()
            .fold(block, |block, freed| block.row("freed", "Leases ended", output::Cell::number(*freed)))
    };
    let rows = || document.parts.iter().map(Part::row).collect();
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(&document)?,
        Format::Table if document.parts.is_empty() => block().table(),
        Format::Table => format!("{}\n{}", block().table(), Grid::new(&PART, rows()).table(output::width())),
        Format::Tsv => block().tsv_with("holder", &Grid::new(&PART, rows())),
    };
    Ok(output::print(&text)?)
}
