//! The rate that is shared with other processes.

use std::sync::Arc;

use sluicegate_batcher::SharedCapacity;
use sluicegate_core::{Holder, LeaseError, LeaseErrorKind};
use sluicegate_governor::CapacityPool;
use sluicegate_nats::{ConnectArgs, Connection};

use crate::capacity;
use crate::cli::OutputArgs;
use crate::error::CliError;
use crate::session;

/// Parts of the capacity of that name, and the connection over which they are leased.
pub(super) async fn bind(
    name: &str,
    connect: &ConnectArgs,
    output: &OutputArgs,
) -> Result<(SharedCapacity, Connection), CliError> {
    let failed = |error: LeaseError| capacity::refused("pipe", name, &error);
    let connection = session::connect(connect, output, "pipe-capacity").await?;
    let CapacityPool { pool, factor, fresh, .. } =
        CapacityPool::bind(&connection, name).await.map_err(failed)?;
    let holder = format!("pipe@{} {}", session::host(), std::process::id());
    let holder = Holder::try_new(&holder)
        .map_err(|error| failed(LeaseError::new(LeaseErrorKind::Invalid, error.to_string())));
    let shared = SharedCapacity::builder(Arc::new(pool), holder?)
        .factor(factor)
        .fresh(fresh)
        .build()
        .await
        .map_err(failed)?;
    Ok((shared, connection))
}
