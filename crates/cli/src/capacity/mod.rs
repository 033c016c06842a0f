//! `sluicegate capacity`: how fast, shared by processes.

mod args;
mod documents;
mod verbs;

use sluicegate_core::{LeaseError, LeaseErrorKind};
use tokio::runtime::Builder;

pub(crate) use self::args::CapacityArgs;
use self::args::CapacityCommand;
use crate::Failure;
use crate::cli::OutputArgs;
use crate::code::Code;
use crate::error::CliError;
use crate::failure;
use crate::governor::Cx;
use sluicegate_nats::ConnectArgs;

/// Runs the verb.
pub(crate) fn run(args: &CapacityArgs, connect: &ConnectArgs, output: &OutputArgs) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Code::Internal, format!("no runtime: {error}")))?;
    let cx = Cx { group: "capacity", connect, output };
    runtime.block_on(async {
        match &args.command {
            CapacityCommand::Add(args) => verbs::add(&cx, args).await,
            CapacityCommand::Edit(args) => verbs::edit(&cx, args).await,
            CapacityCommand::Ls(_) => verbs::ls(&cx).await,
            CapacityCommand::View(args) => verbs::view(&cx, args).await,
            CapacityCommand::Reset(args) => verbs::reset(&cx, args).await,
            CapacityCommand::Rm(args) => verbs::rm(&cx, args).await,
        }
    })
}

/// What the library refuses to that verb.
pub(crate) fn refused(verb: &str, name: &str, error: &LeaseError) -> CliError {
    let what = format!("capacity {verb} {name}");
    let said = |code: Code, help: &str| {
        CliError::new(code, format!("{what}: {}", failure::context(error))).help(help)
    };
    match error.kind() {
        LeaseErrorKind::NotFound => CliError::new(Code::NotFound, format!("capacity {name} does not exist"))
            .help("see those there are: sluicegate capacity ls")
            .caused_by(error),
        LeaseErrorKind::Conflict => said(
            Code::AlreadyExists,
            "change it with `capacity edit`, or `capacity add --ensure`; --force overrides",
        )
        .caused_by(error),
        LeaseErrorKind::Invalid => said(Code::Usage, "sluicegate capacity --help").caused_by(error),
        LeaseErrorKind::Misconfigured => {
            said(Code::ConfigInvalid, "look at it with: sluicegate governor view").caused_by(error)
        }
        _ => failure::governor(name, &what, error),
    }
}
