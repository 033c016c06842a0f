//! What the demo proves, and from which measurements.

use serde::Serialize;
use tokio::time::{Duration, Instant};

use crate::output::thousands;

/// What became of a check. There is no verdict without a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Ok,
    Failed,
    /// The story was cut short before this could be measured.
    Interrupted,
    /// The story went to its end, and this could not be found out.
    Unmeasured,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Interrupted => "interrupted",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) check: &'static str,
    pub(crate) limit: u64,
    pub(crate) seen: Option<u64>,
    pub(crate) verdict: Verdict,
}

impl Check {
    /// `seen` must be exactly `limit`; a story cut short could not get there.
    pub(crate) fn exactly(check: &'static str, limit: u64, seen: Option<u64>, interrupted: bool) -> Self {
        let verdict = match seen {
            None => Verdict::Unmeasured,
            Some(seen) if seen == limit => Verdict::Ok,
            Some(seen) if interrupted && seen < limit => Verdict::Interrupted,
            Some(_) => Verdict::Failed,
        };
        Self { check, limit, seen, verdict }
    }

    /// `seen` must not be above `limit`; nothing seen at all is no measurement.
    pub(crate) fn at_most(check: &'static str, limit: u64, seen: u64, interrupted: bool) -> Self {
        let verdict = match seen {
            0 if interrupted => Verdict::Interrupted,
            0 => Verdict::Unmeasured,
            _ if seen <= limit => Verdict::Ok,
            _ => Verdict::Failed,
        };
        Self { check, limit, seen: Some(seen), verdict }
    }

    /// Failed all the same, unless this holds too.
    pub(crate) fn and(self, holds: bool) -> Self {
        if holds { self } else { Self { verdict: Verdict::Failed, ..self } }
    }

    /// It failed, or nobody knows.
    pub(crate) fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Failed | Verdict::Unmeasured)
    }

    pub(crate) fn raw_row(&self) -> [String; 4] {
        self.cells(|number| number.to_string())
    }

    pub(crate) fn row(&self) -> [String; 4] {
        self.cells(thousands)
    }

    fn cells(&self, number: impl Fn(u64) -> String) -> [String; 4] {
        let seen = self.seen.map_or_else(|| "-".to_owned(), &number);
        [self.check.to_owned(), number(self.limit), seen, self.verdict.as_str().to_owned()]
    }
}

/// The most units that arrived within any `window`, from arrivals in the order of time.
pub(crate) fn worst_window(arrivals: &[(Instant, u64)], window: Duration) -> u64 {
    let (mut worst, mut inside, mut oldest) = (0, 0, 0);
    for &(at, units) in arrivals {
        inside += units;
        while at.duration_since(arrivals[oldest].0) >= window {
            inside -= arrivals[oldest].1;
            oldest += 1;
        }
        worst = worst.max(inside);
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_seen_is_no_verdict() {
        assert_eq!(Check::at_most("x", 3, 0, false).verdict, Verdict::Unmeasured);
        assert_eq!(Check::exactly("x", 3, None, true).verdict, Verdict::Unmeasured);
        assert_eq!(Check::at_most("x", 3, 0, true).verdict, Verdict::Interrupted);
        assert_eq!(Check::at_most("x", 3, 3, true).verdict, Verdict::Ok);
        assert_eq!(Check::at_most("x", 3, 4, true).verdict, Verdict::Failed);
    }

    #[test]
    fn an_interruption_excuses_missing_orders_but_no_surplus() {
        assert_eq!(Check::exactly("x", 10, Some(10), false).verdict, Verdict::Ok);
        assert_eq!(Check::exactly("x", 10, Some(9), false).verdict, Verdict::Failed);
        assert_eq!(Check::exactly("x", 10, Some(9), true).verdict, Verdict::Interrupted);
        assert_eq!(Check::exactly("x", 10, Some(11), true).verdict, Verdict::Failed);
        assert_eq!(Check::exactly("x", 10, Some(9), true).and(false).verdict, Verdict::Failed);
    }

    #[test]
    fn what_was_not_measured_has_no_number() {
        let check = Check::exactly("orders", 1000, None, false);
        assert_eq!(check.row(), ["orders", "1,000", "-", "unmeasured"]);
        assert_eq!(check.raw_row(), ["orders", "1000", "-", "unmeasured"]);
        assert!(check.is_bad());
    }

    #[tokio::test(start_paused = true)]
    async fn the_worst_window_is_found_wherever_it_begins() {
        let start = Instant::now();
        let at = |millis: u64, units| (start + Duration::from_millis(millis), units);
        let arrivals = [at(0, 5), at(900, 7), at(1000, 1), at(1899, 2), at(5000, 9)];
        assert_eq!(worst_window(&arrivals, Duration::from_secs(1)), 12);
        assert_eq!(worst_window(&arrivals[1..], Duration::from_secs(1)), 10);
        assert_eq!(worst_window(&[], Duration::from_secs(1)), 0);
    }
}
