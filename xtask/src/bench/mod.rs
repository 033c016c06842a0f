//! `cargo xtask bench`: every figure beside the floor of the same run, and beside its goal.

mod goals;
mod measured;
mod table;

use std::time::SystemTime;

use self::goals::Goals;
use self::measured::Figure;
use crate::shell::{Failure, Outcome, cargo, run as run_command};
use crate::workspace::Workspace;
use crate::{servers, shell};

const PACKAGES: [&str; 3] = ["sluicegate-governor", "sluicegate-batcher", "sluicegate-streaming-client"];

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Only benchmarks whose name contains this
    filter: Option<String>,
    /// Only this crate, for example `governor`
    #[arg(long)]
    package: Option<String>,
    /// Shorter, to see that everything runs; the figures say little
    #[arg(long)]
    quick: bool,
    /// Only the table of the last run
    #[arg(long)]
    table: bool,
}

pub(crate) async fn run(flags: &Flags) -> Outcome {
    let target = Workspace::read()?.target();
    let mut since = None;
    if !flags.table {
        servers::find_nats().await?;
        servers::peers().await?;
        since = Some(measured::mark(&target)?);
        measure(flags).await?;
    }
    let figures = measured::collect(&target, since)?;
    if figures.is_empty() {
        return Err(Failure::new(format!("no results in {}; run it without --table", target.display())));
    }
    report(&figures, &Goals::read(&shell::root())?, since);
    Ok(())
}

async fn measure(flags: &Flags) -> Outcome {
    let wanted = |name: &&str| flags.package.as_ref().is_none_or(|package| name.ends_with(package.as_str()));
    let packages: Vec<&str> = PACKAGES.into_iter().filter(wanted).collect();
    if packages.is_empty() {
        return Err(Failure::new(format!(
            "no benchmarks in that crate; there are some in {}",
            PACKAGES.join(", ")
        )));
    }
    let mut command = cargo(&["bench"]);
    command.args(packages.iter().flat_map(|name| ["-p", name]));
    command.args(["--bench", "*", "--"]).args(&flags.filter);
    if flags.quick {
        command.arg("--quick");
    }
    run_command(&mut command).await
}

fn report(figures: &[Figure], goals: &Goals, since: Option<SystemTime>) {
    print!("{}", table::render(figures, goals));
    println!(
        "\nratio: to the floor of the same run, on the same server. A goal is held against the ratio where there is \
         one. Absolute figures are of this machine, at this time."
    );
    let missing = goals.without(figures);
    if since.is_some() && !missing.is_empty() {
        println!("goals without a figure in this run: {}", missing.join(", "));
    }
}
