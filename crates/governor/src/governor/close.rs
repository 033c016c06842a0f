use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::{Instant, timeout, timeout_at};

use super::Governor;

/// How long those whose permits were ended have to let go of them.
const LAST_CALL: Duration = Duration::from_secs(1);

/// What a governor did with its permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Leases given back, ever, and confirmed.
    pub released: u64,
    /// Leases left to their time to live on purpose.
    pub kept: u64,
    /// Permits still out, and releases not confirmed: these slots return with their time to live at the latest.
    pub abandoned: u64,
}

impl Governor {
    /// Ends the governor: who waits gets `Closed`, permits that are out are waited for until `deadline` is over and
    /// then lost, and releases in the background are confirmed. The pool stays as it is: close it afterwards.
    ///
    /// # Cancel safety
    /// Safe: the governor stays closed; call it again to wait on.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        let inner = &self.0;
        let until = later(Instant::now(), deadline);
        inner.closing.cancel();
        inner.permits.close();
        inner.tasks.close();
        let finished = async {
            inner.permits.wait().await;
            inner.tasks.wait().await;
        };
        if timeout_at(until, finished).await.is_err() {
            inner.ended.cancel();
            let _ = timeout(LAST_CALL, async {
                inner.permits.wait().await;
                inner.tasks.wait().await;
            })
            .await;
        }
        let left = inner.permits.len().max(inner.tasks.len());
        CloseReport {
            released: inner.released.load(Ordering::Relaxed),
            kept: inner.kept.load(Ordering::Relaxed),
            abandoned: left as u64,
        }
    }
}
