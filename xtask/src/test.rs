//! `cargo xtask test`

use std::process::Command;

use crate::servers::{container_test, peers, programs};
use crate::shell::{Outcome, cargo, run as run_command};
use crate::workspace::Workspace;

/// The crates whose integration tests also run on containers.
const ON_CONTAINERS: [&str; 5] = [
    "sluicegate-testkit",
    "sluicegate-nats",
    "sluicegate-governor",
    "sluicegate-autoscaler",
    "sluicegate-streaming-client",
];

/// What the run on containers leaves out, and why.
const NOT_ON_CONTAINERS: [(&str, &str); 3] = [
    (
        "sluicegate-cli and the examples",
        "they use servers as the crates below them do, which are tested here",
    ),
    (
        "the governor's contract on older servers and behind faults",
        "each of these tests starts a server of its own, and `cargo xtask test` runs them all",
    ),
    (
        "native leases of few seconds over restarts of the server",
        "a container takes longer to come back than they last",
    ),
];

/// The same, as parts of the names of tests.
const SKIPPED: [&str; 10] = [
    "contract::campaign_2_10::",
    "contract::campaign_2_11::",
    "contract::campaign_2_12::",
    "contract::native_2_11::",
    "contract::native_2_12::",
    "::slow::clause_",
    "::flaky::clause_",
    "::cut_off::clause_",
    "renewals::every_lease_is_kept_over_restarts",
    "watcher::followers_survive_restarts",
];

/// Features whose tests would not run otherwise.
const FEATURES: &str = "sluicegate-batcher/futures,sluicegate-batcher/tower,sluicegate-governor/tower";

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
        fast(&flags.arguments).await
    } else if flags.container {
        on_containers(&flags.arguments).await
    } else {
        programs().await?;
        let mut command = cargo(&["test", "--workspace", "--features", FEATURES]);
        run_command(with_arguments(&mut command, &flags.arguments)).await
    }
}

/// Unit tests and documentation of all crates, and the integration tests of those that ask for no servers.
async fn fast(arguments: &[String]) -> Outcome {
    let mut units = cargo(&["test", "--workspace", "--features", FEATURES, "--lib", "--bins"]);
    run_command(with_arguments(&mut units, arguments)).await?;
    let workspace = Workspace::read()?;
    let mut command = cargo(&["test"]);
    for member in workspace.members() {
        if !member.needs_servers() && !member.integration_tests().is_empty() {
            command.args(["-p", member.name()]);
        }
    }
    run_command(with_arguments(command.args(["--test", "*"]), arguments)).await?;
    run_command(&mut cargo(&["test", "--workspace", "--features", FEATURES, "--doc"])).await
}

async fn on_containers(arguments: &[String]) -> Outcome {
    for (what, why) in NOT_ON_CONTAINERS {
        eprintln!("not on containers: {what}: {why}");
    }
    run_command(&mut container_test("images_are_pulled_or_built")?).await?;
    peers().await?;
    let mut command = containers(&[])?;
    command.arg("--").args(SKIPPED.iter().flat_map(|name| ["--skip", name])).args(arguments);
    let tested = run_command(&mut command).await;
    // Also after a failure: containers do not end with their test.
    run_command(&mut container_test("nothing_abandoned_stays")?).await?;
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
