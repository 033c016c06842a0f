use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The first pause for somebody who has too much to do.
const FIRST: Duration = Duration::from_millis(100);

/// How long somebody is left alone who has too much to do: longer each time, until something gets through.
#[derive(Debug)]
pub(super) struct Patience {
    longest: Duration,
    refusals: AtomicU32,
}

impl Patience {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest: longest.max(FIRST), refusals: AtomicU32::new(0) }
    }

    /// Something got through.
    pub(super) fn restore(&self) {
        self.refusals.store(0, Ordering::Relaxed);
    }

    /// Refused once more: the pause before the next try.
    pub(super) fn pause(&self) -> Duration {
        let refusals = self.refusals.fetch_add(1, Ordering::Relaxed).min(16);
        FIRST.saturating_mul(1 << refusals).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_something_gets_through() {
        let patience = Patience::new(Duration::from_secs(1));
        let pauses: Vec<_> = (0..6).map(|_| patience.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
        patience.restore();
        assert_eq!(patience.pause(), FIRST);
    }
}
