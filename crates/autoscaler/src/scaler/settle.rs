use std::time::Duration;

use crate::{Clip, Snapshot};

/// Brings what a policy wants within what is allowed: the rules that hold for every policy.
pub(crate) fn settle(want: u32, s: &Snapshot<'_>) -> (u32, Vec<Clip>) {
    let mut clipped = Vec::new();
    let mut clip = |to: &mut u32, limit: u32, why: Clip| {
        if *to != limit {
            *to = limit;
            clipped.push(why);
        }
    };
    let (n, lag) = (s.fleet.count(), s.load.lag());
    // As it is now, within the limits: where "no growth" and "no shrinking" lead.
    let paused = s
        .load
        .paused
        .is_some_and(|remaining| remaining > s.cold_start.saturating_add(Duration::from_secs(1)));
    let mut to = want;
    if to > n && paused {
        clip(&mut to, n, Clip::Paused);
    }
    // One instance is needed in any case: somebody has to settle what is out.
    let some = n.max(1);
    if to > some && s.load.is_ack_limited() {
        clip(&mut to, some, Clip::AckLimit);
    }
    if to > some && s.load.is_waiting_limited() {
        clip(&mut to, some, Clip::WaitingLimit);
    }
    if to == 0 && s.limits.min == 0 {
        if lag > 0 && !(paused && n == 0) {
            clip(&mut to, 1, Clip::Work);
        } else if s.fleet.target > 0 && s.quiet < s.zero_after {
            clip(&mut to, 1, Clip::Hold);
        }
    }
    if to < s.limits.min {
        clip(&mut to, s.limits.min, Clip::Min);
    }
    if to > s.limits.max {
        clip(&mut to, s.limits.max, Clip::Max);
    }
    (to, clipped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FleetView, Limits, Load};

    fn look<'a>(load: &'a Load, n: u32) -> Snapshot<'a> {
        let mut s = Snapshot::new(Duration::from_secs(100), load, FleetView::new(n, &[]));
        s.limits = Limits { min: 0, max: 20 };
        s
    }

    #[test]
    fn zero_needs_quiet_and_nothing_to_do() {
        let (idle, busy) = (Load::new(0, 0, 9), Load::new(0, 1, 9));
        let quiet = Duration::from_secs(5);
        assert_eq!(settle(0, &look(&idle, 1)), (1, vec![Clip::Hold]));
        assert_eq!(settle(0, &Snapshot { quiet, ..look(&idle, 1) }), (0, vec![]));
        assert_eq!(settle(0, &Snapshot { quiet, ..look(&busy, 1) }), (1, vec![Clip::Work]));
        assert_eq!(settle(0, &look(&idle, 0)), (0, vec![]), "zero stays zero");
        assert_eq!(settle(0, &look(&busy, 0)), (1, vec![Clip::Work]), "work wakes, whatever the policy says");
    }

    #[test]
    fn limits_have_the_last_word() {
        let load = Load::new(9, 0, 0);
        assert_eq!(settle(u32::MAX, &look(&load, 3)), (20, vec![Clip::Max]));
        let limits = Limits { min: 2, max: 20 };
        assert_eq!(settle(0, &Snapshot { limits, ..look(&load, 3) }), (2, vec![Clip::Min]));
    }

    #[test]
    fn no_growth_where_new_instances_would_get_nothing() {
        let limited = Load { max_ack_pending: Some(10), ..Load::new(90, 10, 0) };
        assert_eq!(settle(5, &look(&limited, 2)), (2, vec![Clip::AckLimit]));
        assert_eq!(settle(5, &look(&limited, 0)), (1, vec![Clip::AckLimit]));
        assert_eq!(settle(1, &look(&limited, 2)), (1, vec![]), "shrinking is allowed");
        let crowded = Load { waiting: Some(512), max_waiting: Some(512), ..Load::new(90, 0, 0) };
        assert_eq!(settle(5, &look(&crowded, 2)), (2, vec![Clip::WaitingLimit]));
        let paused = |seconds| Load { paused: Some(Duration::from_secs(seconds)), ..Load::new(90, 0, 0) };
        assert_eq!(settle(5, &look(&paused(60), 0)), (0, vec![Clip::Paused]));
        assert_eq!(settle(5, &look(&paused(2), 0)), (5, vec![]), "ready when it goes on");
    }
}
