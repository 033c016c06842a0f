use std::time::Duration;

use super::{Policy, hold::Hold, instances};
use crate::{Advice, Reason, Snapshot};

/// No instance for a twentieth of one.
const GRACE: f64 = 0.05;

/// The default: a drain plan that knows cold starts.
///
/// It looks ahead as far as a new instance needs to start (`c`) plus the time in which a backlog should be gone
/// (`Td`), counts what those who work and those who start will have done by then, and orders more if work would be
/// left. Growth is ordered at once and in any size; shrinking waits until no look of the last `W` wanted more.
///
/// ```text
/// capacity = mu * (r * H + sum of max(0, H - tau_i))      H = c + Td, tau_i = until starting instance i is ready
/// need     = L + lambda * H - capacity
/// base     = lambda / (mu * rho), at least 1 while there is work
/// want     = need > 0 ? max(base, n + need / (mu * Td)) : base
/// ```
///
/// It needs to know what an instance can do (μ). Set it with
/// [`service_rate`](crate::AutoscalerBuilder::service_rate), or let it be learned: until then there is one
/// instance, doubled whenever the present ones were busy for `c` + 1 s.
#[derive(Clone, Debug)]
pub struct Plan {
    drain_time: Option<Duration>,
    utilisation: f64,
    hold: Hold,
}

impl Plan {
    /// The plan with its defaults.
    pub fn new() -> Self {
        Self { drain_time: None, utilisation: 0.9, hold: Hold::default() }
    }

    /// Td: time in which a backlog must be gone. Default: twice the cold start, at least 1 s, and never less than
    /// one message takes; planning to drain faster than instances appear overshoots.
    #[must_use]
    pub fn drain_time(mut self, drain_time: Duration) -> Self {
        self.drain_time = Some(drain_time);
        self
    }

    /// ρ: part of an instance's time that is planned to be used, above 0 and up to 1. Default 0.9, which covers the
    /// noise of arrivals.
    #[must_use]
    pub fn utilisation(mut self, utilisation: f64) -> Self {
        self.utilisation = if utilisation > 0.0 { utilisation.min(1.0) } else { 0.9 };
        self
    }

    /// What this look alone would want.
    fn wish(&self, s: &Snapshot<'_>, mu: f64, drain_time: Duration) -> (u32, Reason) {
        let n = s.fleet.count();
        let waiting = s.backlog();
        let arrivals = s.rates.arrivals;
        let horizon = s.cold_start.saturating_add(drain_time);
        let (h, td) = (horizon.as_secs_f64(), drain_time.as_secs_f64());
        let started: f64 =
            s.fleet.starting.iter().map(|tau| horizon.saturating_sub(*tau).as_secs_f64()).sum();
        let capacity = mu * (f64::from(s.fleet.ready) * h + started);
        let left = waiting as f64 + arrivals * h - capacity;
        let by_rate = instances(arrivals / (mu * self.utilisation), GRACE);
        let base = by_rate.max(u32::from(s.load.lag() > 0));
        let more = instances(left / (mu * td), GRACE);
        if more > 0 && n.saturating_add(more) >= base {
            let why = Reason::Need {
                waiting,
                arrivals,
                horizon,
                ready: s.fleet.ready,
                starting: n - s.fleet.ready,
                capacity,
                left,
                more,
                drain_time,
            };
            return (n.saturating_add(more), why);
        }
        let mut want = base;
        if want < n {
            let with_backlog = instances((arrivals + waiting as f64 / td) / mu, 0.02);
            want = n.min(want.max(with_backlog));
        }
        let why = match want {
            0 => Reason::Nothing,
            _ if by_rate == 0 => Reason::Work { lag: s.load.lag() },
            _ => Reason::Rate { arrivals, mu, utilisation: self.utilisation },
        };
        (want, why)
    }

