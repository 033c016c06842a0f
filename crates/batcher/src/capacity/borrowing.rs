use std::time::Duration;

use super::share::Division;

/// How many borrowed leases are offered to others at a time.
///
/// A tenth of what is borrowed, so that being alone costs next to nothing. If others took it, twice as much the next
/// time, as far as this process has more than its share; so a newcomer among any number of others has its own within
/// five offers. Who has not even its share offers nothing: others have more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Borrowing {
    /// What was offered last.
    last: usize,
    /// How much the next offer may be beyond a tenth.
    step: usize,
}

impl Borrowing {
    /// From leaving the grant until it is asked for again: long enough for others to hear of it, and at a time to
    /// live of 10 s still no more than 2 % of a single borrowed lease, two requests included.
    pub(super) const PAUSE: Duration = Duration::from_millis(190);

    /// Whether anything is to be offered from time to time.
    pub(super) fn is_due(held: usize, division: Division) -> bool {
        held > division.cap && held >= division.fair
    }

    /// How many leases to offer now.
    pub(super) fn offer(&mut self, held: usize, division: Division) -> usize {
        if !Self::is_due(held, division) {
            return 0;
        }
        let borrowed = held - division.cap;
        let above = held - division.fair;
        self.last = borrowed.div_ceil(10).max(self.step.min(above));
        self.last
    }

    /// Others took some of the last offer, or nobody did.
    pub(super) fn judge(&mut self, gone: bool) {
        self.step = if gone { 2 * self.last } else { 0 };
    }
}
