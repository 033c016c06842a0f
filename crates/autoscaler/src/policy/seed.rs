use std::time::Duration;

use super::{Policy, instances};
use crate::{Advice, Reason, Snapshot};

/// What the seed's rate is measured over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeedRate {
    /// Everything since the start: number for number the seed's, and far too slow for a load that changes.
    Cumulative,
    /// The scaler's own windowed rate.
    #[default]
    Windowed,
}

/// The policy of the auto-scaler in NATS by Example: one instance fewer after two silent seconds, one to begin
/// with, else one more at a time up to one for each 500 messages a second; decided once a second.
///
/// For comparison and for those who come from there. The scaler's own rules still hold: limits, never below zero,
/// one instance while there is work.
#[derive(Clone, Debug)]
pub struct Seed {
    inactive: Duration,
    per_instance: f64,
    every: Duration,
    rate: SeedRate,
    started: Option<Duration>,
    decided: Option<Duration>,
}

impl Seed {
    /// The seed's numbers: 2 s, 500 messages a second, once a second; with the windowed rate.
    pub fn new() -> Self {
        Self {
            inactive: Duration::from_secs(2),
            per_instance: 500.0,
            every: Duration::from_secs(1),
            rate: SeedRate::default(),
            started: None,
            decided: None,
        }
    }

    /// One instance fewer after so long without a message. Default 2 s.
    #[must_use]
    pub fn inactive(mut self, inactive: Duration) -> Self {
        self.inactive = inactive;
        self
    }

    /// Messages per second that one instance is there for. Default 500; what is not above zero is not taken.
    #[must_use]
    pub fn rate_per_instance(mut self, rate: f64) -> Self {
        if rate > 0.0 {
            self.per_instance = rate;
        }
        self
    }

    /// Decides at most so often. Default 1 s.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// What the rate is measured over. Default [`SeedRate::Windowed`].
    #[must_use]
    pub fn rate(mut self, rate: SeedRate) -> Self {
        self.rate = rate;
        self
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for Seed {
    fn decide(&mut self, s: &Snapshot<'_>) -> Advice {
        let started = *self.started.get_or_insert(s.at);
        if self.decided.is_some_and(|before| s.at < before.saturating_add(self.every)) {
            return Advice::new(s.fleet.target, Reason::Unchanged, s);
        }
        self.decided = Some(s.at);
        let n = s.fleet.count();
        let silent = s.since_arrival.unwrap_or(s.at);
        if s.since_arrival.is_none_or(|silent| silent > self.inactive) {
            let why = if n == 0 { Reason::Nothing } else { Reason::Inactive { silent } };
            return Advice::new(n.saturating_sub(1), why, s);
        }
        let rate = match self.rate {
            SeedRate::Windowed => s.rates.arrivals,
            SeedRate::Cumulative => s.rates.total as f64 / (s.at - started).as_secs_f64().max(0.2),
        };
        let why = Reason::PerInstance { rate, per_instance: self.per_instance };
        let want = match n {
            0 => 1,
            _ => n.saturating_add(1).min(instances(rate / self.per_instance, 0.0)),
        };
        Advice::new(want, why, s)
    }

    fn fork(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FleetView, Load};

    #[test]
    fn decides_number_for_number_as_the_seed() {
        let load = Load::default();
        let mut seed = Seed::default();
        // at, n, messages a second, silent for → wanted
        let transcript = [
            (0, 0, 0.0, None, 0),
            (1, 0, 1200.0, Some(0), 1),
            (2, 1, 1200.0, Some(0), 2),
            (3, 2, 1200.0, Some(1), 3),
            (4, 3, 1200.0, Some(2), 3),
            (5, 3, 1200.0, Some(3), 2),
            (6, 4, 400.0, Some(0), 1),
            (7, 1, 0.0, Some(9), 0),
            (8, 0, 0.0, Some(9), 0),
        ];
        for (at, n, rate, silent, want) in transcript {
            let mut s = Snapshot::new(Duration::from_secs(at), &load, FleetView::new(n, &[]));
            s.rates.arrivals = rate;
            s.since_arrival = silent.map(Duration::from_secs);
            assert_eq!(seed.decide(&s).want, want, "at {at} s");
        }
    }

    #[test]
    fn decides_once_a_second_at_most() {
        let load = Load::default();
        let mut seed = Seed::default();
        let mut s = Snapshot::new(Duration::from_secs(1), &load, FleetView::new(1, &[]));
        s.rates.arrivals = 5000.0;
        s.since_arrival = Some(Duration::ZERO);
        assert_eq!(seed.decide(&s).want, 2);
        s.at += Duration::from_millis(900);
        assert_eq!((seed.decide(&s).want, seed.decide(&s).why), (1, Reason::Unchanged));
        s.at += Duration::from_millis(100);
        assert_eq!(seed.decide(&s).want, 2);
    }

    #[test]
    fn cumulative_is_everything_since_the_start() {
        let load = Load::default();
        let mut seed = Seed::default().rate(SeedRate::Cumulative);
        // 200 a second for a minute, then 2 000: the average hardly notices.
        for (at, total, want) in [(0, 0, 0), (60, 12_000, 1), (61, 14_000, 1), (120, 132_000, 3)] {
            let mut s = Snapshot::new(Duration::from_secs(at), &load, FleetView::new(2, &[]));
            s.rates.arrivals = 2000.0;
            s.rates.total = total;
            s.since_arrival = Some(Duration::ZERO);
            assert_eq!(seed.decide(&s).want, want, "at {at} s");
        }
    }
}
