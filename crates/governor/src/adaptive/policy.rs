use std::fmt;
use std::num::NonZeroU32;

use super::AdaptiveConfig;

/// What one window showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Calls that the resource served.
    pub served: u64,
    /// Calls that it refused because it had too much to do.
    pub throttled: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
    /// Calls, served or failed, that took longer than [`AdaptiveConfig::slow`].
    pub slow: u64,
    /// There was more to do than the limit allowed.
    pub constrained: bool,
    /// More leases are held than the limit allows, as an earlier shrinking evicted nobody.
    pub draining: bool,
}

impl Window {
    /// All calls.
    pub fn calls(&self) -> u64 {
        self.served + self.throttled + self.failed
    }
}

/// Why the limit moves, or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The resource refused more than is borne: a tenth less.
    Throttled,
    /// More than a tenth of the calls were slow: a tenth less.
    Slow,
    /// Neither, and there was more to do: one more.
    Clean,
    /// The limit was outside the bounds: back to the nearest one.
    OutOfBounds,
    /// There were no calls to judge by, or none that was served.
    NothingServed,
    /// The limit kept nobody waiting, so a larger one would change nothing, and nobody would know whether the
    /// resource bears it.
    NotConstrained,
    /// The last shrinking has yet to take effect.
    Draining,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled => "throttled",
            Self::Slow => "slow",
            Self::Clean => "clean",
            Self::OutOfBounds => "out of bounds",
            Self::NothingServed => "nothing served",
            Self::NotConstrained => "not the constraint",
            Self::Draining => "draining",
        })
    }
}

/// Additive increase, multiplicative decrease: one more after a clean window, a tenth less after a throttled or a
/// slow one.
///
/// Of the linear ways of reacting to a sign of overload this one ends in equal shares for those who follow it on one
/// resource (D.-M. Chiu and R. Jain, *Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in
/// Computer Networks*, 1989). Pure: it keeps nothing from one window to the next.
///
/// ```
/// use std::num::NonZeroU32;
/// use sluicegate_governor::{AdaptiveConfig, Aimd, Reason, Window};
///
/// let limit = |n| NonZeroU32::new(n).unwrap();
/// let policy = Aimd::new(AdaptiveConfig::new(limit(2), limit(100)));
/// let window = Window { served: 95, throttled: 5, ..Window::default() };
/// assert_eq!(policy.decide(limit(40), &window), (limit(36), Reason::Throttled));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Aimd(AdaptiveConfig);

impl Aimd {
    /// With those bounds and that tolerance.
    pub fn new(config: AdaptiveConfig) -> Self {
        Self(config)
    }

    /// The limit that follows from a window under that limit, and why.
    pub fn decide(&self, limit: NonZeroU32, window: &Window) -> (NonZeroU32, Reason) {
        let bounded = limit.clamp(self.0.min, self.0.max);
        if bounded != limit {
            (bounded, Reason::OutOfBounds)
        } else if window.calls() == 0 {
            (limit, Reason::NothingServed)
        } else if window.draining {
            (limit, Reason::Draining)
        } else if window.throttled as f64 > self.0.tolerance * window.calls() as f64 {
            (self.less(limit), Reason::Throttled)
        } else if window.slow.saturating_mul(10) > window.served + window.failed {
            (self.less(limit), Reason::Slow)
        } else if window.served == 0 {
            (limit, Reason::NothingServed)
        } else if !window.constrained {
            (limit, Reason::NotConstrained)
        } else {
            (limit.saturating_add(1).min(self.0.max), Reason::Clean)
        }
    }

    /// A tenth less, at least one.
    fn less(&self, limit: NonZeroU32) -> NonZeroU32 {
        let less = u64::from(limit.get()) * 9 / 10;
        u32::try_from(less).ok().and_then(NonZeroU32::new).map_or(self.0.min, |less| less.max(self.0.min))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slots(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn policy() -> Aimd {
        Aimd::new(AdaptiveConfig::new(slots(3), slots(100)))
    }

    fn decide(limit: u32, window: Window) -> (u32, Reason) {
        let (limit, reason) = policy().decide(slots(limit), &window);
        (limit.get(), reason)
    }

    const CLEAN: Window =
        Window { served: 10_000, throttled: 0, failed: 0, slow: 0, constrained: true, draining: false };

    #[test]
    fn one_more_after_a_clean_window_a_tenth_less_after_another() {
        assert_eq!(decide(40, CLEAN), (41, Reason::Clean));
        assert_eq!(decide(40, Window { throttled: 200, ..CLEAN }), (36, Reason::Throttled));
        assert_eq!(decide(40, Window { slow: 2_000, ..CLEAN }), (36, Reason::Slow));
        assert_eq!(
            decide(4, Window { throttled: 200, ..CLEAN }),
            (3, Reason::Throttled),
            "at least one less"
        );
    }

    #[test]
    fn a_few_bad_calls_of_many_are_borne() {
        assert_eq!(decide(40, Window { throttled: 1, ..CLEAN }), (41, Reason::Clean));
        assert_eq!(decide(40, Window { slow: 900, ..CLEAN }), (41, Reason::Clean));
        assert_eq!(decide(40, Window { failed: 9_000, ..CLEAN }), (41, Reason::Clean), "no sign of overload");
    }

    #[test]
    fn nothing_moves_without_a_reason() {
        assert_eq!(decide(40, Window { constrained: false, ..CLEAN }), (40, Reason::NotConstrained));
        assert_eq!(decide(40, Window { draining: true, throttled: 500, ..CLEAN }), (40, Reason::Draining));
        assert_eq!(decide(40, Window::default()), (40, Reason::NothingServed));
        assert_eq!(decide(40, Window { served: 0, failed: 9, ..CLEAN }), (40, Reason::NothingServed));
    }

    #[test]
    fn a_throttled_window_shrinks_also_what_kept_nobody_waiting() {
        let window = Window { throttled: 500, constrained: false, ..CLEAN };
        assert_eq!(decide(40, window), (36, Reason::Throttled));
    }

    #[test]
    fn the_bounds_hold() {
        assert_eq!(decide(100, CLEAN), (100, Reason::Clean));
        assert_eq!(decide(3, Window { throttled: 500, ..CLEAN }), (3, Reason::Throttled));
        assert_eq!(decide(1, CLEAN), (3, Reason::OutOfBounds));
        assert_eq!(decide(500, Window::default()), (100, Reason::OutOfBounds));
    }

    proptest! {
        #[test]
        fn any_window_leads_to_a_limit_within_the_bounds(
            limit in 1u32.., served in 0u64..1 << 40, throttled in 0u64..1 << 40, slow in 0u64..,
            constrained: bool, draining: bool,
        ) {
            let window = Window { served, throttled, failed: 0, slow, constrained, draining };
            let (next, _) = decide(limit, window);
            prop_assert!((3..=100).contains(&next));
            if (3..=100).contains(&limit) {
                prop_assert!(next <= limit + 1 && next >= limit - limit.div_ceil(10));
            }
        }
    }
}
