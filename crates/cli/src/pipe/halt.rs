//! What ends everything, wherever it was found.

use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::error::CliError;

/// The first reason why nothing more can be delivered.
#[derive(Debug, Default)]
pub(super) struct Halt {
    token: CancellationToken,
    cause: Mutex<Option<Failure>>,
}

impl Halt {
    /// Ends everything; the first one counts.
    pub(super) fn stop(&self, cause: impl Into<Failure>) {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause.into());
        self.token.cancel();
    }

    /// Completes when everything is to end.
    pub(super) async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// Nobody reads stdout any more, and nobody wants to hear of it.
    pub(super) fn is_silent(&self) -> bool {
        matches!(*self.cause.lock().unwrap_or_else(PoisonError::into_inner), Some(Failure::BrokenPipe))
    }

    pub(super) fn take(&self) -> Option<Failure> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why an item was not delivered, this time.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Trouble {
    text: String,
    again: bool,
}

impl Trouble {
    /// It may work another time.
    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), again: true }
    }

    /// It never will.
    pub(super) fn lasting(text: impl Into<String>) -> Self {
        Self { text: text.into(), again: false }
    }

    /// It never will, for any item.
    pub(super) fn fatal(halt: &Halt, error: CliError) -> Self {
        let trouble = Self::lasting(error.to_string());
        halt.stop(error);
        trouble
    }

    pub(super) fn is_passing(&self) -> bool {
        self.again
    }
}
