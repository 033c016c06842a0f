//! The developer's one door: `cargo xtask <verb>`. Each verb prints the commands it runs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod bench;
mod chaos;
mod ci;
mod coverage;
mod demo;
mod release;
mod servers;
mod shell;
mod signals;
mod test;
mod tidy;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::shell::Outcome;

/// The developer's one door.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The main job, end to end, on a real NATS server that is found or got; in memory where none is to be had
    Demo(demo::Flags),
    /// All tests, on servers that are found or got
    Test(test::Flags),
    /// Gets and caches the servers that the tests use
    Servers(servers::Flags),
    /// A server to play with, until Ctrl-C
    Up(up::Flags),
    /// The benchmarks, as one table of ratios
    Bench(bench::Flags),
    /// The demo and the governor on servers, processes and connections that are broken on purpose
    Chaos(chaos::Flags),
    /// Layers, rooms and lengths
    Tidy,
    /// What CI runs
    Ci(ci::Flags),
    /// Line coverage
    Coverage,
    /// Packs all crates as for a release, without releasing
    Release,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse().verb).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

async fn run(verb: Verb) -> Outcome {
    match verb {
        Verb::Demo(flags) => demo::run(&flags).await,
        Verb::Test(flags) => test::run(&flags).await,
        Verb::Servers(flags) => servers::run(&flags).await,
        Verb::Up(flags) => up::run(flags).await,
        Verb::Bench(flags) => bench::run(&flags).await,
        Verb::Chaos(flags) => chaos::run(&flags).await,
        Verb::Tidy => tidy::run(),
        Verb::Ci(flags) => Box::pin(ci::run(&flags)).await,
        Verb::Coverage => coverage::run().await,
        Verb::Release => release::run().await,
    }
}
