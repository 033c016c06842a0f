use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Holder, Ignore, LeasePool, Observer};

use crate::scaler::{Autoscaler, Parts};
use crate::{Config, Events, LoadSource, Plan, Policy, Provisioner, ScalerError, ScalerEvent};

/// Makes an [`Autoscaler`].
#[derive(Debug)]
pub struct AutoscalerBuilder {
    config: Config,
    load: Arc<dyn LoadSource>,
    policy: Box<dyn Policy>,
    provisioner: Option<Arc<dyn Provisioner>>,
    observer: Arc<dyn Observer<ScalerEvent>>,
    pool: Option<Arc<dyn LeasePool>>,
    holder: Option<Holder>,
}

impl AutoscalerBuilder {
    pub(crate) fn new(load: impl LoadSource) -> Self {
        Self {
            config: Config::default(),
            load: Arc::new(load),
            policy: Box::new(Plan::default()),
            provisioner: None,
            observer: Arc::new(Ignore),
            pool: None,
            holder: None,
        }
    }

    /// All settings at once; those set one by one afterwards change them.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Who decides. Default: [`Plan`].
    #[must_use]
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.policy = Box::new(policy);
        self
    }

    /// Who starts and stops instances. Must be set.
    #[must_use]
    pub fn provisioner(mut self, provisioner: impl Provisioner) -> Self {
        self.provisioner = Some(Arc::new(provisioner));
        self
    }

    /// Between how many instances to choose. The upper limit must be set.
    #[must_use]
    pub fn limits(mut self, limits: RangeInclusive<u32>) -> Self {
        (self.config.min, self.config.max) = limits.into_inner();
        self
    }

    /// See [`Config::service_rate`].
    #[must_use]
    pub fn service_rate(mut self, per_second: f64) -> Self {
        self.config.service_rate = Some(per_second);
        self
    }

    /// See [`Config::slots`].
    #[must_use]
    pub fn slots(mut self, slots: NonZeroU32) -> Self {
        self.config.slots = slots;
        self
    }

    /// See [`Config::cold_start`].
    #[must_use]
    pub fn cold_start(mut self, cold_start: Duration) -> Self {
        self.config.cold_start = cold_start;
        self
    }

    /// See [`Config::hold`].
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> Self {
        self.config.hold = Some(hold);
        self
    }

    /// See [`Config::zero_after`].
    #[must_use]
    pub fn zero_after(mut self, zero_after: Duration) -> Self {
        self.config.zero_after = Some(zero_after);
        self
    }

    /// See [`Config::tick`].
    #[must_use]
    pub fn tick(mut self, tick: Duration) -> Self {
        self.config.tick = tick;
        self
    }

    /// See [`Config::idle_tick`].
    #[must_use]
    pub fn idle_tick(mut self, idle_tick: Duration) -> Self {
        self.config.idle_tick = Some(idle_tick);
        self
    }

    /// Acts only while it holds the only slot of that pool, under that name. Other replicas observe.
    #[must_use]
    pub fn leader(mut self, pool: Arc<dyn LeasePool>, holder: Holder) -> Self {
        self.pool = Some(pool);
        self.holder = Some(holder);
        self
    }

    /// Who is told of events.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer<ScalerEvent>) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// The scaler, which does nothing until it is started.
    ///
    /// # Errors
    /// `Configuration`, naming the setting and the problem.
    pub fn build(self) -> Result<Autoscaler, ScalerError> {
        self.config.validate()?;
        let Some(provisioner) = self.provisioner else {
            return Err(ScalerError::configuration("provisioner", "is missing: say who starts instances"));
        };
        let events = Events::new(self.load.name().into(), self.observer);
        Ok(Autoscaler {
            parts: Parts { config: self.config, load: self.load, provisioner, events },
            policy: self.policy,
            leader: self.pool.zip(self.holder),
        })
    }
}
