//! `cargo xtask test`

use std::process::Command;

use crate::servers::{container_test, programs};
use crate::shell::{Outcome, cargo, run as run_command};
use crate::workspace::Workspace;

/// The crates whose integration tests also run on containers.
const ON_CONTAINERS: [&str; 4] =
    ["sluicegate-testkit", "sluicegate-nats", "sluicegate-governor", "sluicegate-streaming-client"];

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Only what needs no server
    #[arg(long, conflicts_with = "container")]
    fast: bool,
    /// The integration tests that need servers, on containers
    #[arg(long)]
    container: bool,
    /// What `cargo test` takes after `--`
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Flags {
    pub(crate) fn all() -> Self {
        Self { fast: false, container: false, arguments: Vec::new() }
    }

    pub(crate) fn container() -> Self {
        Self { container: true, ..Self::all() }
    }
}

pub(crate) async fn run(flags: &Flags) -> Outcome {
    if flags.fast {
        fast(&flags.arguments)
    } else if flags.container {
        on_containers(&flags.arguments)
    } else {
        programs().await?;
        let mut command = cargo(&["test", "--workspace"]);
        run_command(with_arguments(&mut command, &flags.arguments))
    }
}

/// Unit tests and documentation of all crates, and the integration tests of those that ask for no servers.
fn fast(arguments: &[String]) -> Outcome {
    run_command(with_arguments(&mut cargo(&["test", "--workspace", "--lib", "--bins"]), arguments))?;
    let workspace = Workspace::read()?;
    let mut command = cargo(&["test"]);
    for member in workspace.members() {
        if !member.needs_servers() && !member.integration_tests().is_empty() {
            command.args(["-p", member.name()]);
        }
    }
    run_command(with_arguments(command.args(["--test", "*"]), arguments))?;
    run_command(&mut cargo(&["test", "--workspace", "--doc"]))
}

fn on_containers(arguments: &[String]) -> Outcome {
    run_command(&mut container_test("images_are_pulled_or_built")?)?;
    let tested = run_command(with_arguments(&mut containers(&[])?, arguments));
    // Also after a failure: containers do not end with their test.
    run_command(&mut container_test("nothing_abandoned_stays")?)?;
    tested
}

/// `cargo test` for integration tests on containers; `packages` limits them.
pub(crate) fn containers(packages: &[&str]) -> Outcome<Command> {
    let workspace = Workspace::read()?;
    let mut command = cargo(&["test", "--features", "sluicegate-testkit/container"]);
    for name in ON_CONTAINERS {
        let wanted = packages.is_empty() || packages.contains(&name);
        if wanted && workspace.member(name)?.integration_tests().contains(&"it") {
            command.args(["-p", name]);
        }
    }
    command.args(["--test", "it"]).env("SLUICEGATE_CONTAINER", "1");
    Ok(command)
}

fn with_arguments<'a>(command: &'a mut Command, arguments: &[String]) -> &'a mut Command {
    if arguments.is_empty() { command } else { command.arg("--").args(arguments) }
}
