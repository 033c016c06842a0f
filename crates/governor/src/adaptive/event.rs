use std::num::NonZeroU32;
use std::sync::Arc;

use sluicegate_core::{FencingToken, LossCause, Observer};

use super::{Reason, Window};

/// What an [`AdaptiveLimit`](crate::AdaptiveLimit) does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdaptiveEvent {
    /// This process is the one that resizes now.
    LeaderGained {
        /// Of the lease that makes it so.
        token: FencingToken,
    },
    /// It no longer is, against its will.
    LeaderLost {
        /// Of the lease that made it so.
        token: FencingToken,
        /// Why.
        cause: LossCause,
    },
    /// A window with calls has ended. The limit was changed if the two differ.
    Decided {
        /// Before.
        from: NonZeroU32,
        /// After.
        to: NonZeroU32,
        /// Why.
        reason: Reason,
        /// What the window showed.
        window: Window,
    },
    /// The limit could not be read or written, or leadership not be asked for; this is tried again.
    Failed {
        /// The error, as text.
        error: String,
    },
}

/// The way from inside the loop to the observer.
#[derive(Clone, Debug)]
pub(super) struct Events(pub(super) Arc<dyn Observer<AdaptiveEvent>>);

impl Events {
    pub(super) fn emit(&self, event: &AdaptiveEvent) {
        match event {
            AdaptiveEvent::LeaderGained { token } => tracing::info!(%token, "adapting the limit"),
            AdaptiveEvent::LeaderLost { token, cause } => {
                tracing::warn!(%token, %cause, "no longer adapting the limit");
            }
            AdaptiveEvent::Decided { from, to, reason, window } if from != to => {
                tracing::debug!(from, to, %reason, ?window, "limit adapted");
            }
            AdaptiveEvent::Decided { to, reason, window, .. } => {
                tracing::trace!(limit = to, %reason, ?window, "limit kept");
            }
            AdaptiveEvent::Failed { error } => tracing::warn!(error, "limit not adapted"),
        }
        self.0.observe(event);
    }
}
