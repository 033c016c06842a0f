use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::Load;

/// A measurement takes at least this long.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many measurements the median is taken of.
const SAMPLES: usize = 20;

/// Where the service rate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceSource {
    /// Nobody knows it yet.
    #[default]
    Unknown,
    /// Set by the user.
    Configured,
    /// Median of what an instance completed while more waited than could be done.
    Saturated,
}

impl fmt::Display for ServiceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Configured => "configured",
            Self::Saturated => "saturated intervals",
        })
    }
}

/// What one instance can do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Service {
    /// μ: attempts per second that one busy instance completes; `None` while unknown.
    pub mu: Option<f64>,
    /// Where that number comes from.
    pub source: ServiceSource,
}

impl Service {
    /// A known service rate, in attempts per second and instance.
    pub fn configured(mu: f64) -> Self {
        Self { mu: Some(mu), source: ServiceSource::Configured }
    }
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    at: Instant,
    ready: u32,
    settled: i128,
}

/// Learns the service rate from saturated intervals: unsaturated throughput would only be a lower bound.
#[derive(Debug)]
pub(crate) struct ServiceRate {
    configured: Option<f64>,
    /// Start of the saturated stretch with the present fleet.
    since: Option<Anchor>,
    /// Start of the present measurement.
    anchor: Option<Anchor>,
    samples: VecDeque<f64>,
}

impl ServiceRate {
    pub(crate) fn new(configured: Option<f64>) -> Self {
        Self { configured, since: None, anchor: None, samples: VecDeque::new() }
    }

    /// Forgets what it learned: another queue may be other work.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.configured);
    }

    /// Counting started afresh: no measurement spans that.
    pub(crate) fn interrupt(&mut self) {
        self.since = None;
        self.anchor = None;
    }

    /// Takes a look into account; `Some` if the service rate became known by it.
    pub(crate) fn look(&mut self, at: Instant, load: &Load, ready: u32, starting: bool) -> Option<f64> {
        let idle_hands = load.waiting.is_some_and(|waiting| waiting > 0);
        if ready == 0 || starting || load.pending == 0 || idle_hands || load.is_ack_limited() {
            self.interrupt();
            return None;
        }
        let here = Anchor { at, ready, settled: i128::from(load.delivered) - i128::from(load.ack_pending) };
        let Some(anchor) = self.anchor.filter(|anchor| anchor.ready == ready) else {
            self.since = Some(here);
            self.anchor = Some(here);
            return None;
        };
        let took = at.saturating_duration_since(anchor.at);
        if took < INTERVAL {
            return None;
        }
        self.anchor = Some(here);
        let done = (here.settled - anchor.settled) as f64;
        let sample = done / took.as_secs_f64() / f64::from(ready);
        if sample <= 0.0 || self.configured.is_some() {
            return None;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        (self.samples.len() == 1).then_some(sample)
    }

    /// How long the present fleet has had more to do than it could.
    pub(crate) fn saturated(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since.at))
    }

    pub(crate) fn service(&self) -> Service {
        if let Some(mu) = self.configured {
            return Service::configured(mu);
        }
        let mut sorted: Vec<f64> = self.samples.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        match sorted.get(sorted.len() / 2) {
            Some(mu) => Service { mu: Some(*mu), source: ServiceSource::Saturated },
            None => Service::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn learns_only_while_more_waits_than_can_be_done() {
        let mut rate = ServiceRate::new(None);
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        for tenth in 0..30 {
            rate.look(at(tenth), &Load::new(0, 1, tenth), 1, false);
        }
        assert_eq!(rate.service(), Service::default(), "an instance that waits for work tells nothing");
        let mut learned = None;
        for tenth in 30..50 {
            let load = Load::new(100, 1, 30 + 50 * (tenth - 30));
            learned = learned.or(rate.look(at(tenth), &load, 2, false));
        }
        assert_eq!(learned, Some(250.0));
        assert_eq!(rate.service().source, ServiceSource::Saturated);
        assert_eq!(rate.saturated(at(50)), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_pulls_starting_instances_and_the_ack_limit_break_a_measurement() {
        let start = Instant::now();
        let limited = Load { max_ack_pending: Some(5), ack_pending: 5, ..Load::new(100, 0, 500) };
        let idle = Load { waiting: Some(1), ..Load::new(100, 0, 500) };
        for (load, starting) in [(limited, false), (idle, false), (Load::new(100, 0, 500), true)] {
            let mut rate = ServiceRate::new(None);
            rate.look(start, &Load::new(100, 0, 0), 1, false);
            rate.look(start + Duration::from_millis(500), &load, 1, starting);
            assert_eq!(rate.look(start + Duration::from_secs(1), &Load::new(100, 0, 1000), 1, false), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_configured_rate_is_not_overruled() {
        let mut rate = ServiceRate::new(Some(7.0));
        let start = Instant::now();
        rate.look(start, &Load::new(100, 0, 0), 1, false);
        rate.look(start + Duration::from_secs(2), &Load::new(100, 0, 1000), 1, false);
        assert_eq!(rate.service(), Service::configured(7.0));
    }
}
