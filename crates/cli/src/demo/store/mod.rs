//! Where the orders end: a store that counts what it sees.

mod memory;
#[cfg(feature = "demo")]
mod sqlite;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};

use super::check::worst_window;

pub(crate) use self::memory::MemoryStore;
#[cfg(feature = "demo")]
pub(crate) use self::sqlite::SqliteStore;

/// One order; its number is its identity, so that writing it twice leaves one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) units: u32,
}

/// A store could not write.
#[derive(Debug, thiserror::Error)]
#[error("the store could not write: {0}")]
pub(crate) struct StoreError(pub(crate) String);

/// A datastore with a price: every order written costs its units, also one that is there already.
#[async_trait]
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Writes orders; one that is there already stays as it is.
    async fn write(&self, orders: Vec<Order>) -> Result<(), StoreError>;

    /// Rows, one for each order.
    async fn rows(&self) -> Result<u64, StoreError>;

    /// What arrived when.
    fn meter(&self) -> &Meter;
}

/// Notes units as they arrive at the store's door.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Vec<(Instant, u64)>>);

impl Meter {
    fn note(&self, orders: &[Order]) {
        let units = orders.iter().map(|order| u64::from(order.units)).sum();
        let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is taken under the lock, so that arrivals stand in the order of time.
        arrivals.push((Instant::now(), units));
    }

    /// The most units within any second.
    pub(crate) fn worst_second(&self) -> u64 {
        let arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        worst_window(&arrivals, Duration::from_secs(1))
    }

    /// All units that arrived.
    pub(crate) fn units(&self) -> u64 {
        let arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().map(|(_, units)| units).sum()
    }

    /// Batches that arrived.
    pub(crate) fn batches(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
}
