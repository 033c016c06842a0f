use serde::Serialize;
use sluicegate_core::LeaseError;
use sluicegate_governor::{CapacityAdmin, CapacityConfig, CapacityEdit, Force, GovernorKind};
use sluicegate_nats::Connection;

use crate::Failure;
use crate::capacity::args::AddArgs;
use crate::capacity::{note_unused, refused};
use crate::cx::Cx;
use crate::error::CliError;
use crate::make::{Make, found, make, not_of_another_kind};
use crate::output::{self, Block, Cell, Format};

/// `sluicegate.v1.capacity_add`
#[derive(Debug, Serialize)]
struct Document {
    r#type: &'static str,
    name: String,
    stream: String,
    total: Option<u64>,
    factor: Option<u64>,
    leases: Option<u64>,
    unused_units: Option<u64>,
    ttl_seconds: Option<f64>,
    replicas: u8,
    changed: bool,
}

pub(crate) async fn add(cx: &Cx<'_>, args: &AddArgs) -> Result<(), Failure> {
    let failed = |error: LeaseError| refused("add", &args.name, &error);
    let config = config(args).map_err(failed)?;
    let connection = &cx.connection("add").await?;
    let wanted = Wanted { connection, config };
    not_of_another_kind(connection, &args.name, GovernorKind::Capacity, |error| wanted.refused(error))
        .await?;
    let (capacity, changed) = make(cx, &wanted, args.ensure).await?;
    let view = capacity.governor().view().await.map_err(failed)?;
    cx.flush(capacity.governor()).await;
    let document = Document {
        r#type: "sluicegate.v1.capacity_add",
        name: view.name.to_string(),
        stream: view.stream,
        total: view.units.map(|units| units.total()),
        factor: view.units.map(|units| units.factor()),
        leases: view.limit,
        unused_units: view.units.map(|units| units.unused()),
        ttl_seconds: view.ttl.map(|ttl| ttl.as_secs_f64()),
        replicas: view.replicas,
        changed,
    };
    note_unused(cx, view.units);
    let block = || {
        Block::new()
            .row("name", "Name", Cell::text(&document.name))
            .row("stream", "Stream", Cell::text(&document.stream))
            .row("total", "Total units/s", Cell::count(document.total))
            .row("factor", "Units/s of a lease", Cell::count(document.factor))
            .row("leases", "Leases", Cell::count(document.leases))
            .row("unused_units", "Unused units/s", Cell::count(document.unused_units))
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

fn config(args: &AddArgs) -> Result<CapacityConfig, LeaseError> {
    let mut config = CapacityConfig::try_new(&args.name, args.total, args.factor())?.ttl(args.ttl.into());
    if let Some(replicas) = args.replicas {
        config = config.replicas(replicas);
    }
    config.validate()?;
    Ok(config)
}

struct Wanted<'a> {
    connection: &'a Connection,
    config: CapacityConfig,
}

impl Make for Wanted<'_> {
    type Made = CapacityAdmin;

    async fn find(&self) -> Result<Option<CapacityAdmin>, LeaseError> {
        found(CapacityAdmin::bind(self.connection, self.config.name.as_str()).await)
    }

    async fn create(&self) -> Result<CapacityAdmin, LeaseError> {
        CapacityAdmin::create(self.connection, &self.config).await
    }

    async fn ensure(&self) -> Result<(CapacityAdmin, bool), LeaseError> {
        CapacityAdmin::ensure(self.connection, &self.config).await
    }

    async fn force(&self) -> Result<(CapacityAdmin, bool), LeaseError> {
        let mut forced = false;
        if let Some(capacity) = self.find().await? {
            let before = capacity.units();
            let CapacityConfig { total, factor, .. } = self.config;
            let edit = CapacityEdit { total: Some(total), factor: Some(factor), ..CapacityEdit::default() };
            capacity.edit(&edit, Force::Yes).await?;
            forced = before != capacity.units();
        }
        let (capacity, changed) = self.ensure().await?;
        Ok((capacity, changed || forced))
    }

    fn refused(&self, error: &LeaseError) -> CliError {
        refused("add", self.config.name.as_str(), error)
    }
}
