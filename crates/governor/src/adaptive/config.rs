use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::{LeaseError, LeaseErrorKind, human, human_option};

/// How an [`AdaptiveLimit`](crate::AdaptiveLimit) moves the limit.
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use sluicegate_governor::AdaptiveConfig;
///
/// let (min, max) = (NonZeroU32::new(4).unwrap(), NonZeroU32::new(200).unwrap());
/// let config = AdaptiveConfig::new(min, max).slow(Duration::from_millis(300));
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdaptiveConfig {
    /// The limit never goes below this.
    pub min: NonZeroU32,
    /// The limit never goes above this.
    pub max: NonZeroU32,
    /// How long is looked before the limit is moved, 10 ms to an hour; longer where calls take longer. Default
    /// 200 ms.
    ///
    /// The limit grows by one a window, so it takes as many windows to follow a resource that recovers as there are
    /// slots to win back. Each window with calls costs one look at the pool, and one change if the limit moves.
    #[serde(default = "default_window", with = "human")]
    pub window: Duration,
    /// Share of throttled calls above which a window counts as throttled, 0 to 1. Default 0.01.
    #[serde(default = "default_tolerance")]
    pub tolerance: f64,
    /// A call that takes longer is slow, and a window is slow if more than a tenth of its calls are. None: time says
    /// nothing about this resource.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "human_option")]
    pub slow: Option<Duration>,
}

fn default_window() -> Duration {
    Duration::from_millis(200)
}

fn default_tolerance() -> f64 {
    0.01
}

impl AdaptiveConfig {
    /// Between those bounds, with the defaults for the rest.
    pub fn new(min: NonZeroU32, max: NonZeroU32) -> Self {
        Self { min, max, window: default_window(), tolerance: default_tolerance(), slow: None }
    }

    /// How long is looked before the limit is moved.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The share of throttled calls that is borne.
    #[must_use]
    pub fn tolerance(mut self, share: f64) -> Self {
        self.tolerance = share;
        self
    }

    /// The time beyond which a call is slow.
    #[must_use]
    pub fn slow(mut self, slow: Duration) -> Self {
        self.slow = Some(slow);
        self
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// `Invalid`, naming field and problem.
    pub fn validate(&self) -> Result<(), LeaseError> {
        let problem = if self.min > self.max {
            format!("min {} is above max {}: swap them", self.min, self.max)
        } else if self.window < Duration::from_millis(10) || self.window > Duration::from_secs(3600) {
            format!("window is {:?}: 10 ms to 1 h are possible", self.window)
        } else if !(0.0..=1.0).contains(&self.tolerance) {
            format!("tolerance is {}: a share from 0 to 1 is needed", self.tolerance)
        } else if self.slow.is_some_and(|slow| slow.is_zero()) {
            "slow is zero: every call would be slow, leave it out instead".to_owned()
        } else {
            return Ok(());
        };
        Err(LeaseError::new(LeaseErrorKind::Invalid, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_kebab_case_with_human_durations() {
        let text = r#"{"min":2,"max":9,"window":"1s","slow":"250ms"}"#;
        let config: AdaptiveConfig = serde_json::from_str(text).unwrap();
        let bounds = (NonZeroU32::new(2).unwrap(), NonZeroU32::new(9).unwrap());
        let expected = AdaptiveConfig::new(bounds.0, bounds.1)
            .window(Duration::from_secs(1))
            .slow(Duration::from_millis(250));
        assert_eq!(config, expected);
        let again: AdaptiveConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn refuses_what_cannot_be_meant_and_names_it() {
        let config = AdaptiveConfig::new(NonZeroU32::MIN, NonZeroU32::MAX);
        for (bad, named) in [
            (AdaptiveConfig::new(NonZeroU32::MAX, NonZeroU32::MIN), "min"),
            (config.clone().window(Duration::from_millis(1)), "window"),
            (config.clone().window(Duration::MAX), "window"),
            (config.clone().tolerance(1.5), "tolerance"),
            (config.clone().tolerance(f64::NAN), "tolerance"),
            (config.slow(Duration::ZERO), "slow"),
        ] {
            let error = bad.validate().unwrap_err();
            assert_eq!(error.kind(), LeaseErrorKind::Invalid);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
