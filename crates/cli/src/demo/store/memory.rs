use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Meter, Order, Store, StoreError};

/// Rows in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    rows: Mutex<BTreeMap<u64, Order>>,
    meter: Meter,
}

#[async_trait]
impl Store for MemoryStore {
    async fn write(&self, orders: Vec<Order>) -> Result<(), StoreError> {
        self.meter.note(&orders);
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for order in orders {
            rows.entry(order.number).or_insert(order);
        }
        Ok(())
    }

    async fn rows(&self) -> Result<u64, StoreError> {
        Ok(self.rows.lock().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}
