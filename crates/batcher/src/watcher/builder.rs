use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use super::Watcher;
use crate::engine::{Inbox, Particulars, TypedLane};
use crate::shared::{Books, Shared};
use crate::{ConfigError, DeadLetterSink, Flush, Handler, OnTimeout, Retry, WatcherConfig};

/// Makes a [`Watcher`].
#[must_use = "a watcher exists once build() is called"]
pub struct WatcherBuilder<T, R, E> {
    shared: Arc<Shared>,
    handler: Arc<dyn Handler<T, R, E>>,
    config: WatcherConfig,
    retry: Option<Retry<E>>,
    dead_letters: Option<Arc<dyn DeadLetterSink<T, E>>>,
    problem: Option<ConfigError>,
}

impl<T, R, E> fmt::Debug for WatcherBuilder<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<T, R, E> WatcherBuilder<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    pub(crate) fn new(shared: Arc<Shared>, handler: Arc<dyn Handler<T, R, E>>) -> Self {
        Self {
            shared,
            handler,
            config: WatcherConfig::default(),
            retry: None,
            dead_letters: None,
            problem: None,
        }
    }

    /// All options at once.
    pub fn config(mut self, config: WatcherConfig) -> Self {
        self.config = config;
        self
    }

    /// See [`WatcherConfig::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// See [`WatcherConfig::max_batch_size`].
    pub fn max_batch_size(mut self, operations: usize) -> Self {
        self.config.max_batch_size = NonZeroUsize::new(operations);
        self.check("max-batch-size", operations == 0)
    }

    /// See [`WatcherConfig::max_batch_bytes`].
    pub fn max_batch_bytes(mut self, bytes: u64) -> Self {
        self.config.max_batch_bytes = NonZeroU64::new(bytes);
        self.check("max-batch-bytes", bytes == 0)
    }

    /// See [`WatcherConfig::max_batch_cost`].
    pub fn max_batch_cost(mut self, units: u64) -> Self {
        self.config.max_batch_cost = NonZeroU64::new(units);
        self.check("max-batch-cost", units == 0)
    }

    /// See [`WatcherConfig::linger`].
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// See [`WatcherConfig::flush`].
    pub fn flush(mut self, flush: Flush) -> Self {
        self.config.flush = flush;
        self
    }

    /// See [`WatcherConfig::max_concurrent_batches`].
    pub fn max_concurrent_batches(mut self, batches: usize) -> Self {
        self.config.max_concurrent_batches = NonZeroUsize::new(batches);
        self.check("max-concurrent-batches", batches == 0)
    }

    /// See [`WatcherConfig::max_queued`].
    pub fn max_queued(mut self, operations: usize) -> Self {
        self.config.max_queued = NonZeroUsize::new(operations);
        self.check("max-queued", operations == 0)
    }

    /// See [`WatcherConfig::max_attempts`].
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.max_attempts = NonZeroU32::new(attempts);
        self.check("max-attempts", attempts == 0)
    }

    /// See [`WatcherConfig::weight`].
    pub fn weight(mut self, weight: u32) -> Self {
        match NonZeroU32::new(weight) {
            Some(weight) => self.config.weight = weight,
            None => return self.check("weight", true),
        }
        self
    }

    /// See [`WatcherConfig::max_operation_time`].
    pub fn max_operation_time(mut self, time: Duration) -> Self {
        self.config.max_operation_time = Some(time);
        self
    }

    /// See [`WatcherConfig::on_timeout`].
    pub fn on_timeout(mut self, on_timeout: OnTimeout) -> Self {
        self.config.on_timeout = Some(on_timeout);
        self
    }

    /// Which failed operations are tried again. Default: none.
    pub fn retry(mut self, retry: Retry<E>) -> Self {
        let attempts = retry.attempts();
        self.retry = Some(retry);
        match attempts {
            Some(attempts) => self.max_attempts(attempts),
            None => self,
        }
    }

    /// Where operations go that did not end well, and that no ticket waits for. Default: they are only counted.
    pub fn dead_letter(mut self, sink: impl DeadLetterSink<T, E> + 'static) -> Self {
        self.dead_letters = Some(Arc::new(sink));
        self
    }

    /// The watcher. On a batcher that has stopped it refuses everything.
    ///
    /// # Errors
    /// Names the option that cannot be.
    pub fn build(self) -> Result<Watcher<T, R, E>, ConfigError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        self.config.validate()?;
        let particulars = Particulars { retry: self.retry, dead_letters: self.dead_letters };
        let inbox = Inbox::new(self.config, particulars, &self.shared);
        let lane = TypedLane::new(Arc::clone(&inbox), self.handler);
        let books: Arc<dyn Books> = inbox.clone();
        self.shared.add_lane(Box::new(lane), books);
        Ok(Watcher { inbox })
    }

    fn check(mut self, field: &'static str, zero: bool) -> Self {
        if zero {
            self.problem.get_or_insert(ConfigError::new(field, "must not be zero"));
        }
        self
    }
}
