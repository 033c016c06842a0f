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
    /// The story ended before this could be measured.
    Interrupted,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) check: &'static str,
    pub(crate) limit: u64,
    pub(crate) seen: u64,
    pub(crate) verdict: Verdict,
}

impl Check {
    /// `seen` must be exactly `limit`; a story cut short could not get there.
    pub(crate) fn exactly(check: &'static str, limit: u64, seen: u64, interrupted: bool) -> Self {
        let verdict = match seen == limit {
            true => Verdict::Ok,
            false if interrupted && seen < limit => Verdict::Interrupted,
            false => Verdict::Failed,
        };
        Self { check, limit, seen, verdict }
    }

    /// `seen` must not be above `limit`; nothing seen at all is no measurement.
    pub(crate) fn at_most(check: &'static str, limit: u64, seen: u64, interrupted: bool) -> Self {
        let verdict = match seen {
            0 if interrupted => Verdict::Interrupted,
            1.. if seen <= limit => Verdict::Ok,
            _ => Verdict::Failed,
        };
        Self { check, limit, seen, verdict }
    }

    pub(crate) fn raw_row(&self) -> [String; 4] {
        [
            self.check.to_owned(),
            self.limit.to_string(),
            self.seen.to_string(),
            self.verdict.as_str().to_owned(),
        ]
    }

    pub(crate) fn row(&self) -> [String; 4] {
        [self.check.to_owned(), thousands(self.limit), thousands(self.seen), self.verdict.as_str().to_owned()]
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
        assert_eq!(Check::at_most("x", 3, 0, false).verdict, Verdict::Failed);
        assert_eq!(Check::at_most("x", 3, 0, true).verdict, Verdict::Interrupted);
        assert_eq!(Check::at_most("x", 3, 3, true).verdict, Verdict::Ok);
        assert_eq!(Check::at_most("x", 3, 4, true).verdict, Verdict::Failed);
    }

    #[test]
    fn an_interruption_excuses_missing_orders_but_no_surplus() {
        assert_eq!(Check::exactly("x", 10, 10, false).verdict, Verdict::Ok);
        assert_eq!(Check::exactly("x", 10, 9, false).verdict, Verdict::Failed);
        assert_eq!(Check::exactly("x", 10, 9, true).verdict, Verdict::Interrupted);
        assert_eq!(Check::exactly("x", 10, 11, true).verdict, Verdict::Failed);
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
