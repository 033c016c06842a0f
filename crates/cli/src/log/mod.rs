//! Logs go to stderr: sentences for people on a terminal, records elsewhere.

mod record;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use self::record::Records;
use crate::cli::{LogFormat, OutputArgs};
use crate::color;

/// The target of what this program itself has to say.
pub(crate) const TARGET: &str = "sluicegate::cli";

/// What was asked for, else sentences on a terminal and records for everything else.
pub(crate) fn format(output: &OutputArgs) -> LogFormat {
    let default = if io::stderr().is_terminal() { LogFormat::Human } else { LogFormat::Logfmt };
    output.log_format.unwrap_or(default)
}

/// `SLUICEGATE_LOG` beats `-v`; `trace` shows the requests to JetStream's API and their answers.
pub(crate) fn init(output: &OutputArgs, trace: bool) {
    let default = match output.verbose {
        _ if output.quiet => "error",
        0 => "warn,sluicegate::cli=info,async_nats=off",
        1 => "info,sluicegate=debug",
        _ => "debug,sluicegate=trace",
    };
    let default = format!("{default}{}", if trace { ",sluicegate_nats::api=trace" } else { "" });
    let filter = EnvFilter::try_from_env("SLUICEGATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // Nobody is left to be told that nobody reads stderr any more.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let subscriber = subscriber.log_internal_errors(false);
    // Fails only where a subscriber is set already, which is then the one to use.
    let _ = match format(output) {
        LogFormat::Human => subscriber.with_ansi(color::on_stderr(output.color)).try_init(),
        LogFormat::Logfmt => subscriber.event_format(Records { json: false }).try_init(),
        LogFormat::Json => subscriber.event_format(Records { json: true }).try_init(),
    };
}
