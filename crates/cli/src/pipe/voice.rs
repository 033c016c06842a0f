//! What is said on stderr: sentences and a status line on a terminal, records elsewhere, one document for programs.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar};
use serde::Serialize;
use sluicegate_batcher::{Batcher, BatcherEvent};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::args::PipeArgs;
use super::choice::Target;
use super::item::Item;
use crate::cli::{LogFormat, OutputArgs};
use crate::log::{self, TARGET};
use crate::output::{self, escape, note, record_seconds, status_line, thousands};

/// So many items that were not delivered are told one by one, unless more is asked for.
const FEW: u64 = 5;
/// How much of such an item is shown, in characters.
const SHOWN: usize = 80;
/// How often the status line changes.
const TICK: Duration = Duration::from_millis(500);

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) items: AtomicU64,
    pub(super) bytes: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Voice {
    mode: Mode,
    json: bool,
    all: bool,
    /// What the number of an item counts.
    noun: &'static str,
    told: AtomicU64,
    /// Where items go.
    to: &'static str,
    /// It has too much to do.
    refused: AtomicBool,
    /// An item that is kept in a file need not be shown.
    kept: bool,
}

#[derive(Debug)]
enum Mode {
    Quiet,
    Sentences { status: Option<ProgressBar> },
    Records,
}

/// `sluicegate.v1.pipe`
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    r#type: &'static str,
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) batches: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) dead_lettered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duplicates: Option<u64>,
    pub(super) elapsed_seconds: f64,
    /// Items that were in batches, each once.
    #[serde(skip)]
    pub(super) accepted: u64,
    #[serde(skip)]
    pub(super) elapsed: Duration,
}

impl Summary {
    pub(super) fn new(elapsed: Duration) -> Self {
        Self {
            r#type: "sluicegate.v1.pipe",
            items: 0,
            bytes: 0,
            batches: 0,
            failed: 0,
            retried: 0,
            dead_lettered: 0,
            duplicates: None,
            elapsed_seconds: record_seconds(elapsed),
            accepted: 0,
            elapsed,
        }
    }

    /// `100,000 items in 200 batches (avg 500), 0 failed, 1 retried, 0.9 s, 111,000 items/s`
    fn sentence(&self) -> String {
        let average = (self.accepted + self.retried).checked_div(self.batches).unwrap_or_default();
        let duplicates = self.duplicates.filter(|duplicates| *duplicates > 0);
        let duplicates = duplicates.map(|n| format!(", {} duplicates", thousands(n))).unwrap_or_default();
        format!(
            "{} items in {} batches (avg {}), {} failed, {} retried{duplicates}, {:.1} s, {} items/s",
            thousands(self.items),
            thousands(self.batches),
            thousands(average),
            thousands(self.failed),
            thousands(self.retried),
            self.elapsed.as_secs_f64(),
            thousands(per_second(self.items - self.failed.min(self.items), self.elapsed)),
        )
    }
}

