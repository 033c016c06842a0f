//! Logs go to stderr, for people on a terminal and as logfmt-like lines elsewhere.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// `SLUICEGATE_LOG` beats `-v`.
pub(crate) fn init(verbose: u8, quiet: bool) {
    let default = match verbose {
        _ if quiet => "error",
        0 => "warn,async_nats=off",
        1 => "info,sluicegate=debug",
        _ => "debug,sluicegate=trace",
    };
    let filter = EnvFilter::try_from_env("SLUICEGATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // Fails only where a subscriber is set already, which is then the one to use.
    let _ = subscriber.try_init();
}
