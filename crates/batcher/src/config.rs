use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::{human, human_option};

use crate::ConfigError;

/// Options of a [`Batcher`](crate::Batcher).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct BatcherConfig {
    /// How many operations may wait at once, over all watchers. Default 10 000.
    pub buffer: NonZeroUsize,
    /// How many bytes may wait at once, over all watchers; a larger operation waits alone. Default: no limit.
    pub buffer_bytes: Option<NonZeroUsize>,
    /// What callers get when there is no place. Default [`OnFull::Wait`].
    pub on_full: OnFull,
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
    /// How often the counters are audited while anything is outstanding. Default 10 s.
    #[serde(with = "human")]
    pub audit_interval: Duration,
    /// How long a handler may take. Default 1 min.
    #[serde(with = "human")]
    pub max_operation_time: Duration,
    /// What happens to a handler that takes longer. Default [`OnTimeout::Cancel`].
    pub on_timeout: OnTimeout,
    /// How long [`pause`](crate::Batcher::pause) lasts. Default 500 ms.
    #[serde(with = "human")]
    pub pause_time: Duration,
    /// Learn from throttled operations how much the datastore bears. Default true.
    pub adaptive: bool,
    /// Who starts nothing after a throttled operation. Default [`ThrottleScope::Watcher`].
    pub throttle_scope: ThrottleScope,
    /// Tell the observer also of each flush and each request for capacity. Default false.
    pub verbose_events: bool,
    /// Link the tracing span of each batch with the spans in which its operations were handed over. Costs an
    /// allocation for each operation. Default false.
    pub link_spans: bool,
}

impl Default for BatcherConfig {
    fn default() -> Self {
        Self {
            buffer: NonZeroUsize::MIN.saturating_add(9_999),
            buffer_bytes: None,
            on_full: OnFull::default(),
            slice: Duration::from_millis(10),
            max_concurrent_batches: None,
            capacity_interval: Duration::from_millis(100),
            horizon: Duration::from_secs(1),
            audit_interval: Duration::from_secs(10),
            max_operation_time: Duration::from_secs(60),
            on_timeout: OnTimeout::default(),
            pause_time: Duration::from_millis(500),
            adaptive: true,
            throttle_scope: ThrottleScope::default(),
            verbose_events: false,
            link_spans: false,
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
        for (field, duration) in [
            ("capacity-interval", self.capacity_interval),
            ("horizon", self.horizon),
            ("audit-interval", self.audit_interval),
            ("max-operation-time", self.max_operation_time),
            ("pause-time", self.pause_time),
        ] {
            not_zero(field, duration)?;
        }
        let largest = self.buffer.max(self.buffer_bytes.unwrap_or(self.buffer));
        if largest.get() > tokio::sync::Semaphore::MAX_PERMITS {
            let field = if largest == self.buffer { "buffer" } else { "buffer-bytes" };
            return Err(ConfigError::new(field, "is larger than any memory"));
        }
        Ok(())
    }
}

fn not_zero(field: &'static str, duration: Duration) -> Result<(), ConfigError> {
    if duration.is_zero() { Err(ConfigError::new(field, "must not be zero")) } else { Ok(()) }
}

/// What a caller gets when the buffer has no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnFull {
    /// `enqueue`, `submit` and `call` wait, in order.
    #[default]
    Wait,
    /// They answer `Full`, as `try_enqueue` and `try_submit` always do.
    Reject,
}

/// What happens to a handler that takes longer than `max_operation_time`. Its operations end as `TimedOut` either
/// way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnTimeout {
    /// Its future is dropped, and its slot is free.
    #[default]
    Cancel,
    /// It runs on, and keeps its slot until it really ends. What it returns is ignored.
    Detach,
}

