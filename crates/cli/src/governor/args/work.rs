use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sluicegate_core::HumanDuration;

/// How to get a slot, and what to do when it is lost: for `run` and `hold`.
#[derive(Args, Debug)]
pub(crate) struct SlotArgs {
    /// Longest wait for a slot; then exit 75. 0 does not wait [default: 5m]
    #[arg(long, value_name = "DURATION")]
    max_wait: Option<HumanDuration>,
    /// Does not wait for a slot.
    #[arg(long, conflicts_with = "max_wait")]
    no_wait: bool,
    /// Keeps the slot until it expires: at most CAPACITY runs in any period of TTL. Does not wait unless --max-wait is
    /// given.
    #[arg(long)]
    pub(crate) max_per_period: bool,
    /// Pause between two tries of a waiter whom nobody tells of free slots.
    #[arg(long, value_name = "DURATION", default_value = "250ms")]
    pub(crate) interval: HumanDuration,
    /// Who holds the slot, as others see it [default: user@host pid]
    #[arg(long, value_name = "TEXT")]
    pub(crate) holder: Option<String>,
    /// Exit code when no slot was to be had.
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = 75)]
    pub(crate) conflict_exit_code: u8,
    /// Renews the lease while the work goes on, where the governor can (the default).
    #[arg(long, overrides_with = "no_renew")]
    renew: bool,
    /// Lets the lease end after one time to live.
    #[arg(long, overrides_with = "renew")]
    no_renew: bool,
    /// Tells choria's listeners who enters, leaves and gives up.
    #[arg(long)]
    pub(crate) lifecycle: bool,
    /// When NATS cannot be reached: wait until --max-wait, fail with exit 74, or work without a slot.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "wait")]
    pub(crate) if_unreachable: Unreachable,
    /// Subject of the governor, for workers who may not look at its stream; needs --ttl.
    #[arg(long, requires = "ttl", conflicts_with = "collective")]
    subject: Option<String>,
    /// The same as --subject <C>.governor.<NAME>.
    #[arg(long, value_name = "C", requires = "ttl")]
    collective: Option<String>,
    /// Time to live of the governor, for workers who may not look at its stream.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<HumanDuration>,
}

impl SlotArgs {
    pub(crate) fn max_wait(&self) -> Duration {
        match self.max_wait {
            Some(most) => most.into(),
            None if self.no_wait || self.max_per_period => Duration::ZERO,
            None => Duration::from_secs(300),
        }
    }

    pub(crate) fn renew(&self) -> bool {
        !self.no_renew
    }

    /// Time to live and, unless it is the default one, the subject of a governor whose stream is not to be looked at.
    pub(crate) fn blind(&self, name: &str) -> Option<(Duration, Option<String>)> {
        let collective = self.collective.as_ref().map(|collective| format!("{collective}.governor.{name}"));
        self.ttl.map(|ttl| (ttl.into(), self.subject.clone().or(collective)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unreachable {
    /// Try again until --max-wait.
    Wait,
    /// Exit 74.
    Fail,
    /// Work without a slot.
    Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    /// TERM, and KILL after --kill-after or when the lease ends, whichever is first; exit 76.
    Term,
    /// KILL at once; exit 76.
    Kill,
    /// Only say so; the command's exit code stands.
    Warn,
}

/// Runs a command while it holds a slot [impact:rw]
///
/// Waits for a slot, runs the command, and gives the slot back once the command is gone, with all that it started.
///
/// The command gets its arguments as they are, without a shell; stdin, stdout and stderr are its own. What stands
/// after it is its own, too; `--` is needed only before a command that begins with a dash. Its environment has
/// SLUICEGATE_GOVERNOR, _SLOT, _TOKEN (hand it to what you protect: it refuses tokens smaller than the largest it has
/// seen), _EPOCH, _DEADLINE and _RENEWED. NATS credentials that stand in our environment in clear are not handed on.
///
/// The command has a process group of its own unless stdin is a terminal. INT, TERM, HUP, QUIT, USR1 and USR2 are
/// handed on to it; --kill-after later, or on a second signal, it is killed. When the lease is lost (expired,
/// evicted) the command is stopped: the margin for that is --kill-after, or a quarter of the time to live if that is
/// less.
///
/// If this process is killed with SIGKILL the command goes on, and the slot returns once its time to live is over:
/// only the token protects then. Let systemd, or whatever starts it, stop the whole control group.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: the command's own, or 128+N if signal N ended it; 75 no slot, 76 lease lost,
74 NATS unreachable, 77 not permitted, 78 configuration, 126 not executable, 127 not found.

Examples:
  sluicegate governor run nightly ./backup.sh --full
  sluicegate governor run nightly --max-wait 20m -- rsync -a src/ dst/
  sluicegate governor run nightly --no-wait -E 0 ./backup.sh     leave it to those who were first
  sluicegate governor run hourly --max-per-period ./report.sh    at most CAPACITY runs in a TTL"
)]
pub(crate) struct RunArgs {
    /// Which governor.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) slot: SlotArgs,
    /// What happens to the command when the lease is lost.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "term")]
    pub(crate) on_lost: OnLost,
    /// How long after a signal, or a lost lease, the command is killed.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) kill_after: HumanDuration,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Takes a slot, and keeps it until stdin closes or a signal comes [impact:rw]
///
/// Once the slot is held, prints one line on stdout: slot, token, deadline. For scripts that hold a slot over several steps, and for trying things out. Exit 76 when the lease is lost.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate governor hold nightly                               until Ctrl-D or Ctrl-C
  coproc SLOT { sluicegate governor hold nightly; }              in bash: until its stdin is closed")]
pub(crate) struct HoldArgs {
    /// Which governor.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) slot: SlotArgs,
}

/// Waits until slots look free, and takes none [impact:ro]
///
/// Somebody else may take them before you do: to work, use `run`.
#[derive(Args, Debug)]
#[command(after_help = "Exit: 0 they looked free, 75 not within --max-wait.

Examples:
  sluicegate governor wait nightly --max-wait 10m
  sluicegate governor wait nightly --count 10        until nobody works")]
pub(crate) struct WaitArgs {
    /// Which governor.
    pub(crate) name: String,
    /// Longest wait; then exit 75 [default: for ever]
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_wait: Option<HumanDuration>,
    /// How many slots.
    #[arg(long, value_name = "K", default_value = "1")]
    pub(crate) count: NonZeroU32,
}
