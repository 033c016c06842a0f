//! `cargo xtask ci`

use crate::shell::{Failure, Outcome, cargo, cargo_has, run as run_command};
use crate::{demo, test, tidy};

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Only one lane; default: all of them
    #[arg(value_enum)]
    lane: Option<Lane>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lane {
    /// fmt, clippy, documentation, tidy, dependencies
    Static,
    /// The demo in memory and on a real server
    Demo,
    /// The integration tests on containers
    Container,
    /// The README's test command
    Test,
}

/// In this order, so that the summary of all tests comes last.
const ALL: [Lane; 4] = [Lane::Static, Lane::Demo, Lane::Container, Lane::Test];

pub(crate) async fn run(flags: &Flags) -> Outcome {
    for lane in ALL.into_iter().filter(|lane| flags.lane.is_none_or(|only| only == *lane)) {
        match lane {
            Lane::Static => static_checks()?,
            Lane::Demo => {
                demo::run(&demo::Flags::embedded()).await?;
                demo::run(&demo::Flags::on_a_server()).await?;
            }
            Lane::Container => test::run(&test::Flags::container()).await?,
            Lane::Test => test::run(&test::Flags::all()).await?,
        }
    }
    Ok(())
}

fn static_checks() -> Outcome {
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let clippy =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"];
    run_command(&mut cargo(&clippy))?;
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
    run_command(documentation.env("RUSTDOCFLAGS", "-D warnings"))?;
    if !cargo_has("deny") {
        return Err(Failure::new(
            "cargo-deny is missing: `cargo install cargo-deny --version 0.20.2 --locked`",
        ));
    }
    run_command(&mut cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]))
}
