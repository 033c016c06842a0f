//! From the flags to a connection.

use sluicegate_nats::{ConnectArgs, ConnectError, Connection, Settings};

use crate::cli::OutputArgs;
use crate::error::CliError;
use crate::failure;
use crate::output::note;

/// What flags, environment and context say, and the name under which servers show the command.
pub(crate) fn settings(
    connect: &ConnectArgs,
    output: &OutputArgs,
    command: &str,
) -> Result<Settings, CliError> {
    let settings = Settings::load(connect, &|name: &str| std::env::var(name).ok());
    let settings = settings.map_err(|error| failure::connecting(&error))?;
    if !output.quiet {
        settings.warnings().iter().for_each(|warning| note(&format!("warning: {warning}")));
    }
    let (version, host, pid) = (env!("CARGO_PKG_VERSION"), host(), std::process::id());
    Ok(settings.with_default_name(format!("sluicegate/{version} {command} {host} {pid}")))
}

/// A connection for that command, or why there is none.
pub(crate) async fn connect(
    connect: &ConnectArgs,
    output: &OutputArgs,
    command: &str,
) -> Result<Connection, CliError> {
    try_connect(&settings(connect, output, command)?).await.map_err(|error| failure::connecting(&error))
}

pub(crate) async fn try_connect(settings: &Settings) -> Result<Connection, ConnectError> {
    sluicegate_nats::connect(settings).await
}

/// The name of this machine.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
