//! How long to wait before the next try.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

pub(crate) const LONGEST: Duration = Duration::from_secs(2);

/// 50 ms, doubling to 2 s, without end: nothing may stay unresolved because we grew tired.
pub(crate) fn resolving() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST)
        .without_max_times()
        .build()
}
