//! `sluicegate governor`: who may work.

mod args;
mod documents;
mod run;
mod verbs;

use std::time::Duration;

use sluicegate_core::LeaseError;
use sluicegate_governor::GovernorAdmin;
use sluicegate_nats::{ConnectArgs, Connection};
use tokio::runtime::Builder;

pub(crate) use self::args::GovernorArgs;
use self::args::GovernorCommand;
pub(crate) use self::documents::ttl;
use crate::Failure;
use crate::cli::OutputArgs;
use crate::code::Code;
use crate::error::CliError;
use crate::output::{self, Format, note};
use crate::{failure, session};

/// How long what is under way to NATS is waited for at the end.
const FLUSHING: Duration = Duration::from_secs(1);

/// Runs the verb, and tells the exit code.
pub(crate) fn run(args: &GovernorArgs, connect: &ConnectArgs, output: &OutputArgs) -> Result<u8, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Code::Internal, format!("no runtime: {error}")))?;
    let cx = Cx { group: "governor", connect, output };
    let done = |outcome: Result<(), Failure>| outcome.map(|()| 0);
    let outcome = runtime.block_on(async {
        match &args.command {
            GovernorCommand::Add(args) => done(verbs::add(&cx, args).await),
            GovernorCommand::Edit(args) => done(verbs::edit(&cx, args).await),
            GovernorCommand::Ls(args) => done(verbs::ls(&cx, args).await),
            GovernorCommand::View(args) => done(verbs::view(&cx, args).await),
            GovernorCommand::Run(args) => run::run(&cx, args).await,
            GovernorCommand::Hold(args) => run::hold(&cx, args).await,
            GovernorCommand::Wait(args) => done(verbs::wait(&cx, args).await),
            GovernorCommand::Evict(args) => done(verbs::evict(&cx, args).await),
            GovernorCommand::Reset(args) => done(verbs::reset(&cx, args).await),
            GovernorCommand::Rm(args) => done(verbs::rm(&cx, args).await),
            GovernorCommand::Api(args) => verbs::api(&cx, args).await,
        }
    });
    // A read of stdin that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// What every verb needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cx<'a> {
    /// Which group of verbs: a part of the connection's name.
    pub(crate) group: &'static str,
    pub(crate) connect: &'a ConnectArgs,
    pub(crate) output: &'a OutputArgs,
}

impl Cx<'_> {
    pub(crate) async fn connection(&self, verb: &str) -> Result<Connection, CliError> {
        session::connect(self.connect, self.output, &format!("{}-{verb}", self.group)).await
    }

    /// The governor of that name, on whichever wire.
    async fn bind(&self, verb: &str, name: &str) -> Result<GovernorAdmin, CliError> {
        let connection = self.connection(verb).await?;
        GovernorAdmin::bind(&connection, name).await.map_err(|error| refused(verb, name, &error))
    }

    /// Sees to it that what the governor's holders and waiters are told leaves this process before it ends.
    pub(crate) async fn flush(&self, governor: &GovernorAdmin) {
        // They find out by themselves, later.
        let _ = governor.connection().drain(FLUSHING).await;
    }

    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    /// Says something beside the result.
    pub(crate) fn note(&self, text: &str) {
        if !self.output.quiet {
            note(&output::escape(text));
        }
    }
}

/// What the library refuses to that verb.
fn refused(verb: &str, name: &str, error: &LeaseError) -> CliError {
    failure::governor(name, &format!("governor {verb} {name}"), error)
}
