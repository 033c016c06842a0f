use tokio::time::Instant;

use super::LINGER;
use crate::event::{GovernorEvent, HintSource, HintState};
use crate::pool::Pool;

/// Longest time between a call of ours and what the server tells of it; after that nothing is expected to arrive.
const AUDIT: std::time::Duration = LINGER;

/// What is known of one source of hints.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) source: HintSource,
    pub(super) state: HintState,
    /// Until then something has to arrive.
    expected: Option<Instant>,
    /// When something last arrived.
    heard: Option<Instant>,
    /// Since when something could.
    since: Instant,
}

impl Source {
    pub(super) fn new(source: HintSource) -> Self {
        Self { source, state: HintState::Unknown, expected: None, heard: None, since: Instant::now() }
    }

    /// Whether that is news.
    pub(super) fn set(&mut self, pool: &Pool, state: HintState) -> bool {
        if state != HintState::Working {
            self.expected = None;
        }
        let news = self.state != state;
        self.state = state;
        if news {
            pool.emit(&GovernorEvent::HintSource { source: self.source, state });
        }
        news
    }

    /// Something arrived. Whether it is news that it does.
    pub(super) fn hear(&mut self, pool: &Pool) -> bool {
        self.expected = None;
        self.heard = Some(Instant::now());
        self.set(pool, HintState::Working)
    }

    /// From now on something can arrive.
    pub(super) fn begin(&mut self) {
        self.since = Instant::now();
        self.expected = None;
    }

    /// Since when all that happens is heard of, as far as can be told.
    pub(super) fn works_since(&self) -> Option<Instant> {
        (self.state == HintState::Working).then_some(self.since)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state == HintState::Dead
    }

    /// A call was made at that time of which this source tells.
    pub(super) fn expect(&mut self, called: Instant) {
        // What is told of a call may be heard before the call's answer is.
        let unheard = self.heard.is_none_or(|heard| heard + AUDIT / 2 < called);
        if called >= self.since && unheard {
            self.expected.get_or_insert(called + AUDIT);
        }
    }

    /// When it is known whether it works.
    pub(super) fn due(&self) -> Option<Instant> {
        self.expected
    }

    /// What was expected did not arrive. Whether it is news that nothing does.
    pub(super) fn miss(&mut self, pool: &Pool) -> bool {
        self.expected.is_some_and(|expected| expected <= Instant::now()) && self.set(pool, HintState::Dead)
    }
}
