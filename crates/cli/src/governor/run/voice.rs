//! What is said on stderr while a slot is waited for and held: sentences and a status line on a terminal, records
//! elsewhere. stdout is not ours.

use std::time::Duration;

use indicatif::ProgressBar;
use rustix::process::Signal;
use sluicegate_core::LossCause;
use tracing::{info, warn};

use crate::cli::{LogFormat, OutputArgs};
use crate::governor::args::OnLost;
use crate::log::{self, TARGET};
use crate::output::{age, escape, exact, note, record_seconds as seconds, status_line};

#[derive(Debug)]
pub(crate) struct Voice {
    governor: String,
    /// What is run, if anything is.
    work: String,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Quiet,
    Sentences { status: Option<ProgressBar> },
    Records,
}

impl Voice {
    pub(crate) fn new(output: &OutputArgs, governor: &str, work: &str) -> Self {
        let mode = match log::format(output) {
            _ if output.quiet => Mode::Quiet,
            LogFormat::Human => Mode::Sentences { status: status_line() },
            LogFormat::Logfmt | LogFormat::Json => Mode::Records,
        };
        Self { governor: escape(governor), work: escape(work), mode }
    }

    /// Whether somebody sees a status line that changes.
    pub(super) fn is_live(&self) -> bool {
        matches!(&self.mode, Mode::Sentences { status: Some(_) })
    }

    /// Says a sentence, above the status line if there is one.
    fn say(&self, sentence: impl FnOnce() -> String) {
        match &self.mode {
            Mode::Sentences { status: Some(status) } => status.suspend(|| note(&sentence())),
            Mode::Sentences { status: None } => note(&sentence()),
            Mode::Quiet | Mode::Records => {}
        }
    }

    fn records(&self) -> bool {
        matches!(self.mode, Mode::Records)
    }

    /// Shows a status line instead of the one before.
    pub(super) fn status(&self, text: &str) {
        if let Mode::Sentences { status: Some(status) } = &self.mode {
            status.set_message(escape(text).replace("\\n", "\n"));
        }
    }

    /// Takes the status line away.
    pub(super) fn clear(&self) {
        if let Mode::Sentences { status: Some(status) } = &self.mode {
            status.finish_and_clear();
        }
    }

    /// Something that whoever chose that governor should know.
    pub(super) fn remark(&self, text: &str) {
        if self.records() {
            let governor = &self.governor;
            warn!(target: TARGET, governor, "{}", escape(text));
        } else {
            self.say(|| escape(text));
        }
    }

    /// All slots are taken, as far as that is known.
    pub(super) fn waiting(&self, at_most: Duration) {
        let governor = &self.governor;
        if self.records() {
            info!(target: TARGET, governor, max_wait_seconds = at_most.as_secs_f64(), "waiting for a slot");
        } else if !self.is_live() {
            self.say(|| format!("{governor}: full, waiting at most {}", exact(at_most)));
        }
    }

    pub(super) fn acquired(&self, slot: u64, waited: Duration, ttl: Duration) {
        self.clear();
        let (governor, waited_seconds) = (&self.governor, seconds(waited));
        if self.records() {
            info!(target: TARGET, governor, slot, waited_seconds, "slot acquired");
        }
        let running = if self.work.is_empty() { String::new() } else { format!(", running {}", self.work) };
        self.say(|| format!("slot {slot} after {}{running} (lease {})", age(waited), exact(ttl)));
    }

    pub(super) fn unreachable(&self, why: &str) {
        let (governor, why) = (&self.governor, escape(why));
        if self.records() {
            warn!(target: TARGET, governor, why, "NATS unreachable, working without a slot");
        }
        self.say(|| format!("NATS unreachable, working without a slot of {governor}: {why}"));
    }

    pub(super) fn retrying(&self, why: &str) {
        let (governor, why) = (&self.governor, escape(why));
        if self.records() {
            warn!(target: TARGET, governor, why, "NATS unreachable, trying again");
        }
        self.say(|| format!("{governor}: NATS unreachable, trying again: {why}"));
    }

    /// The end of the work, and what became of the slot.
    pub(super) fn released(&self, slot: u64, held: Duration, exit: Option<u8>, became: &str) {
        let (governor, held_seconds) = (&self.governor, seconds(held));
        if self.records() {
            // Absent fields are left out.
            let exit = exit.map(u64::from);
            info!(target: TARGET, governor, slot, held_seconds, exit, "slot {became}");
        }
        self.say(|| match exit {
            Some(exit) => format!("exit {exit} after {}, slot {became}", age(held)),
            None => format!("slot {became} after {}", age(held)),
        });
    }

    /// The end of work that had no slot.
    pub(super) fn ended(&self, worked: Duration, exit: u8) {
        let governor = &self.governor;
        if self.records() {
            let (worked_seconds, exit) = (seconds(worked), u64::from(exit));
            info!(target: TARGET, governor, worked_seconds, exit, "command ended");
        }
        self.say(|| format!("exit {exit} after {}", age(worked)));
    }

    pub(super) fn not_released(&self, slot: u64, why: &str) {
        let (governor, why) = (&self.governor, escape(why));
        if self.records() {
            warn!(target: TARGET, governor, slot, why, "slot not released, it returns when its lease ends");
        }
        self.say(|| format!("slot {slot} not released, it returns when its lease ends: {why}"));
    }

    pub(super) fn handing_on(&self, signal: Signal, kill_after: Duration) {
        let (governor, signal) = (&self.governor, name(signal));
        if self.records() {
            info!(target: TARGET, governor, signal, kill_after_seconds = seconds(kill_after), "signal handed on");
        }
        self.say(|| format!("{signal}: {} has {} to end", self.work, exact(kill_after)));
    }

    pub(super) fn killing(&self, why: &str) {
        let governor = &self.governor;
        if self.records() {
            warn!(target: TARGET, governor, why, "command killed");
        }
        self.say(|| format!("{why}: killing {}", self.work));
    }

    pub(super) fn left_behind(&self) {
        let governor = &self.governor;
        if self.records() {
            info!(target: TARGET, governor, "command ended, waiting for what it started");
        }
        self.say(|| format!("{} ended, waiting for what it started", self.work));
    }

    pub(super) fn ends_soon(&self, remaining: Duration) {
        let governor = &self.governor;
        if self.records() {
            warn!(target: TARGET, governor, remaining_seconds = seconds(remaining), "lease ends soon");
        }
        self.say(|| format!("the lease ends in {}", age(remaining)));
    }

    pub(super) fn lost(&self, cause: LossCause, on_lost: OnLost) {
        let governor = &self.governor;
        let doing = match on_lost {
            _ if self.work.is_empty() => "giving up",
            OnLost::Term => "stopping the command",
            OnLost::Kill => "killing the command",
            OnLost::Warn => "the command goes on",
        };
        if self.records() {
            warn!(target: TARGET, governor, %cause, doing, "lease lost");
        }
        self.say(|| format!("lease lost ({cause}): {doing}"));
    }
}

fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::INT => "INT",
        Signal::TERM => "TERM",
        Signal::HUP => "HUP",
        _ => "QUIT",
    }
}
