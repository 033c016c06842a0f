use serde::Serialize;
use sluicegate_core::LeaseError;
use sluicegate_governor::{Force, GovernorAdmin, GovernorConfig, GovernorKind, Wire};
use sluicegate_nats::Connection;

use crate::Failure;
use crate::cx::Cx;
use crate::error::CliError;
use crate::governor::args::{AddArgs, WireArg};
use crate::governor::refused;
use crate::make::{Make, found, make, not_of_another_kind};
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
    let connection = &cx.connection("add").await?;
    let wanted = Wanted { connection, config };
    // Governors of the other wire have no kinds.
    if wanted.config.wire == Wire::Native {
        let refused = |error: &_| wanted.refused(error);
        not_of_another_kind(connection, &args.name, GovernorKind::Governor, refused).await?;
    }
    let (governor, changed) = make(cx, &wanted, args.ensure).await?;
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
            .row("ttl_seconds", "Time to live", Cell::ttl(view.ttl))
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

struct Wanted<'a> {
    connection: &'a Connection,
    config: GovernorConfig,
}

impl Make for Wanted<'_> {
    type Made = GovernorAdmin;

    async fn find(&self) -> Result<Option<GovernorAdmin>, LeaseError> {
        let GovernorConfig { name, wire, .. } = &self.config;
        found(GovernorAdmin::bind_on(self.connection, name.as_str(), *wire).await)
    }

    async fn create(&self) -> Result<GovernorAdmin, LeaseError> {
        GovernorAdmin::create(self.connection, &self.config).await
    }

    async fn ensure(&self) -> Result<(GovernorAdmin, bool), LeaseError> {
        GovernorAdmin::ensure(self.connection, &self.config).await
    }

    async fn force(&self) -> Result<(GovernorAdmin, bool), LeaseError> {
        let mut forced = false;
        if let Some(governor) = self.find().await? {
            let before = governor.summary().await?;
            if let Some(subject) = &self.config.subject {
                governor.set_subject(subject, Force::Yes).await?;
            }
            governor.set_ttl(self.config.ttl, Force::Yes).await?;
            let after = governor.summary().await?;
            forced = (before.subject, before.ttl) != (after.subject, after.ttl);
        }
        let (governor, changed) = self.ensure().await?;
        Ok((governor, changed || forced))
    }

    fn refused(&self, error: &LeaseError) -> CliError {
        refused("add", self.config.name.as_str(), error)
    }
}
