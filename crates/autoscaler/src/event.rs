use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{FencingToken, LossCause, Observer};

use crate::{Decision, Exit, InstanceId, Load, Rates, ScalerErrorKind};

/// What a scaler tells; `Display` is its line in a log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ScalerEvent {
    /// A valid look. Many: one a tick.
    Observed {
        /// The look.
        load: Load,
        /// How fast messages come and go.
        rates: Rates,
    },
    /// A decision that changes the target, or is clipped in another way than the one before.
    Decided(Decision),
    /// The provisioner took an order.
    Ordered {
        /// The order before.
        from: u32,
        /// The order now.
        to: u32,
        /// The leader's token; `None` without a leader pool.
        fence: Option<FencingToken>,
    },
    /// The provisioner refused an order; it is given again.
    OrderFailed {
        /// The order.
        to: u32,
        /// Why.
        problem: String,
    },
    /// An instance was ordered.
    InstanceStarting {
        /// Which.
        id: InstanceId,
    },
    /// An instance could not be started; it is tried again.
    InstanceNotStarted {
        /// Which.
        id: InstanceId,
        /// Why.
        problem: String,
    },
    /// An instance works.
    InstanceReady {
        /// Which.
        id: InstanceId,
        /// From the order until it was ready.
        took: Duration,
    },
    /// An instance was not ready in time, and is replaced.
    InstanceNeverReady {
        /// Which.
        id: InstanceId,
    },
    /// An instance was told to finish what it has.
    InstanceDraining {
        /// Which.
        id: InstanceId,
    },
    /// An instance ended as it was told.
    InstanceStopped {
        /// Which.
        id: InstanceId,
        /// For how long it lived.
        lived: Duration,
    },
    /// An instance ended unasked, or did not end well.
    InstanceCrashed {
        /// Which.
        id: InstanceId,
        /// How.
        exit: Exit,
        /// For how long it lived.
        lived: Duration,
    },
    /// An instance was not done by the drain deadline, and was killed.
    InstanceKilled {
        /// Which.
        id: InstanceId,
    },
    /// The source says that there is work, while nobody works.
    Woken,
    /// Instances stay as they are, because there is no usable look.
    Holding {
        /// What is wrong.
        kind: ScalerErrorKind,
        /// The whole story.
        problem: String,
    },
    /// Looks are usable again.
    HoldEnded {
        /// How long it was held.
        held: Duration,
    },
    /// Another consumer has the name: what was learned is forgotten, and one window is waited for.
    ConsumerRecreated,
    /// The service rate became known.
    ServiceRateLearned {
        /// Attempts per second and instance.
        mu: f64,
    },
    /// This replica leads.
    LeaderGained {
        /// Its token.
        token: FencingToken,
    },
    /// This replica no longer leads.
    LeaderLost {
        /// The token it had.
        token: FencingToken,
        /// Why.
        cause: LossCause,
    },
}

impl fmt::Display for ScalerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observed { load, rates } => write!(
                f,
                "observed: {} pending, {} in hand, {:.1}/s",
                load.pending, load.ack_pending, rates.arrivals
            ),
            Self::Decided(decision) => write!(f, "decided: {decision}"),
            Self::Ordered { from, to, .. } => write!(f, "scaling: {from} -> {to}"),
            Self::OrderFailed { to, problem } => write!(f, "order of {to} failed: {problem}"),
            Self::InstanceStarting { id } => write!(f, "instance {id} starting"),
            Self::InstanceNotStarted { id, problem } => write!(f, "instance {id} not started: {problem}"),
            Self::InstanceReady { id, .. } => write!(f, "instance {id} started"),
            Self::InstanceNeverReady { id } => write!(f, "instance {id} was not ready in time"),
            Self::InstanceDraining { id } => write!(f, "instance {id} draining"),
            Self::InstanceStopped { id, .. } => write!(f, "instance {id} stopped"),
            Self::InstanceCrashed { id, exit, .. } => write!(f, "instance {id} crashed: {exit}"),
            Self::InstanceKilled { id } => write!(f, "instance {id} killed at its drain deadline"),
            Self::Woken => f.write_str("woken: there is work"),
            Self::Holding { problem, .. } => write!(f, "holding: {problem}"),
            Self::HoldEnded { held } => write!(f, "hold ended after {:.1}s", held.as_secs_f64()),
            Self::ConsumerRecreated => f.write_str("another consumer has the name: counting afresh"),
            Self::ServiceRateLearned { mu } => write!(f, "service rate learned: {mu:.1}/s an instance"),
            Self::LeaderGained { token } => write!(f, "leader with token {token}"),
            Self::LeaderLost { token, cause } => write!(f, "no longer leader with token {token}: {cause}"),
        }
    }
}

/// Where events go: the log, and the scaler's observer.
#[derive(Clone, Debug)]
pub struct Events {
    scaler: Arc<str>,
    observer: Arc<dyn Observer<ScalerEvent>>,
}

impl Events {
    pub(crate) fn new(scaler: Arc<str>, observer: Arc<dyn Observer<ScalerEvent>>) -> Self {
        Self { scaler, observer }
    }

    /// The scaler's name.
    pub fn scaler(&self) -> &str {
        &self.scaler
    }

    /// Tells an event: for provisioners, which were given this when the scaler started.
    pub fn emit(&self, event: ScalerEvent) {
        let scaler = &*self.scaler;
        match &event {
            ScalerEvent::Observed { .. } => tracing::trace!(scaler, "{event}"),
            ScalerEvent::Decided(decision) if decision.from == decision.to => {
                tracing::debug!(scaler, terms = %decision.terms, "{event}");
            }
            ScalerEvent::Decided(decision) => tracing::info!(scaler, terms = %decision.terms, "{event}"),
            ScalerEvent::OrderFailed { .. }
            | ScalerEvent::InstanceNotStarted { .. }
            | ScalerEvent::InstanceNeverReady { .. }
            | ScalerEvent::InstanceCrashed { .. }
            | ScalerEvent::InstanceKilled { .. }
            | ScalerEvent::Holding { .. }
            | ScalerEvent::LeaderLost { .. } => tracing::warn!(scaler, "{event}"),
            ScalerEvent::InstanceStarting { .. }
            | ScalerEvent::InstanceDraining { .. }
            | ScalerEvent::Woken => tracing::debug!(scaler, "{event}"),
            _ => tracing::info!(scaler, "{event}"),
        }
        self.observer.observe(&event);
    }
}
