//! The binary `sluicegate`: parse, call a library, print.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints")]
#![cfg_attr(
    not(feature = "demo"),
    allow(dead_code, reason = "only the demo's server fails in some of these ways")
)]

mod capacity;
mod change;
mod cli;
mod code;
mod color;
mod confirm;
mod cx;
mod demo;
mod error;
mod failure;
mod governor;
mod log;
mod make;
mod output;
mod pipe;
mod removal;
mod secrets;
mod session;
mod signal;
mod signals;
mod units;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{Cli, Command};
use crate::code::Code;
use crate::error::CliError;
use crate::output::{BROKEN_PIPE, Format};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log::init(&cli.output, cli.connect.wants_trace());
    let (format, verbose) = (cli.output.format(), cli.output.verbose > 0);
    let outcome = match &cli.command {
        Command::Demo(args) => demo::run(args, &cli.connect, &cli.output).map(|()| 0),
        Command::Governor(args) => governor::run(args, &cli.connect, &cli.output),
        Command::Capacity(args) => capacity::run(args, &cli.connect, &cli.output),
        Command::Pipe(args) => pipe::run(args, &cli.connect, &cli.output),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(Failure::BrokenPipe) => ExitCode::from(BROKEN_PIPE),
        Err(Failure::Error(error)) => {
            output::note(&error.render(format, verbose));
            ExitCode::from(error.exit())
        }
    }
}

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It says so itself.
    Error(CliError),
    /// Nobody reads stdout any more.
    BrokenPipe,
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self::Error(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Error(CliError::new(Code::Internal, format!("cannot write to stdout: {error}"))),
        }
    }
}

/// Help and version are data; everything else that clap says is a usage error, as JSON where JSON was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    // What stands behind `--` is somebody else's.
    let mut ours = std::env::args_os().take_while(|arg| arg != "--");
    let wanted_json = ours.any(|arg| ["-j", "--json", "--format=json"].iter().any(|json| arg == *json));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Clap prints help to stdout, errors to stderr, and colours only what goes to a terminal.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ if wanted_json => {
            let text = error.render().to_string();
            let first: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            let message = first.join(" ").trim_start_matches("error: ").to_owned();
            let help = "sluicegate --help";
            output::note(&CliError::new(Code::Usage, message).help(help).render(Format::Json, false));
            ExitCode::from(Code::Usage.exit())
        }
        _ => {
            let _ = error.print();
            ExitCode::from(Code::Usage.exit())
        }
    }
}
