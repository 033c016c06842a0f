use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Ignore, Observer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::event::Events;
use crate::shared::Shared;
use crate::{
    Batcher, BatcherConfig, BatcherEvent, Capacity, ConfigError, DrainReport, Engine, OnFull, OnTimeout,
    Rate, ThrottleScope,
};

/// Makes a [`Batcher`] and its [`Engine`].
#[must_use = "a batcher exists once build() or start() is called"]
pub struct BatcherBuilder {
    config: BatcherConfig,
    capacity: Option<Box<dyn Capacity>>,
    observer: Arc<dyn Observer<BatcherEvent>>,
    problem: Option<ConfigError>,
}

impl fmt::Debug for BatcherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatcherBuilder")
            .field("config", &self.config)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl BatcherBuilder {
    pub(crate) fn new() -> Self {
        Self { config: BatcherConfig::default(), capacity: None, observer: Arc::new(Ignore), problem: None }
    }

    /// All plain options at once.
    pub fn config(mut self, config: BatcherConfig) -> Self {
        self.config = config;
        self
    }

    /// Where the rate comes from. Default: no limit.
    pub fn capacity(mut self, capacity: impl Capacity) -> Self {
        self.capacity = Some(Box::new(capacity));
        self
    }

    /// See [`BatcherConfig::buffer`].
    pub fn buffer(mut self, operations: usize) -> Self {
        match NonZeroUsize::new(operations) {
            Some(operations) => self.config.buffer = operations,
            None => self.refuse("buffer"),
        }
        self
    }

    /// See [`BatcherConfig::buffer_bytes`].
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        match NonZeroUsize::new(bytes) {
            Some(bytes) => self.config.buffer_bytes = Some(bytes),
            None => self.refuse("buffer-bytes"),
        }
        self
    }

    /// See [`BatcherConfig::on_full`].
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.config.on_full = on_full;
        self
    }

    /// See [`BatcherConfig::slice`].
    pub fn slice(mut self, slice: Duration) -> Self {
        self.config.slice = slice;
        self
    }

    /// See [`BatcherConfig::max_concurrent_batches`].
    pub fn max_concurrent_batches(mut self, batches: usize) -> Self {
        match NonZeroUsize::new(batches) {
            Some(batches) => self.config.max_concurrent_batches = Some(batches),
            None => self.refuse("max-concurrent-batches"),
        }
        self
    }

    /// See [`BatcherConfig::capacity_interval`].
    pub fn capacity_interval(mut self, interval: Duration) -> Self {
        self.config.capacity_interval = interval;
        self
    }

    /// See [`BatcherConfig::horizon`].
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.config.horizon = horizon;
        self
    }

    /// See [`BatcherConfig::audit_interval`].
    pub fn audit_interval(mut self, interval: Duration) -> Self {
        self.config.audit_interval = interval;
        self
    }

    /// See [`BatcherConfig::max_operation_time`].
    pub fn max_operation_time(mut self, time: Duration) -> Self {
        self.config.max_operation_time = time;
        self
    }

    /// See [`BatcherConfig::on_timeout`].
    pub fn on_timeout(mut self, on_timeout: OnTimeout) -> Self {
        self.config.on_timeout = on_timeout;
        self
    }

    /// See [`BatcherConfig::pause_time`].
    pub fn pause_time(mut self, time: Duration) -> Self {
        self.config.pause_time = time;
        self
    }

    /// See [`BatcherConfig::adaptive`].
    pub fn adaptive(mut self, adaptive: bool) -> Self {
        self.config.adaptive = adaptive;
        self
    }

    /// See [`BatcherConfig::throttle_scope`].
    pub fn throttle_scope(mut self, scope: ThrottleScope) -> Self {
        self.config.throttle_scope = scope;
        self
    }

    /// See [`BatcherConfig::verbose_events`].
    pub fn verbose_events(mut self, verbose: bool) -> Self {
        self.config.verbose_events = verbose;
        self
    }

    /// See [`BatcherConfig::link_spans`].
    pub fn link_spans(mut self, link: bool) -> Self {
        self.config.link_spans = link;
        self
    }

    /// Who is told what happens. Default: nobody.
    pub fn observer(mut self, observer: impl Observer<BatcherEvent>) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// The handle, and the engine that somebody has to run.
    ///
    /// # Errors
    /// Names the option that cannot be.
    pub fn build(self) -> Result<(Batcher, Engine), ConfigError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        self.config.validate()?;
        let max = self.capacity.as_ref().map(|capacity| capacity.max());
        if max == Some(Rate::ZERO) {
            return Err(ConfigError::new(
                "capacity",
                "can never be more than zero: nothing would ever leave",
            ));
        }
        let shared = Shared::new(self.config, max, Events::new(self.observer));
        let engine = Engine::new(Arc::clone(&shared), self.capacity);
        Ok((Batcher::new(shared), engine))
    }

    /// Builds, and runs the engine in a task of its own.
    ///
    /// # Errors
    /// Names the option that cannot be.
    pub fn start(self, token: CancellationToken) -> Result<(Batcher, JoinHandle<DrainReport>), ConfigError> {
        let (batcher, engine) = self.build()?;
        Ok((batcher, tokio::spawn(engine.run(token))))
    }

    fn refuse(&mut self, field: &'static str) {
        self.problem.get_or_insert(ConfigError::new(field, "must not be zero"));
    }
}
