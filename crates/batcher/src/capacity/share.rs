use std::num::NonZeroU32;
use std::time::Duration;

/// How much of the pool one process may hold.
///
/// A pool that nobody else needs is used to the full all the same: what is above the share is *borrowed*, and offered
/// back bit by bit, once in a time to live. With [`borrow(false)`](crate::SharedCapacityBuilder::borrow) it is not
/// even taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Share {
    /// As much as everybody else who holds something, with room for one more. With k leases and n holders, this
    /// process among them, borrowing begins above ⌊k / (n + 1)⌋, and ⌊k / n⌋ are enough to let others go first.
    /// Other holders are counted in the pool when it is full, at most once in a time to live; who may not look counts
    /// one other. With fewer leases than processes, they take turns.
    #[default]
    Equal,
    /// `weight` parts of `of`, rounded up to whole leases.
    Weighted {
        /// This process's parts.
        weight: NonZeroU32,
        /// All parts together.
        of: NonZeroU32,
    },
    /// As much as it needs and can get, and nothing is offered back. Unfair: renewal lets the first one keep
    /// everything for as long as it is busy, and a pool that is made smaller stays too full.
    Greedy,
}

/// A pool's leases as one of its users should divide them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    /// Who holds fewer than that comes first.
    pub(super) fair: usize,
    /// Who holds fewer than that comes next: what cannot be divided goes round.
    pub(super) full: usize,
    /// What is above is borrowed.
    pub(super) cap: usize,
}

impl Share {
    /// With that many leases, and that many processes that hold some, this one included.
    pub(super) fn division(self, leases: usize, parties: usize) -> Division {
        let parties = parties.max(1);
        match self {
            // Rounded down: with a cap of ⌈k / (n + 1)⌉, which may be ⌈k / n⌉, nobody might ever offer anything.
            Self::Equal => Division {
                fair: (leases / parties).max(1),
                full: leases.div_ceil(parties),
                cap: leases / (parties + 1),
            },
            Self::Weighted { weight, of } => {
                let cap = (leases as u64).saturating_mul(weight.get().into()).div_ceil(of.get().into());
                let cap = usize::try_from(cap).unwrap_or(usize::MAX).min(leases);
                Division { fair: cap, full: cap, cap }
            }
            Self::Greedy => Division { fair: usize::MAX, full: usize::MAX, cap: usize::MAX },
        }
    }

    /// Most leases of a process that borrows none. At least one: nobody could work without.
    pub(super) fn hard_limit(self, leases: usize, parties: usize) -> usize {
        self.division(leases, parties).cap.clamp(1, leases.max(1))
    }

    pub(super) fn is_equal(self) -> bool {
        self == Self::Equal
    }
}

impl Division {
    /// How long after a lease is said to be free it is asked for: those who have their share let others go first.
    pub(super) fn patience(self, held: usize) -> Duration {
        if held < self.fair {
            Duration::ZERO
        } else if held < self.full {
            PATIENCE
        } else {
            2 * PATIENCE
        }
    }
}

/// Longer than a hint needs to arrive.
const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_something_to_offer_to_a_newcomer() {
        for leases in 1..200 {
            for parties in 1..50 {
                let Division { fair, full, cap } = Share::Equal.division(leases, parties);
                // Who holds most when all are held holds at least that many.
                assert!(cap < full && fair <= full, "{leases} leases, {parties} parties: {cap} of {full}");
                assert!(full * parties >= leases && (full - 1) * parties < leases);
            }
        }
    }

    #[test]
    fn weighted_is_rounded_up_to_whole_leases() {
        let third = Share::Weighted { weight: NonZeroU32::MIN, of: NonZeroU32::new(3).unwrap() };
        assert_eq!(third.division(20, 9), Division { fair: 7, full: 7, cap: 7 });
        let all = Share::Weighted { weight: NonZeroU32::MAX, of: NonZeroU32::MIN };
        assert_eq!(all.hard_limit(20, 1), 20);
        assert_eq!((Share::Equal.hard_limit(20, 1), Share::Equal.hard_limit(1, 3)), (10, 1));
    }
}
