use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use sluicegate_core::FencingToken;

use crate::{Limits, ServiceSource, Snapshot};

/// What a policy wants, and why.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Advice {
    /// So many instances, before limits.
    pub want: u32,
    /// The ground, with its numbers.
    pub why: Reason,
    /// The terms of the formula.
    pub terms: Terms,
}

impl Advice {
    /// That many instances for that reason, with the terms that every snapshot has.
    pub fn new(want: u32, why: Reason, snapshot: &Snapshot<'_>) -> Self {
        Self { want, why, terms: Terms::of(snapshot) }
    }
}

/// Why so many instances; `Display` is one line, made of the numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing waits and nothing arrives.
    Nothing,
    /// There is work, and one instance is enough.
    Work {
        /// P + A.
        lag: u64,
    },
    /// What arrives takes so many.
    Rate {
        /// λ per second.
        arrivals: f64,
        /// μ per second and instance.
        mu: f64,
        /// Part of an instance's time that is planned to be used.
        utilisation: f64,
    },
    /// What will still wait at the horizon takes more.
    Need {
        /// L: what waits now.
        waiting: u64,
        /// λ per second.
        arrivals: f64,
        /// How far ahead it is looked.
        horizon: Duration,
        /// Instances that work.
        ready: u32,
        /// Instances that start.
        starting: u32,
        /// What those do until the horizon.
        capacity: f64,
        /// What they leave.
        left: f64,
        /// So many more.
        more: u32,
        /// The time they get for it.
        drain_time: Duration,
    },
    /// Fewer would do, but not yet for long enough.
    Held {
        /// What the latest look alone would want.
        want: u32,
        /// How long the wish to shrink must last.
        hold: Duration,
    },
    /// Nobody knows yet what an instance can do, and the present ones are busy: twice as many.
    Doubled {
        /// For how long they had more to do than they could.
        saturated: Duration,
    },
    /// Nobody knows yet what an instance can do: as many as there are.
    Learning,
    /// The seed's rule: nothing was received for so long, one fewer.
    Inactive {
        /// How long.
        silent: Duration,
    },
    /// The seed's rule: one more at most, up to what the rate takes.
    PerInstance {
        /// Messages per second, by the seed's measure.
        rate: f64,
        /// Messages per second for each instance.
        per_instance: f64,
    },
    /// Between two decisions of a policy that decides less often than it is asked.
    Unchanged,
    /// The scaler ends: instances that live in its process end with it.
    Shutdown,
    /// Another replica leads: instances that live in this process end.
    LeaderLost,
    /// A reason of a policy that is not ours.
    Other(Cow<'static, str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("idle: nothing waits, nothing in hand, nothing arrives"),
            Self::Work { lag } => write!(f, "work: {} unsettled, one instance is enough", Count(*lag)),
            Self::Rate { arrivals, mu, utilisation } => write!(
                f,
                "rate: {} at {} an instance, used to {:.0} %",
                PerSecond(*arrivals),
                PerSecond(*mu),
                utilisation * 100.0
            ),
            Self::Need { waiting, arrivals, horizon, ready, starting, capacity, left, more, drain_time } => {
                write!(
                    f,
                    "need: {} waiting + {} for {} - {ready} ready and {starting} starting do {} = {} left; \
                     {more} more drain it in {}",
                    Count(*waiting),
                    PerSecond(*arrivals),
                    Seconds(*horizon),
                    Count(capacity.round() as u64),
                    Count(left.round() as u64),
                    Seconds(*drain_time)
                )
            }
            Self::Held { want, hold } => {
                write!(f, "held: {want} would do now, but not for {} yet", Seconds(*hold))
            }
            Self::Doubled { saturated } => {
                write!(f, "learning: busy for {}, service rate unknown, doubled", Seconds(*saturated))
            }
            Self::Learning => f.write_str("learning: service rate unknown"),
            Self::Inactive { silent } => write!(f, "inactive: nothing received for {}", Seconds(*silent)),
            Self::PerInstance { rate, per_instance } => {
                write!(f, "rate: {} at {} an instance", PerSecond(*rate), PerSecond(*per_instance))
            }
            Self::Unchanged => f.write_str("unchanged: not time to decide yet"),
            Self::Shutdown => f.write_str("shutdown: the scaler ends"),
            Self::LeaderLost => f.write_str("leader lost: another replica takes over"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The terms of the formula behind a decision.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Terms {
    /// P: never delivered.
    pub pending: u64,
    /// A: delivered and not settled.
    pub ack_pending: u64,
    /// λ per second.
    pub arrivals: f64,
    /// The window that decided λ.
    pub window: Duration,
    /// μ per second and instance.
    pub mu: Option<f64>,
    /// Where μ comes from.
    pub source: ServiceSource,
    /// c: from order to ready.
    pub cold_start: Duration,
    /// W: how long a wish to shrink must last.
    pub hold: Duration,
    /// Td: time in which a backlog must be gone, if the policy plans with one.
    pub drain_time: Option<Duration>,
    /// ρ: part of an instance's time that is planned to be used, if the policy plans with one.
    pub utilisation: Option<f64>,
    /// Between how many instances to choose.
    pub limits: Limits,
}

impl Terms {
    /// The terms that every snapshot has.
    pub fn of(snapshot: &Snapshot<'_>) -> Self {
        Self {
            pending: snapshot.load.pending,
            ack_pending: snapshot.load.ack_pending,
            arrivals: snapshot.rates.arrivals,
            window: snapshot.rates.window,
            mu: snapshot.service.mu,
            source: snapshot.service.source,
            cold_start: snapshot.cold_start,
            hold: snapshot.hold,
            drain_time: None,
            utilisation: None,
            limits: snapshot.limits,
        }
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P={} A={} lambda={}", self.pending, self.ack_pending, PerSecond(self.arrivals))?;
        write!(f, " ({}s window)", self.window.as_secs())?;
        match self.mu {
            Some(mu) => write!(f, " mu={} ({})", PerSecond(mu), self.source)?,
            None => f.write_str(" mu=unknown")?,
        }
        write!(f, " c={}", Seconds(self.cold_start))?;
        if let Some(drain_time) = self.drain_time {
            write!(f, " Td={}", Seconds(drain_time))?;
        }
        write!(f, " W={}", Seconds(self.hold))?;
        if let Some(utilisation) = self.utilisation {
            write!(f, " rho={utilisation}")?;
        }
        write!(f, ", limits {}", self.limits)
    }
}

/// What kept a decision from being what the policy wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Clip {
    /// Not fewer than the minimum.
    Min,
    /// Not more than the maximum.
    Max,
    /// A wish to shrink, or to stop the last instance, has to last.
    Hold,
    /// There is work: one instance stays, or starts.
    Work,
    /// The consumer is paused: new instances would get nothing.
    Paused,
    /// Too much is delivered and unsettled: new instances would get nothing.
    AckLimit,
    /// Too many pulls wait: new instances could not ask.
    WaitingLimit,
}

impl fmt::Display for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::Hold => "hold",
            Self::Work => "work",
            Self::Paused => "paused",
            Self::AckLimit => "ack-limit",
            Self::WaitingLimit => "waiting-limit",
        })
    }
}