    /// What to want while nobody knows what an instance can do.
    fn learn(s: &Snapshot<'_>) -> (u32, Reason) {
        let n = s.fleet.count();
        if s.load.lag() == 0 {
            return (0, Reason::Nothing);
        }
        if n == 0 {
            return (1, Reason::Work { lag: s.load.lag() });
        }
        if s.fleet.starting.is_empty() && s.saturated >= s.cold_start.saturating_add(Duration::from_secs(1)) {
            return (n.saturating_mul(2), Reason::Doubled { saturated: s.saturated });
        }
        (n, Reason::Learning)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for Plan {
    fn decide(&mut self, s: &Snapshot<'_>) -> Advice {
        let n = s.fleet.count();
        let mu = s.service.mu.filter(|mu| mu.is_finite() && *mu > 0.0);
        let mut drain_time = None;
        let (want, why) = match mu {
            None => Self::learn(s),
            Some(mu) => {
                let service_time =
                    Duration::try_from_secs_f64(f64::from(s.slots) / mu).unwrap_or(Duration::MAX);
                let td = self.drain_time.unwrap_or_else(|| auto_drain_time(s.cold_start, service_time));
                let td = td.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
                drain_time = Some(td);
                self.wish(s, mu, td)
            }
        };
        let largest = self.hold.largest(s.at, want, s.hold);
        let (want, why) = if want < n {
            match largest.map_or(n, |largest| n.min(largest)) {
                held if held > want => (held, Reason::Held { want, hold: s.hold }),
                _ => (want, why),
            }
        } else {
            (want, why)
        };
        let mut advice = Advice::new(want, why, s);
        advice.terms.drain_time = drain_time;
        advice.terms.utilisation = Some(self.utilisation);
        advice
    }

    fn fork(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }
}

fn auto_drain_time(cold_start: Duration, service_time: Duration) -> Duration {
    cold_start.max(Duration::from_millis(500)).saturating_mul(2).max(service_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FleetView, Load, Service};

    fn snapshot<'a>(load: &'a Load, fleet: FleetView<'a>, arrivals: f64) -> Snapshot<'a> {
        let mut s = Snapshot::new(Duration::from_secs(100), load, fleet);
        s.service = Service::configured(500.0);
        s.rates.arrivals = arrivals;
        s
    }

    #[test]
    fn orders_what_drains_the_rest() {
        let load = Load::new(4210, 3, 0);
        let advice = Plan::default().decide(&snapshot(&load, FleetView::new(3, &[]), 1980.0));
        assert_eq!(advice.want, 9);
        assert!(advice.why.to_string().contains("5,650 left; 6 more drain it in 2.0s"), "{}", advice.why);
    }

    #[test]
    fn does_not_order_again_while_the_first_order_starts() {
        let load = Load::new(4210, 3, 0);
        let starting = [Duration::from_millis(900); 6];
        let advice = Plan::default().decide(&snapshot(&load, FleetView::new(3, &starting), 1980.0));
        assert_eq!(advice.want, 9, "{}", advice.why);
    }

    #[test]
    fn shrinks_only_when_no_look_of_the_hold_wanted_more() {
        let mut plan = Plan::default();
        let busy = Load::new(0, 2, 0);
        let fleet = FleetView::new(4, &[]);
        for (seconds, arrivals, want) in [(1, 1600.0, 4), (2, 100.0, 4), (6, 100.0, 4), (7, 100.0, 1)] {
            let mut s = snapshot(&busy, fleet, arrivals);
            s.at = Duration::from_secs(seconds);
            assert_eq!(plan.decide(&s).want, want, "at {seconds} s");
        }
    }

    #[test]
    fn what_is_in_hand_is_no_queue() {
        // Ten hands with ten slow jobs: a new instance could not help any of them.
        let load = Load::new(0, 10, 10);
        let mut s = snapshot(&load, FleetView::new(10, &[]), 1.0);
        s.service = Service::configured(0.1);
        s.hold = Duration::from_secs(50);
        assert!(Plan::default().decide(&s).want <= 12);
    }

    #[test]
    fn doubles_while_nobody_knows_what_an_instance_can_do() {
        let load = Load::new(1000, 1, 0);
        let mut s = snapshot(&load, FleetView::default(), 0.0);
        s.service = Service::default();
        assert_eq!(Plan::default().decide(&s).want, 1);
        s.fleet = FleetView::new(2, &[]);
        assert_eq!(Plan::default().decide(&s).want, 2);
        s.saturated = Duration::from_secs(2);
        assert_eq!(Plan::default().decide(&s).want, 4);
    }
}
