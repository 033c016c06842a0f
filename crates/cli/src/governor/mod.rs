//! `sluicegate governor`: who may work.

mod args;
mod documents;
mod run;
mod verbs;

use sluicegate_core::LeaseError;
use sluicegate_governor::{GovernorAdmin, GovernorKind};
use sluicegate_nats::ConnectArgs;

pub(crate) use self::args::GovernorArgs;
use self::args::GovernorCommand;
use crate::Failure;
use crate::cli::OutputArgs;
use crate::cx::{self, Cx};
use crate::error::CliError;
use crate::failure;
use crate::removal::Removal;

/// Runs the verb, and tells the exit code.
pub(crate) fn run(args: &GovernorArgs, connect: &ConnectArgs, output: &OutputArgs) -> Result<u8, Failure> {
    let cx = Cx { group: "governor", connect, output };
    let done = |outcome: Result<(), Failure>| outcome.map(|()| 0);
    cx::run(async {
        match &args.command {
            GovernorCommand::Add(args) => done(verbs::add(&cx, args).await),
            GovernorCommand::Edit(args) => done(verbs::edit(&cx, args).await),
            GovernorCommand::Ls(args) => done(verbs::ls(&cx, args).await),
            GovernorCommand::View(args) => done(verbs::view(&cx, args).await),
            GovernorCommand::Run(args) => run::run(&cx, args).await,
            GovernorCommand::Hold(args) => run::hold(&cx, args).await,
            GovernorCommand::Wait(args) => done(verbs::wait(&cx, args).await),
            GovernorCommand::Evict(args) => done(verbs::evict(&cx, args).await),
            GovernorCommand::Reset(args) => done(verbs::remove(&cx, Removal::Reset, args).await),
            GovernorCommand::Rm(args) => done(verbs::remove(&cx, Removal::Rm, args).await),
            GovernorCommand::Api(args) => verbs::api(&cx, args).await,
        }
    })
}

/// The governor of that name, on whichever wire.
async fn bind(cx: &Cx<'_>, verb: &str, name: &str) -> Result<GovernorAdmin, CliError> {
    let connection = cx.connection(verb).await?;
    let governor =
        GovernorAdmin::bind(&connection, name).await.map_err(|error| refused(verb, name, &error))?;
    capacity(&governor).into_iter().for_each(|told| cx.note(&told));
    Ok(governor)
}

/// That a governor is a capacity, if it is one: what is done with its slots is done with a rate.
fn capacity(governor: &GovernorAdmin) -> Option<String> {
    let name = governor.name();
    let told = || {
        format!("{name} is a capacity: each slot is a part of a rate; see sluicegate capacity view {name}")
    };
    (governor.kind() == GovernorKind::Capacity).then(told)
}

/// What the library refuses to that verb.
fn refused(verb: &str, name: &str, error: &LeaseError) -> CliError {
    failure::governor(name, &format!("governor {verb} {name}"), error)
}