/// Who starts no batch for a while after a throttled operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ThrottleScope {
    /// The watcher whose operation it was.
    #[default]
    Watcher,
    /// All watchers of the batcher.
    Batcher,
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
    /// At fixed times, so far apart. Nothing ticks while nothing waits.
    Every(#[serde(with = "human")] Duration),
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
    /// Largest sum of bytes in a batch. A single operation that is larger goes alone. Default: no limit.
    pub max_batch_bytes: Option<NonZeroU64>,
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
    /// How many operations of this watcher may wait at once. Default: as many as the buffer has places.
    pub max_queued: Option<NonZeroUsize>,
    /// How often an operation may be handed to the handler. Default: no limit.
    pub max_attempts: Option<NonZeroU32>,
    /// Beside other watchers, the part of the budget or of the slots that it gets while all have enough to do.
    /// Default 1.
    pub weight: NonZeroU32,
    /// How long a handler may take. Default: what the batcher says.
    #[serde(with = "human_option")]
    pub max_operation_time: Option<Duration>,
    /// What happens to a handler that takes longer. Default: what the batcher says.
    pub on_timeout: Option<OnTimeout>,
}

impl Default for WatcherConfig {
    fn default() -> Self {
        Self {
            name: "watcher".to_owned(),
            max_batch_size: None,
            max_batch_bytes: None,
            max_batch_cost: None,
            linger: Duration::from_millis(5),
            flush: Flush::Adaptive,
            max_concurrent_batches: None,
            max_queued: None,
            max_attempts: None,
            weight: NonZeroU32::MIN,
            max_operation_time: None,
            on_timeout: None,
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
        if let Flush::Every(interval) = self.flush {
            not_zero("flush", interval)?;
        }
        if let Some(time) = self.max_operation_time {
            not_zero("max-operation-time", time)?;
        }
        if self.max_queued.is_some_and(|places| places.get() > tokio::sync::Semaphore::MAX_PERMITS) {
            return Err(ConfigError::new("max-queued", "is larger than any memory"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_roundtrip_and_unknown_field() {
        let text = r#"{"buffer": 5, "slice": "20ms", "max-concurrent-batches": 3, "on-full": "reject"}"#;
        let config: BatcherConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.buffer.get(), config.slice), (5, Duration::from_millis(20)));
        assert_eq!(config.horizon, BatcherConfig::default().horizon);
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<BatcherConfig>(&again).unwrap(), config);

        let text = r#"{"flush": {"every": "100ms"}, "max-operation-time": "2s", "weight": 3}"#;
        let config: WatcherConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.flush, Flush::Every(Duration::from_millis(100)));
        assert_eq!(config.max_operation_time, Some(Duration::from_secs(2)));
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<WatcherConfig>(&again).unwrap(), config);

        let error = serde_json::from_str::<BatcherConfig>(r#"{"bufer": 5}"#).unwrap_err();
        assert!(error.to_string().contains("bufer"), "{error}");
        let error = serde_json::from_str::<WatcherConfig>(r#"{"max-batch-size": 0}"#).unwrap_err();
        assert!(error.to_string().contains("zero"), "{error}");
    }

    #[test]
    fn config_error_names_field() {
        let good = BatcherConfig::default;
        for (field, config) in [
            ("slice", BatcherConfig { slice: Duration::ZERO, ..good() }),
            ("slice", BatcherConfig { slice: Duration::from_secs(2), ..good() }),
            ("pause-time", BatcherConfig { pause_time: Duration::ZERO, ..good() }),
            ("max-operation-time", BatcherConfig { max_operation_time: Duration::ZERO, ..good() }),
            ("buffer-bytes", BatcherConfig { buffer_bytes: Some(NonZeroUsize::MAX), ..good() }),
        ] {
            assert_eq!(config.validate().unwrap_err().field(), field);
        }
        let config = WatcherConfig { linger: Duration::ZERO, ..WatcherConfig::default() };
        assert_eq!(config.validate().unwrap_err().to_string().split(':').next(), Some("linger"));
        let config = WatcherConfig { flush: Flush::Every(Duration::ZERO), ..WatcherConfig::default() };
        assert_eq!(config.validate().unwrap_err().field(), "flush");
    }
}
