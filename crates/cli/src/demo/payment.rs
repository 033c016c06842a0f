//! The expensive step: a payment service that three callers at once may use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::gauge::Gauge;

/// Counts its callers itself: what a governor promises is measured at the resource, not at the governor.
#[derive(Debug, Default)]
pub(crate) struct Payment {
    callers: Gauge,
    calls: AtomicU64,
}

impl Payment {
    /// One call, which takes that long.
    pub(crate) async fn charge(&self, takes: Duration) {
        let _inside = self.callers.enter();
        sleep(takes).await;
        self.calls.fetch_add(1, Ordering::AcqRel);
    }

    /// The most callers there ever were at one time.
    pub(crate) fn most(&self) -> u64 {
        self.callers.most()
    }

    /// Calls completed.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Acquire)
    }
}
