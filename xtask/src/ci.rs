//! `cargo xtask ci`

use crate::shell::{Failure, Outcome, cargo, cargo_has, run as run_command};
use crate::workspace::Workspace;
use crate::{chaos, demo, test, tidy};

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Only one lane; default: all of them
    #[arg(value_enum)]
    lane: Option<Lane>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lane {
    /// fmt, clippy, documentation, each crate alone, tidy, dependencies
    Static,
    /// The demo in memory and on a real server
    Demo,
    /// The demo and the governor on servers that are killed and paused, for four minutes
    Chaos,
    /// The integration tests on containers
    Container,
    /// The README's test command
    Test,
}

/// In this order, so that the summary of all tests comes last.
const ALL: [Lane; 5] = [Lane::Static, Lane::Demo, Lane::Chaos, Lane::Container, Lane::Test];

pub(crate) async fn run(flags: &Flags) -> Outcome {
    for lane in ALL.into_iter().filter(|lane| flags.lane.is_none_or(|only| only == *lane)) {
        match lane {
            Lane::Static => static_checks().await?,
            Lane::Demo => {
                demo::run(&demo::Flags::embedded()).await?;
                demo::run(&demo::Flags::on_a_server()).await?;
            }
            Lane::Chaos => {
                for flags in chaos::Flags::short() {
                    chaos::run(&flags).await?;
                }
            }
            Lane::Container => test::run(&test::Flags::container()).await?,
            Lane::Test => test::run(&test::Flags::all()).await?,
        }
    }
    Ok(())
}

async fn static_checks() -> Outcome {
    run_command(&mut cargo(&["fmt", "--all", "--check"])).await?;
    tidy::run()?;
    let clippy =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"];
    run_command(&mut cargo(&clippy)).await?;
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
    run_command(documentation.env("RUSTDOCFLAGS", "-D warnings")).await?;
    each_alone().await?;
    if !cargo_has("deny") {
        return Err(Failure::new(
            "cargo-deny is missing: `cargo install cargo-deny --version 0.20.2 --locked`",
        ));
    }
    run_command(&mut cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"])).await
}

/// In the workspace, features that a crate forgot to ask for are switched on by another one or by its own tests.
async fn each_alone() -> Outcome {
    let workspace = Workspace::read()?;
    for member in workspace.members() {
        run_command(&mut cargo(&["check", "-p", member.name(), "--locked"])).await?;
    }
    for (name, features) in SMALLEST {
        let mut command = cargo(&["check", "-p", name, "--no-default-features", "--locked"]);
        run_command(command.args(features.iter().flat_map(|feature| ["--features", feature]))).await?;
    }
    Ok(())
}

/// Crates that also build without their default features, and what they then need or add.
const SMALLEST: [(&str, &[&str]); 4] = [
    ("sluicegate-autoscaler", &[]),
    ("sluicegate-batcher", &["tower"]),
    ("sluicegate-cli", &["ring"]),
    ("sluicegate-governor", &["tower"]),
];
