//! The status line of those who wait.

use std::convert::Infallible;
use std::time::Duration;

use sluicegate_governor::GovernorView;
use tokio::time::{Instant, sleep, timeout};

use super::obtain::Found;
use super::voice::Voice;
use crate::output::{age, clock, exact};

/// A slot that comes sooner was not waited for.
const SOON: Duration = Duration::from_millis(250);
/// How often the clock moves, and how often the governor is looked at.
const TICK: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_secs(2);
/// How many holders are shown.
const HOLDERS: usize = 5;

#[derive(Clone, Copy, Debug)]
pub(super) struct Status<'a> {
    pub(super) name: &'a str,
    pub(super) found: &'a Found,
    pub(super) begun: Instant,
    pub(super) at_most: Duration,
}

impl Status<'_> {
    /// Says that a slot is waited for: once in records, again and again on a terminal.
    pub(super) async fn show(&self, voice: &Voice) -> Infallible {
        sleep(SOON).await;
        voice.waiting(self.at_most);
        let mut seen: Option<(Instant, Option<GovernorView>)> = None;
        loop {
            if voice.is_live() {
                if seen.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK) {
                    seen = Some((Instant::now(), self.look().await));
                }
                voice.status(&self.text(seen.as_ref().and_then(|(_, view)| view.as_ref())));
            }
            sleep(TICK).await;
        }
    }

    async fn look(&self) -> Option<GovernorView> {
        timeout(LOOK, self.found.admin.as_ref()?.view()).await.ok()?.ok()
    }

    /// `nightly: 10/10 busy, waiting 0:42 of 20m`, and who holds the slots.
    fn text(&self, view: Option<&GovernorView>) -> String {
        let limit =
            view.and_then(|view| view.limit).or(self.found.pool.limit().map(|limit| limit.get().into()));
        let busy = match (view.map(|view| view.active), limit) {
            (Some(active), Some(limit)) => format!("{active}/{limit} busy, "),
            _ => String::new(),
        };
        let mut lines = vec![format!(
            "{}: {busy}waiting {} of {}",
            self.name,
            clock(self.begun.elapsed()),
            exact(self.at_most)
        )];
        if let Some(view) = view {
            let holders = view.holders.iter().take(HOLDERS);
            lines.extend(holders.map(|lease| format!("  {} ({})", lease.holder, age(lease.age))));
            if view.holders.len() > HOLDERS {
                lines.push(format!("  and {} more", view.holders.len() - HOLDERS));
            }
        }
        lines.join("\n")
    }
}
