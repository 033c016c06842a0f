//! Servers, connections and names for the tests.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sluicegate_governor::GovernorConfig;
use sluicegate_nats::{Connection, Settings, connect};

/// A name that no other test of this process has.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn connection(url: &str) -> Connection {
    let settings = Settings::from_url(url).expect("a test's url is one");
    connect(&settings).await.expect("the test's server answers")
}

pub(crate) fn slots(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("tests ask for at least one slot")
}

pub(crate) fn config(name: &str, limit: u32, ttl: Duration) -> GovernorConfig {
    GovernorConfig::try_new(name, slots(limit), ttl).expect("tests use proper names")
}
