//! The story as it is told on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::Scaling;
use crate::output::{note, thousands};

#[derive(Clone, Debug)]
pub(crate) struct Narrator {
    silent: bool,
    bar: Option<ProgressBar>,
}

impl Narrator {
    /// Silent, or with a bar where one can be shown: stdout and stderr are terminals, and nobody said CI.
    pub(crate) fn new(quiet: bool, live: bool, total: u64) -> Self {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let wanted = live && !quiet && terminal && std::env::var_os("CI").is_none();
        let bar = wanted.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let style =
                ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} stored  {msg}  {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { silent: quiet, bar }
    }

    /// How far the story has come, for those who watch.
    pub(crate) fn progress(&self, stored: u64, workers: u32, lag: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(stored);
            bar.set_message(format!("{workers} workers, lag {}", thousands(lag)));
        }
    }

    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            _ if self.silent => {}
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    pub(crate) fn chapter(&self, number: usize, of: usize, name: &str, text: &str) {
        self.line(&format!("{number}/{of} {name:<11} {text}"));
    }

    pub(crate) fn scaling(&self, step: &Scaling) {
        let at = Duration::from_secs_f64(step.at_seconds);
        self.line(&format!(
            "    {:>6.1}s  {} → {} workers  {}",
            at.as_secs_f64(),
            step.from,
            step.to,
            step.why
        ));
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