impl Voice {
    pub(super) fn new(output: &OutputArgs, args: &PipeArgs) -> Self {
        // A status line needs both; and it would tear what is written to a terminal.
        let live = io::stdout().is_terminal() && args.to != Target::Stdout;
        let mode = match log::format(output) {
            _ if output.quiet => Mode::Quiet,
            LogFormat::Human => {
                Mode::Sentences { status: Some(live).filter(|live| *live).and_then(|_| status_line()) }
            }
            LogFormat::Logfmt | LogFormat::Json => Mode::Records,
        };
        Self {
            mode,
            json: output.format().is_json(),
            all: output.verbose > 0,
            noun: args.input.noun(),
            told: AtomicU64::new(0),
            to: args.to.noun(),
            refused: AtomicBool::new(false),
            kept: args.dead_letter.is_some(),
        }
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

    /// One item was not delivered; `told` is all there is of it if it was too long.
    pub(super) fn undelivered(&self, item: &Item, attempts: u32, why: &str) {
        if !self.all && self.told.fetch_add(1, Ordering::Relaxed) >= FEW {
            return;
        }
        let (noun, number, why) = (self.noun, item.number, escape(why));
        let shown = (!self.kept).then(|| beginning(&item.data));
        if self.records() {
            warn!(target: TARGET, number, attempts, why, item = shown.as_deref(), "item not delivered");
        }
        self.say(|| {
            let tried = if attempts > 1 { format!(" after {attempts} attempts") } else { String::new() };
            let shown = shown.map(|item| format!(": {item}")).unwrap_or_default();
            format!("{noun} {number} not delivered{tried}: {why}{shown}")
        });
    }

    /// Notes what the batcher does, where somebody may wonder.
    pub(super) fn hear(&self, event: &BatcherEvent) {
        match event {
            BatcherEvent::Throttled { .. } if !self.refused.swap(true, Ordering::Relaxed) => {
                if self.records() {
                    warn!(target: TARGET, to = self.to, "told to try later, trying again until it works");
                }
                self.say(|| format!("{} has too much to do: trying again until it works", self.to));
            }
            BatcherEvent::BatchEnded { done, .. }
                if *done > 0 && self.refused.swap(false, Ordering::Relaxed) =>
            {
                if self.records() {
                    info!(target: TARGET, to = self.to, "it works again");
                }
                self.say(|| format!("{} takes items again", self.to));
            }
            _ => {}
        }
    }

    /// Reading has ended before the input has.
    pub(super) fn stopping(&self, signal: u8, waiting: u64) {
        if self.records() {
            info!(target: TARGET, signal = u64::from(signal), waiting, "no more is read");
        }
        let waiting = thousands(waiting);
        self.say(|| format!("no more is read, settling {waiting} items; once more abandons them"));
    }

    pub(super) fn summary(&self, summary: &Summary) {
        if let Mode::Sentences { status: Some(status) } = &self.mode {
            status.finish_and_clear();
        }
        if matches!(self.mode, Mode::Quiet) {
            return;
        }
        if self.json {
            // A summary that is no JSON cannot be.
            note(&output::json(summary).unwrap_or_default());
            return;
        }
        if self.records() {
            let Summary { items, bytes, batches, failed, retried, dead_lettered, elapsed_seconds, .. } =
                summary;
            info!(target: TARGET, items, bytes, batches, failed, retried, dead_lettered, elapsed_seconds, "pipe ended");
        }
        self.say(|| summary.sentence());
    }

    /// Shows how it goes, for as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>, meter: Arc<Meter>, batcher: Batcher) {
        let Mode::Sentences { status: Some(status) } = &self.mode else { return };
        let (mut seen, mut before) = (Instant::now(), (0, 0));
        loop {
            sleep(TICK).await;
            let (stats, bytes) = (batcher.stats(), meter.bytes.load(Ordering::Relaxed));
            let done = stats.outcomes.done;
            let elapsed = seen.elapsed();
            let items_per_second = per_second(done - before.0, elapsed);
            let bytes_per_second = per_second(bytes - before.1, elapsed);
            (seen, before) = (Instant::now(), (done, bytes));
            status.set_message(format!(
                "{} items delivered, {} read; {} items/s, {}/s; {} waiting, {} failed",
                thousands(done),
                HumanBytes(bytes),
                thousands(items_per_second),
                HumanBytes(bytes_per_second),
                thousands(stats.buffered + stats.running),
                thousands(stats.outcomes.total() - done),
            ));
        }
    }
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / millis
}

/// What a line can show of an item.
fn beginning(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(&data[..data.len().min(SHOWN * 4)]);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < data.len() {
        shown.push('…');
    }
    escape(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_tells_everything() {
        let mut summary = Summary::new(Duration::from_millis(900));
        (summary.items, summary.batches, summary.accepted, summary.retried) = (100_000, 200, 100_000, 1);
        let expected = "100,000 items in 200 batches (avg 500), 0 failed, 1 retried, 0.9 s, 111,111 items/s";
        assert_eq!(summary.sentence(), expected);
        assert!(Summary::new(Duration::ZERO).sentence().starts_with("0 items in 0 batches (avg 0)"));
    }

    #[test]
    fn of_an_item_only_the_beginning_is_shown_and_nothing_a_terminal_obeys() {
        assert_eq!(beginning(b"short\x1b[2J"), "short\\u{1b}[2J");
        assert_eq!(beginning(&[b'x'; 1000]), format!("{}…", "x".repeat(80)));
    }
}
