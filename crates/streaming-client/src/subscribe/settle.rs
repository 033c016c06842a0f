use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::SubscriptionCore;
use crate::backend::Route;
use crate::{ErrorKind, StreamError};

/// How a delivery ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Settle<'a> {
    Ack,
    Confirmed,
    Nak(Duration),
    Term(&'a str),
}

/// The right to settle one delivery, once. Shared by the message and the loop that runs its handler.
pub(crate) struct Settlement {
    core: Arc<SubscriptionCore>,
    route: Route,
    sequence: u64,
    settled: AtomicBool,
}

/// Holds the right while the word is on its way, and gives it back if that fails or is dropped.
struct Claim<'a> {
    settlement: &'a Settlement,
    kept: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.settlement.settled.store(false, Ordering::Release);
        }
    }
}

impl Settlement {
    pub(crate) fn new(core: Arc<SubscriptionCore>, route: Route, sequence: u64) -> Arc<Self> {
        Arc::new(Self { core, route, sequence, settled: AtomicBool::new(false) })
    }

    pub(super) fn core(&self) -> &Arc<SubscriptionCore> {
        &self.core
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    pub(crate) async fn settle(&self, how: Settle<'_>) -> Result<(), StreamError> {
        if self.settled.swap(true, Ordering::AcqRel) {
            return Err(self.already());
        }
        let mut claim = Claim { settlement: self, kept: false };
        self.route.settle(how, self.core.ack_wait()).await?;
        claim.kept = true;
        self.core.settled(&how);
        self.core.hand().give();
        Ok(())
    }

    pub(crate) async fn in_progress(&self) -> Result<(), StreamError> {
        if self.is_settled() {
            return Err(self.already());
        }
        self.route.in_progress(self.core.ack_wait()).await
    }

    fn already(&self) -> StreamError {
        let context = format!("message {} of channel {}", self.sequence, self.core.channel());
        StreamError::new(ErrorKind::AlreadySettled, context)
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if !*self.settled.get_mut() {
            self.core.hand().give();
        }
    }
}
