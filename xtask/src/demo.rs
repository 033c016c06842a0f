//! `cargo xtask demo`

use sluicegate_testkit::server::NatsServer;

use crate::servers::find_nats;
use crate::shell::{Doing, Outcome, cargo, run as run_command};
use crate::signals::unless_interrupted;

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// In memory, without looking for a server
    #[arg(long)]
    embedded: bool,
    /// Fail where no server is to be had
    #[arg(long, conflicts_with = "embedded")]
    real: bool,
    /// What `sluicegate demo` takes, for example `--orders 5000 --json`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Flags {
    pub(crate) fn embedded() -> Self {
        Self { embedded: true, real: false, arguments: Vec::new() }
    }

    pub(crate) fn on_a_server() -> Self {
        Self { embedded: false, real: true, arguments: Vec::new() }
    }
}

pub(crate) async fn run(flags: &Flags) -> Outcome {
    if flags.embedded {
        return demo(None, &flags.arguments).await;
    }
    match start().await {
        Ok(server) => {
            eprintln!("nats-server {} at {}", server.version(), server.url());
            let outcome = demo(Some(&server.url()), &flags.arguments).await;
            drop(server);
            outcome
        }
        Err(reason) if flags.real || reason.is_interruption() => Err(reason),
        Err(reason) => {
            eprintln!(
                "{reason}\nNo real server, so the demo runs in memory (`cargo xtask servers` tells what is missing)."
            );
            demo(None, &flags.arguments).await
        }
    }
}

async fn start() -> Outcome<NatsServer> {
    find_nats().await?;
    unless_interrupted(NatsServer::start()).await?.doing("cannot start a server")
}

async fn demo(server: Option<&str>, arguments: &[String]) -> Outcome {
    let mut command = cargo(&["run", "-p", "sluicegate-cli", "--bin", "sluicegate", "--", "demo"]);
    command.args(server.iter().flat_map(|url| ["--server", url]));
    run_command(command.args(arguments)).await
}
