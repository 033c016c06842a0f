use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use sluicegate_core::{Lease, LeasePool, LossCause, Random};
use tokio::time::{sleep, sleep_until};

use super::super::Driver;
use crate::BatcherEvent;

/// Longest pause between two attempts at a pool that fails.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(2);

pub(super) fn backoff(first: Duration) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(first.max(Duration::from_millis(1)))
        .with_max_delay(LONGEST_DELAY)
        .without_max_times()
}

/// What became of a lease.
pub(super) enum Fate {
    Renewed(Lease),
    /// It could not be renewed as it is gone; the pool may explain that yet.
    Refused,
    Ended(LossCause),
}

/// Renews a lease once, at a third of its time to live, unless it ends before.
pub(super) async fn keep(
    pool: &dyn LeasePool,
    lease: Lease,
    ttl: Duration,
    renewable: bool,
    driver: &Driver,
    mut random: Random,
) -> Fate {
    let renew = async {
        if !renewable {
            return std::future::pending().await;
        }
        sleep(random.jitter(ttl / 3, 0.1)).await;
        let mut delays = backoff(ttl / 30).build();
        loop {
            match pool.renew(&lease).await {
                Ok(renewed) => return Fate::Renewed(renewed),
                Err(error) if error.is_lost() => return Fate::Refused,
                Err(error) => {
                    driver.emit(&BatcherEvent::PoolError { kind: error.kind(), doing: "renew" });
                    sleep(delays.next().unwrap_or(LONGEST_DELAY)).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        cause = pool.lost(&lease) => Fate::Ended(cause),
        fate = renew => fate,
        () = sleep_until(lease.deadline()) => Fate::Ended(LossCause::Expired),
    }
}

/// Gives a lease back, trying until it has expired.
pub(super) async fn release(pool: &dyn LeasePool, lease: &Lease, driver: &Driver) {
    let mut delays = backoff(Duration::from_millis(50)).build();
    while !lease.remaining().is_zero() {
        match pool.release(lease).await {
            Ok(_) => {
                driver.emit(&BatcherEvent::LeaseReleased { lease: lease.id() });
                return;
            }
            Err(error) => {
                driver.emit(&BatcherEvent::PoolError { kind: error.kind(), doing: "release" });
                sleep(delays.next().unwrap_or(LONGEST_DELAY).min(lease.remaining())).await;
            }
        }
    }
}