/// One decision; `Display` is its line in a timeline.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// Grows by one with each decision of a scaler.
    pub seq: u64,
    /// Time since the scaler started.
    pub at: Duration,
    /// The order before.
    pub from: u32,
    /// The order now.
    pub to: u32,
    /// Why.
    pub why: Reason,
    /// The terms of the formula.
    pub terms: Terms,
    /// What kept it from being what the policy wanted.
    pub clipped: Vec<Clip>,
    /// The leader's token; `None` without a leader pool.
    pub fence: Option<FencingToken>,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}  {}", self.from, self.to, self.why)?;
        for (i, clip) in self.clipped.iter().enumerate() {
            write!(f, "{}{clip}", if i == 0 { " [" } else { ", " })?;
        }
        f.write_str(if self.clipped.is_empty() { "" } else { "]" })
    }
}

/// A count with separators: `4,210`.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A rate: whole above ten a second, else with two digits.
struct PerSecond(f64);

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 10.0 || self.0 == self.0.trunc() {
            write!(f, "{}/s", Count(self.0.round() as u64))
        } else {
            write!(f, "{:.2}/s", self.0)
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_line_made_of_the_numbers() {
        let why = Reason::Need {
            waiting: 4_210,
            arrivals: 1_980.0,
            horizon: Duration::from_secs(3),
            ready: 3,
            starting: 0,
            capacity: 4_500.0,
            left: 5_650.0,
            more: 6,
            drain_time: Duration::from_secs(2),
        };
        let load = crate::Load::new(4_210, 3, 0);
        let snapshot = Snapshot::new(Duration::ZERO, &load, crate::FleetView::new(3, &[]));
        let terms = Terms::of(&snapshot);
        let decision =
            Decision { seq: 1, at: Duration::ZERO, from: 3, to: 9, why, terms, clipped: vec![], fence: None };
        assert_eq!(
            decision.to_string(),
            "3 -> 9  need: 4,210 waiting + 1,980/s for 3.0s - 3 ready and 0 starting do 4,500 = 5,650 left; \
             6 more drain it in 2.0s"
        );
        let clipped = Decision { why: Reason::Nothing, clipped: vec![Clip::Hold, Clip::Max], ..decision };
        assert!(clipped.to_string().ends_with("nothing arrives [hold, max]"), "{clipped}");
        assert!(
            clipped
                .terms
                .to_string()
                .starts_with("P=4210 A=3 lambda=0/s (0s window) mu=unknown c=1.0s W=5.0s")
        );
    }
}
