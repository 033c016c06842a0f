//! `cargo xtask chaos`: what we build, on servers, processes and connections that are broken on purpose.

mod demo;
mod governor;

use time::OffsetDateTime;

use crate::shell::{Failure, Outcome, program, read};

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Only one workload; default: all of them
    #[arg(long, value_enum)]
    only: Option<Workload>,
    /// How long each workload goes on
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Repeats the schedule of another run; default: a new one
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only governors with that many replicas
    #[arg(long, value_name = "1,3", value_delimiter = ',')]
    replicas: Vec<u8>,
    /// The governors' nats-server; default: the newest
    #[arg(long, value_name = "VERSION")]
    server: Option<String>,
    /// What `sluicegate demo` takes, for example `--orders 5000`
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Workload {
    /// The demo, on a server that is killed and paused
    Demo,
    /// Workers of governors, on clusters and servers; everything is broken, the workers included
    Governor,
}

impl Flags {
    /// What CI runs: a minute of the demo, three of the governor.
    pub(crate) fn short() -> [Self; 2] {
        let of = |only, minutes| {
            let (replicas, arguments) = (Vec::new(), Vec::new());
            Self { only: Some(only), minutes, seed: None, replicas, server: None, arguments }
        };
        [of(Workload::Demo, 1), of(Workload::Governor, 3)]
    }

    fn has(&self, workload: Workload) -> bool {
        self.only.is_none_or(|only| only == workload)
    }

    fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| fastrand::u64(1..1 << 32))
    }
}

pub(crate) async fn run(flags: &Flags) -> Outcome {
    let mut failed = Vec::new();
    if flags.has(Workload::Demo) {
        failed.extend(demo::run(flags).await.err());
    }
    if flags.has(Workload::Governor) && !failed.iter().any(Failure::is_interruption) {
        failed.extend(governor::run(flags).await.err());
    }
    failed.into_iter().next().map_or(Ok(()), Err)
}

/// What the whole is called at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// Nothing failed, but too little was tried for that to mean something.
    Inconclusive,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// How often a fault was begun, and how often it was seen to have happened.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    begun: u64,
    confirmed: u64,
}

fn commit() -> Outcome<String> {
    Ok(read(&mut program("git", &["describe", "--always", "--dirty"]))?.trim().to_owned())
}

/// `20261122T023000Z`
fn utc() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
