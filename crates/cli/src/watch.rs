//! What changes in a pool, as it happens.

use std::time::{Duration, SystemTime};

use sluicegate_core::{HeldLease, LeaseError};
use sluicegate_governor::{Change, GovernorView, GovernorWatch};
use time::OffsetDateTime;

use crate::Failure;
use crate::error::CliError;
use crate::output::{self, timestamp};

/// How often `--watch` looks.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// Prints each change as `render` says, with the time at which it was seen, until it is interrupted.
pub(crate) async fn follow(
    mut watch: GovernorWatch,
    refused: impl Fn(&GovernorView, &LeaseError) -> CliError,
    render: impl Fn(&Change, String, &GovernorView) -> Result<String, Failure>,
) -> Result<(), Failure> {
    loop {
        let changes = match watch.changes().await {
            Ok(changes) => changes,
            // What passes is waited for: whoever watches wants to see the end of it.
            Err(error) if error.is_transient() => continue,
            Err(error) => return Err(refused(watch.view(), &error).into()),
        };
        let view = watch.view();
        let now = view.now.map_or_else(OffsetDateTime::now_utc, |now: SystemTime| now.into());
        for change in changes {
            output::print(&render(&change, timestamp(now), view)?)?;
        }
    }
}

/// The word for a change, and the lease that it is of.
pub(crate) fn what(change: &Change) -> (&'static str, Option<&HeldLease>) {
    match change {
        Change::Acquired(lease) => ("acquired", Some(lease)),
        Change::Released(lease) => ("released", Some(lease)),
        Change::Expired(lease) => ("expired", Some(lease)),
        Change::Evicted(lease) => ("evicted", Some(lease)),
        _ => ("resized", None),
    }
}
