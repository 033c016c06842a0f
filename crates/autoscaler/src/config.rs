use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::{human, human_option};

use crate::{Limits, ScalerError};

/// The settings of a scaler; `Default` is the documented default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Config {
    /// Never fewer instances. Default 0.
    pub min: u32,
    /// Never more instances. Must be set: 0, the default, is refused.
    pub max: u32,
    /// Attempts per second that one busy instance completes. Default: learned.
    pub service_rate: Option<f64>,
    /// Messages that one instance works on at once. Default 1.
    pub slots: NonZeroU32,
    /// From order to ready, until the first start was seen. Default 1 s.
    #[serde(with = "human")]
    pub cold_start: Duration,
    /// How long a wish to shrink must last. Default: 5 times the cold start, at least 5 s, and at least the time that
    /// one message takes and the window that the rate needs.
    #[serde(with = "human_option")]
    pub hold: Option<Duration>,
    /// How long nothing may have been there, and nothing have come, before the last instance stops. Default: as
    /// `hold`.
    #[serde(with = "human_option")]
    pub zero_after: Option<Duration>,
    /// Between two looks while there is something to do or something changes. Default 100 ms.
    #[serde(with = "human")]
    pub tick: Duration,
    /// Between two looks while instances run and nothing happens. Default 1 s.
    #[serde(with = "human")]
    pub steady_tick: Duration,
    /// Between two looks while nobody runs. Default: 30 s with a source that wakes, 1 s with one that does not.
    #[serde(with = "human_option")]
    pub idle_tick: Option<Duration>,
    /// A look older than this holds the scale. Default: 3 steady ticks, at least 5 s.
    #[serde(with = "human_option")]
    pub stale_after: Option<Duration>,
    /// Longest time one call of the source or the provisioner may take. Default 2 s.
    #[serde(with = "human")]
    pub request_timeout: Duration,
    /// Longest time the end of the scaler waits for instances to drain; longer than the provisioner's own drain and
    /// kill deadlines together. Default 45 s.
    #[serde(with = "human")]
    pub shutdown_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min: 0,
            max: 0,
            service_rate: None,
            slots: NonZeroU32::MIN,
            cold_start: Duration::from_secs(1),
            hold: None,
            zero_after: None,
            tick: Duration::from_millis(100),
            steady_tick: Duration::from_secs(1),
            idle_tick: None,
            stale_after: None,
            request_timeout: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(45),
        }
    }
}

impl Config {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// `Configuration`, naming field and problem.
    pub fn validate(&self) -> Result<(), ScalerError> {
        if self.max == 0 {
            return Err(ScalerError::configuration(
                "max",
                "is 0: say how many instances there may be at most",
            ));
        }
        if self.min > self.max {
            let problem = format!("is {}, above max, which is {}", self.min, self.max);
            return Err(ScalerError::configuration("min", problem));
        }
        if let Some(rate) = self.service_rate
            && !(rate.is_finite() && rate > 0.0)
        {
            let problem = format!("is {rate}: must be above zero, or left out to be learned");
            return Err(ScalerError::configuration("service-rate", problem));
        }
        let times = [
            ("tick", Some(self.tick)),
            ("steady-tick", Some(self.steady_tick)),
            ("idle-tick", self.idle_tick),
            ("stale-after", self.stale_after),
            ("request-timeout", Some(self.request_timeout)),
        ];
        for (field, time) in times {
            if time.is_some_and(|time| time.is_zero()) {
                return Err(ScalerError::configuration(field, "is 0: must be longer"));
            }
        }
        Ok(())
    }

    /// Between how many instances to choose.
    pub fn limits(&self) -> Limits {
        (self.min..=self.max).into()
    }

    /// W, for a cold start, a time that one message takes, and the window that decided the rate.
    pub(crate) fn hold_for(
        &self,
        cold_start: Duration,
        service_time: Duration,
        window: Duration,
    ) -> Duration {
        let auto = cold_start.max(Duration::from_secs(1)).saturating_mul(5).max(service_time).max(window);
        self.hold.unwrap_or(auto)
    }

    pub(crate) fn stale(&self) -> Duration {
        self.stale_after.unwrap_or(self.steady_tick.saturating_mul(3).max(Duration::from_secs(5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = Config::default();
        assert_eq!((config.min, config.max, config.slots.get()), (0, 0, 1));
        let millis = [config.cold_start, config.tick, config.steady_tick, config.request_timeout];
        assert_eq!(millis.map(|time| time.as_millis()), [1000, 100, 1000, 2000]);
        assert_eq!(config.stale(), Duration::from_secs(5));
        let s = Duration::from_secs;
        assert_eq!(config.hold_for(s(0), s(0), s(1)), s(5));
        assert_eq!(config.hold_for(s(10), s(0), s(1)), s(50));
        assert_eq!(config.hold_for(s(1), s(0), s(60)), s(60));
    }

    #[test]
    fn reads_as_people_type() {
        let config: Config =
            serde_json::from_str(r#"{"max": 5, "zero-after": "10s", "tick": "50ms"}"#).unwrap();
        let expected = Config {
            max: 5,
            zero_after: Some(Duration::from_secs(10)),
            tick: Duration::from_millis(50),
            ..Config::default()
        };
        assert_eq!(config, expected);
        let misspelt = serde_json::from_str::<Config>(r#"{"max": 5, "zero_after": "10s"}"#);
        assert!(misspelt.is_err(), "an unknown setting must not be ignored");
    }

    #[test]
    fn problems_name_the_field() {
        let sound = Config { max: 5, ..Config::default() };
        sound.validate().unwrap();
        for (config, field) in [
            (Config::default(), "max"),
            (Config { min: 6, ..sound.clone() }, "min"),
            (Config { service_rate: Some(f64::NAN), ..sound.clone() }, "service-rate"),
            (Config { service_rate: Some(0.0), ..sound.clone() }, "service-rate"),
            (Config { tick: Duration::ZERO, ..sound.clone() }, "tick"),
        ] {
            let error = config.validate().unwrap_err();
            assert_eq!(error.kind(), crate::ScalerErrorKind::Configuration);
            assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
        }
    }
}
