//! Who is inside a place, counted at its door.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts those inside, and the most there ever were at one time.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    inside: AtomicU32,
    most: AtomicU32,
}

impl Gauge {
    /// Comes in, and is counted until the guard is dropped: also by a task that is aborted in the middle.
    pub(crate) fn enter(&self) -> Inside<'_> {
        let inside = self.inside.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(inside, Ordering::AcqRel);
        Inside(self)
    }

    /// How many are inside now.
    pub(crate) fn inside(&self) -> u64 {
        u64::from(self.inside.load(Ordering::Acquire))
    }

    /// The most there ever were at one time.
    pub(crate) fn most(&self) -> u64 {
        u64::from(self.most.load(Ordering::Acquire))
    }
}

/// One who is inside.
#[must_use = "counted only until it is dropped"]
pub(crate) struct Inside<'a>(&'a Gauge);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_is_remembered_only_in_the_most() {
        let gauge = Gauge::default();
        let first = gauge.enter();
        drop(gauge.enter());
        assert_eq!((gauge.inside(), gauge.most()), (1, 2));
        drop(first);
        assert_eq!((gauge.inside(), gauge.most()), (0, 2));
    }
}
