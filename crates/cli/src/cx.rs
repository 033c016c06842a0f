//! What every verb of a group needs.

use std::time::Duration;

use sluicegate_governor::GovernorAdmin;
use sluicegate_nats::{ConnectArgs, Connection};
use tokio::runtime::Builder;

use crate::Failure;
use crate::cli::OutputArgs;
use crate::code::Code;
use crate::error::CliError;
use crate::output::{Format, escape, note};
use crate::session;

/// How long what is under way to NATS is waited for at the end.
pub(crate) const FLUSHING: Duration = Duration::from_secs(1);

/// What was said beside the verb's own arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cx<'a> {
    /// The word before the verb.
    pub(crate) group: &'static str,
    pub(crate) connect: &'a ConnectArgs,
    pub(crate) output: &'a OutputArgs,
}

impl Cx<'_> {
    pub(crate) async fn connection(&self, verb: &str) -> Result<Connection, CliError> {
        session::connect(self.connect, self.output, &format!("{}-{verb}", self.group)).await
    }

    /// Sees to it that what holders and waiters are told leaves this process before it ends.
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
            note(&escape(text));
        }
    }
}

/// Runs a verb to its end.
pub(crate) fn run(verb: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Code::Internal, format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(verb);
    // A read of stdin that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    outcome
}
