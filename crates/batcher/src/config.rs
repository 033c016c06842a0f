use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::human;

use crate::ConfigError;

/// Options of a [`Batcher`](crate::Batcher).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct BatcherConfig {
    /// How many operations may wait at once, over all watchers. Default 10 000.
    pub buffer: NonZeroUsize,
    /// How finely a rate is spent: the largest usual burst is rate × slice. Without a capacity it does nothing.
    /// Default 10 ms; from 1 µs to 1 s.
    #[serde(with = "human")]
    pub slice: Duration,
    /// How many batches may run at once, over all watchers. Default: no limit.
    pub max_concurrent_batches: Option<NonZeroUsize>,
    /// The capacity is told of a changed need at most this often. Default 100 ms.
    #[serde(with = "human")]
    pub capacity_interval: Duration,
    /// The rate asked for is what would finish everything outstanding in this time. Default 1 s.
    #[serde(with = "human")]
    pub horizon: Duration,
}

impl Default for BatcherConfig {
    fn default() -> Self {
        Self {
            buffer: NonZeroUsize::MIN.saturating_add(9_999),
            slice: Duration::from_millis(10),
            max_concurrent_batches: None,
            capacity_interval: Duration::from_millis(100),
            horizon: Duration::from_secs(1),
        }
    }
}

impl BatcherConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the first field that cannot be, and what would do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.slice < Duration::from_micros(1) || self.slice > Duration::from_secs(1) {
            return Err(ConfigError::new("slice", "must be from 1us to 1s"));
        }
        if self.capacity_interval.is_zero() {
            return Err(ConfigError::new("capacity-interval", "must not be zero"));
        }
        if self.horizon.is_zero() {
            return Err(ConfigError::new("horizon", "must not be zero"));
        }
        if self.buffer.get() > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(ConfigError::new("buffer", "is larger than any memory"));
        }
        Ok(())
    }
}

/// When a watcher's waiting operations leave, if the batch is not full yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Flush {
    /// At once while no batch of the watcher runs; otherwise batches grow until they are full, the oldest operation
    /// has lingered, or the running batches have ended.
    #[default]
    Adaptive,
    /// At once, whatever runs.
    Immediate,
    /// When the oldest operation has lingered.
    Linger,
}

/// Options of a [`Watcher`](crate::Watcher).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct WatcherConfig {
    /// How it is called in events, statistics and logs. Default `watcher`.
    pub name: String,
    /// Most operations in a batch. Default: no limit.
    pub max_batch_size: Option<NonZeroUsize>,
    /// Largest sum of costs in a batch, in units. A single operation that costs more goes alone. Default: no limit.
    pub max_batch_cost: Option<NonZeroU64>,
    /// How long the oldest operation waits for company, at most. It may wait longer for budget or for a free slot.
    /// Default 5 ms.
    #[serde(with = "human")]
    pub linger: Duration,
    /// When operations leave. Default [`Flush::Adaptive`].
    pub flush: Flush,
    /// How many batches of this watcher may run at once. Default: no limit.
    pub max_concurrent_batches: Option<NonZeroUsize>,
}

impl Default for WatcherConfig {
    fn default() -> Self {
        Self {
            name: "watcher".to_owned(),
            max_batch_size: None,
            max_batch_cost: None,
            linger: Duration::from_millis(5),
            flush: Flush::Adaptive,
            max_concurrent_batches: None,
        }
    }
}

impl WatcherConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the first field that cannot be, and what would do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() {
            return Err(ConfigError::new("name", "is empty"));
        }
        if self.linger.is_zero() {
            return Err(ConfigError::new("linger", "must not be zero: use the flush policy `immediate`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_roundtrip_and_unknown_field() {
        let text = r#"{"buffer": 5, "slice": "20ms", "max-concurrent-batches": 3}"#;
        let config: BatcherConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.buffer.get(), config.slice), (5, Duration::from_millis(20)));
        assert_eq!(config.horizon, BatcherConfig::default().horizon);
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<BatcherConfig>(&again).unwrap(), config);

        let error = serde_json::from_str::<BatcherConfig>(r#"{"bufer": 5}"#).unwrap_err();
        assert!(error.to_string().contains("bufer"), "{error}");
        let error = serde_json::from_str::<WatcherConfig>(r#"{"max-batch-size": 0}"#).unwrap_err();
        assert!(error.to_string().contains("zero"), "{error}");
    }

    #[test]
    fn config_error_names_field() {
        let config = BatcherConfig { slice: Duration::ZERO, ..BatcherConfig::default() };
        assert_eq!(config.validate().unwrap_err().field(), "slice");
        let config = WatcherConfig { linger: Duration::ZERO, ..WatcherConfig::default() };
        assert_eq!(config.validate().unwrap_err().to_string().split(':').next(), Some("linger"));
    }
}
