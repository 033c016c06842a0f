//! `sluicegate capacity`: how fast, shared by processes.

mod args;
mod documents;
mod verbs;

use sluicegate_core::LeaseError;
use sluicegate_governor::{CapacityAdmin, Units};
use sluicegate_nats::ConnectArgs;

pub(crate) use self::args::CapacityArgs;
use self::args::CapacityCommand;
use crate::cli::OutputArgs;
use crate::cx::{self, Cx};
use crate::error::CliError;
use crate::output::thousands;
use crate::removal::Removal;
use crate::{Failure, failure};

/// Runs the verb, and tells the exit code.
pub(crate) fn run(args: &CapacityArgs, connect: &ConnectArgs, output: &OutputArgs) -> Result<u8, Failure> {
    let cx = Cx { group: "capacity", connect, output };
    cx::run(async {
        match &args.command {
            CapacityCommand::Add(args) => verbs::add(&cx, args).await,
            CapacityCommand::Edit(args) => verbs::edit(&cx, args).await,
            CapacityCommand::Ls(args) => verbs::ls(&cx, args).await,
            CapacityCommand::View(args) => verbs::view(&cx, args).await,
            CapacityCommand::Reset(args) => verbs::remove(&cx, Removal::Reset, args).await,
            CapacityCommand::Rm(args) => verbs::remove(&cx, Removal::Rm, args).await,
        }
        .map(|()| 0)
    })
}

async fn bind(cx: &Cx<'_>, verb: &str, name: &str) -> Result<CapacityAdmin, CliError> {
    let connection = cx.connection(verb).await?;
    CapacityAdmin::bind(&connection, name).await.map_err(|error| refused(verb, name, &error))
}

/// What the library refuses to that verb.
pub(crate) fn refused(verb: &str, name: &str, error: &LeaseError) -> CliError {
    failure::capacity(name, &format!("capacity {verb} {name}"), error)
}

/// Says so if some units make no whole lease.
fn note_unused(cx: &Cx<'_>, units: Option<Units>) {
    if let Some(units) = units.filter(|units| units.unused() > 0) {
        cx.note(&format!(
            "{} of {} units/s are not usable: {} leases of {} make {}; choose a factor that divides the total",
            thousands(units.unused()),
            thousands(units.total()),
            units.leases(),
            thousands(units.factor()),
            thousands(units.usable()),
        ));
    }
}
