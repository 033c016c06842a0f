//! The grammar.

use clap::{Args, Parser, Subcommand, ValueEnum};
use sluicegate_nats::ConnectArgs;

use crate::capacity::CapacityArgs;
use crate::governor::GovernorArgs;
use crate::output::Format;
use crate::pipe::PipeArgs;

/// Flow control on NATS: who may work, how fast, with how many hands, and how messages get there.
#[derive(Debug, Parser)]
#[command(name = "sluicegate", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// One JSON document on stdout; errors as JSON on stderr.
    #[arg(short, long, global = true)]
    pub(crate) json: bool,
    /// Format of the result; default: a table on a terminal, TSV elsewhere.
    #[arg(long, global = true, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) format: Option<Format>,
    /// Nothing on stderr but errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// More on stderr: -v debug, -vv trace. SLUICEGATE_LOG takes a tracing filter.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// TSV begins with the names of its columns.
    #[arg(long, global = true)]
    pub(crate) header: bool,
    /// Colour on a terminal; also NO_COLOR, CLICOLOR_FORCE and CLICOLOR.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Shape of log records on stderr; default: human on a terminal, logfmt elsewhere.
    #[arg(long, global = true, value_name = "SHAPE")]
    pub(crate) log_format: Option<LogFormat>,
    /// Do not ask before something is taken away from others.
    #[arg(short, long, global = true)]
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Sentences.
    Human,
    /// `key=value` pairs, one line a record.
    Logfmt,
    /// One JSON object a line.
    Json,
}

impl OutputArgs {
    pub(crate) fn format(&self) -> Format {
        Format::resolve(self.json, self.format)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The main job, from end to end, with checks measured at the store [impact: none in memory, rw on a server]
    Demo(DemoArgs),
    Governor(GovernorArgs),
    Capacity(CapacityArgs),
    Pipe(PipeArgs),
}

/// Orders arrive in two bursts on a stream with a durable consumer; an autoscaler takes the workers 0 → n → 0; each
/// worker needs one of 3 governor slots to call a slow payment service; results go through batchers whose writers
/// share 2,000 units/s by leases, into a store that counts what it sees.
///
/// In memory, on a paused clock, unless --server or --context is typed: a selected context or NATS_URL never sends a
/// demo to production. On a server everything it makes is named `SGDEMO_<id>`, and removed at the end.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate demo                                   in memory, about a second
  sluicegate demo --server nats://127.0.0.1:4222    on a real server, into an SQLite file
  sluicegate demo --orders 2000 --json | jq .checks
  sluicegate demo | awk -F'\\t' '$4!=\"ok\"'           what failed, if anything

Exit: 0 all checks ok, 1 a check failed or not measured, 2 usage, 74 unreachable, 77 not permitted, 130 interrupted.")]
pub(crate) struct DemoArgs {
    /// How many orders, in two bursts.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    pub(crate) orders: u64,
    /// What the payment service's moods are made from; in memory, one seed gives one result, byte for byte.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// In memory: as fast as the machine can (the default), or in the time the story takes.
    #[arg(long, value_enum)]
    pub(crate) speed: Option<Speed>,
    /// On a server: leave stream, pools and SQLite file behind, and say where they are.
    #[arg(long)]
    pub(crate) keep: bool,
    /// On a server: the six characters behind SGDEMO_, instead of random ones.
    #[arg(long, value_name = "ID", value_parser = demo_id)]
    pub(crate) id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speed {
    /// On a paused clock.
    Max,
    /// In real time.
    #[value(name = "1x")]
    Real,
}

fn demo_id(text: &str) -> Result<String, String> {
    let proper = text.len() == 6 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if proper {
        Ok(text.to_owned())
    } else {
        Err("six capital letters or digits, for example A1B2C3".to_owned())
    }
}
