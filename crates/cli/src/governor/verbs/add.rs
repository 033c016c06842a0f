use std::io::{self, IsTerminal};

use serde::Serialize;
use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_governor::{Force, GovernorAdmin, GovernorConfig, Wire};
use sluicegate_nats::Connection;

use crate::Failure;
use crate::confirm::confirm;
use crate::governor::args::{AddArgs, WireArg};
use crate::governor::documents::ttl;
use crate::governor::{Cx, refused};
use crate::output::{self, Block, Cell, Format};

/// `sluicegate.v1.governor_add`
#[derive(Debug, Serialize)]
struct Document {
    r#type: &'static str,
    name: String,
    wire: String,
    stream: String,
    subject: Option<String>,
    capacity: Option<u64>,
    ttl_seconds: Option<f64>,
    replicas: u8,
    changed: bool,
}

pub(crate) async fn add(cx: &Cx<'_>, args: &AddArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("add", &args.name, &error);
    let config = config(args).map_err(failed)?;
    let connection = cx.connection("add").await?;
    let (governor, changed) = match () {
        () if cx.output.force => make_it_so(&connection, &config).await.map_err(failed)?,
        () if args.ensure => GovernorAdmin::ensure(&connection, &config).await.map_err(failed)?,
        () => make(&connection, &config, args).await?,
    };
    let view = governor.view().await.map_err(failed)?;
    cx.flush(&governor).await;
    let document = Document {
        r#type: "sluicegate.v1.governor_add",
        name: view.name.to_string(),
        wire: view.wire.to_string(),
        stream: view.stream,
        subject: view.subject,
        capacity: view.limit,
        ttl_seconds: view.ttl.map(|ttl| ttl.as_secs_f64()),
        replicas: view.replicas,
        changed,
    };
    let block = || {
        Block::new()
            .row("name", "Name", Cell::text(&document.name))
            .row("wire", "Wire", Cell::text(&document.wire))
            .row("stream", "Stream", Cell::text(&document.stream))
            .row("subject", "Subject", document.subject.as_ref().map_or_else(Cell::unknown, Cell::text))
            .row("capacity", "Capacity", document.capacity.map_or_else(Cell::unknown, Cell::number))
            .row("ttl_seconds", "Time to live", ttl(view.ttl))
            .row("replicas", "Replicas", Cell::number(document.replicas))
            .row("changed", "Changed", Cell::text(changed.to_string()))
    };
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(&document)?,
        Format::Tsv => block().tsv(),
        Format::Table => block().table(),
    };
    Ok(output::print(&text)?)
}

fn config(args: &AddArgs) -> Result<GovernorConfig, LeaseError> {
    let wire = match args.wire {
        WireArg::Campaign => Wire::Campaign,
        WireArg::Native => Wire::Native,
    };
    let mut config = GovernorConfig::try_new(&args.name, args.capacity(), args.ttl().into())?.wire(wire);
    if let Some(replicas) = args.replicas() {
        config = config.replicas(replicas);
    }
    if let Some(subject) = &args.subject {
        config = config.subject(subject);
    }
    if let Some(collective) = &args.collective {
        config = config.subject(format!("{collective}.governor.{}", args.name));
    }
    config.validate()?;
    Ok(config)
}

/// Makes it, or finds it so; one that differs is changed if somebody says so at the terminal.
async fn make(
    connection: &Connection,
    config: &GovernorConfig,
    args: &AddArgs,
) -> Result<(GovernorAdmin, bool), Failure> {
    let failed = |error: LeaseError| refused("add", &args.name, &error);
    let existed = match GovernorAdmin::bind_on(connection, &args.name, config.wire).await {
        Ok(_) => true,
        Err(error) if error.kind() == LeaseErrorKind::NotFound => false,
        Err(error) => return Err(failed(error).into()),
    };
    match GovernorAdmin::create(connection, config).await {
        Ok(governor) => Ok((governor, !existed)),
        Err(error) if error.kind() == LeaseErrorKind::Conflict && existed && is_asked() => {
            confirm(&format!("{}: change it", failed(error)), false)?;
            Ok(make_it_so(connection, config).await.map_err(failed)?)
        }
        Err(error) => Err(failed(error).into()),
    }
}

/// Makes it, or changes it, also in what takes something away from workers.
async fn make_it_so(
    connection: &Connection,
    config: &GovernorConfig,
) -> Result<(GovernorAdmin, bool), LeaseError> {
    let mut forced = false;
    match GovernorAdmin::bind_on(connection, config.name.as_str(), config.wire).await {
        Ok(governor) => {
            let before = governor.summary().await?;
            if let Some(subject) = &config.subject {
                governor.set_subject(subject, Force::Yes).await?;
            }
            governor.set_ttl(config.ttl, Force::Yes).await?;
            let after = governor.summary().await?;
            forced = (before.subject, before.ttl) != (after.subject, after.ttl);
        }
        Err(error) if error.kind() == LeaseErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let (governor, changed) = GovernorAdmin::ensure(connection, config).await?;
    Ok((governor, changed || forced))
}

/// Whether there is somebody to ask: elsewhere it is an error of its own.
fn is_asked() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
