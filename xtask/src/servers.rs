//! `cargo xtask servers`

use std::process::Command;

use sluicegate_testkit::server::{
    NATS_OLDER_VERSIONS, NATS_VERSION, PostgresServer, Program, STAN_VERSION, find, go_program,
};

use crate::shell::{Failure, Outcome, root, run as run_command};
use crate::signals::unless_interrupted;
use crate::test::containers;

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The images instead of the programs
    #[arg(long)]
    container: bool,
}

pub(crate) async fn run(flags: &Flags) -> Outcome {
    if flags.container { images().await } else { programs().await }
}

/// Gets all programs that the tests use, but for PostgreSQL, which has to be installed.
pub(crate) async fn programs() -> Outcome {
    for version in [NATS_VERSION].into_iter().chain(NATS_OLDER_VERSIONS) {
        get(Program::Nats, version).await?;
    }
    get(Program::Stan, STAN_VERSION).await?;
    eprintln!("{}", PostgresServer::find().map_err(|error| Failure::new(error.to_string()))?);
    peers().await
}

/// Programs that others wrote, which ours has to get on with.
const PEERS: [&str; 1] = ["crates/governor/tests/interop"];

/// Builds them.
pub(crate) async fn peers() -> Outcome {
    for dir in PEERS {
        let found = unless_interrupted(go_program(root().join(dir), |line| eprintln!("{line} …"))).await?;
        let found = found.map_err(|error| Failure::new(error.to_string()))?;
        eprintln!("{}: {}", found.how, found.path.display());
    }
    Ok(())
}

/// Gets the NATS server, unless the environment names one.
pub(crate) async fn find_nats() -> Outcome {
    get(Program::Nats, NATS_VERSION).await
}

async fn get(program: Program, version: &str) -> Outcome {
    if let Ok(url) = std::env::var(program.variable()) {
        eprintln!("{} at {url}, from {}", program.name(), program.variable());
        return Ok(());
    }
    let found = unless_interrupted(find(program, version, |line| eprintln!("{line} …"))).await?;
    let found = found.map_err(|error| Failure::new(error.to_string()))?;
    eprintln!("{}: {}", found.how, found.path.display());
    Ok(())
}

/// Pulls or builds the images; a test of the testkit does it, so that there is one build with an engine's client.
async fn images() -> Outcome {
    run_command(&mut container_test("images_are_pulled_or_built")?).await
}

/// One of the testkit's tests about containers, with what it prints.
pub(crate) fn container_test(name: &str) -> Outcome<Command> {
    let mut command = containers(&["sluicegate-testkit"])?;
    command.args(["--", "--exact", "--nocapture", &format!("container::{name}")]);
    Ok(command)
}
