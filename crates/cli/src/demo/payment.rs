//! The expensive step: a payment service that three callers at once may use.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_core::FencingToken;
use tokio::time::sleep;

/// Counts its callers itself: what a governor promises is measured at the resource, not at the governor.
#[derive(Debug, Default)]
pub(crate) struct Payment {
    inside: AtomicU32,
    most: AtomicU32,
    calls: AtomicU64,
    newest: AtomicU64,
}

impl Payment {
    /// One call, which takes that long.
    pub(crate) async fn charge(&self, token: FencingToken, takes: Duration) {
        self.newest.fetch_max(token.0, Ordering::AcqRel);
        let _inside = Inside::enter(self);
        sleep(takes).await;
        self.calls.fetch_add(1, Ordering::AcqRel);
    }

    /// The most callers there ever were at one time.
    pub(crate) fn most(&self) -> u64 {
        u64::from(self.most.load(Ordering::Acquire))
    }

    /// Calls completed.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Acquire)
    }
}

/// Leaves also when the caller is aborted in the middle.
struct Inside<'a>(&'a Payment);

impl<'a> Inside<'a> {
    fn enter(payment: &'a Payment) -> Self {
        let inside = payment.inside.fetch_add(1, Ordering::AcqRel) + 1;
        payment.most.fetch_max(inside, Ordering::AcqRel);
        Self(payment)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}
