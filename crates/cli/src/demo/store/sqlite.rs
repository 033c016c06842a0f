use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::Connection;

use super::{Meter, Order, Store, StoreError};

/// Rows in an SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
    meter: Meter,
}

impl SqliteStore {
    /// A new, empty table of orders in that file.
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(failed)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = NORMAL;
                 CREATE TABLE orders (number INTEGER PRIMARY KEY, units INTEGER NOT NULL);",
            )
            .map_err(failed)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), meter: Meter::default() })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.map_err(|error| StoreError(error.to_string()))?.map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    StoreError(error.to_string())
}

#[async_trait]
impl Store for SqliteStore {
    async fn write(&self, orders: Vec<Order>) -> Result<(), StoreError> {
        self.meter.note(&orders);
        self.with(move |connection| {
            let transaction = connection.transaction()?;
            {
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO orders (number, units) VALUES (?1, ?2) ON CONFLICT (number) DO NOTHING",
                )?;
                for order in orders {
                    insert.execute((order.number as i64, order.units))?;
                }
            }
            transaction.commit()
        })
        .await
    }

    async fn rows(&self) -> Result<u64, StoreError> {
        let rows: i64 = self
            .with(|connection| connection.query_row("SELECT count(*) FROM orders", (), |row| row.get(0)))
            .await?;
        Ok(rows.unsigned_abs())
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_written_twice_is_one_row_and_two_payments() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(&dir.path().join("orders.sqlite")).unwrap();
        let order = |number| Order { number, units: 1 };
        store.write(vec![order(1), order(2)]).await.unwrap();
        store.write(vec![order(2), order(3)]).await.unwrap();
        assert_eq!(store.rows().await.unwrap(), 3);
        assert_eq!(store.meter().worst_second(), 4);
    }
}
