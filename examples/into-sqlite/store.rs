//! The handler: a batch becomes one transaction.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};
use sluicegate_batcher::{Batch, BatchContext, Handler, Verdicts};

/// What is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) text: String,
}

/// Why a row was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("row {0} is there already")]
    Duplicate(i64),
    #[error("somebody else holds the database")]
    Busy,
    #[error("SQLite")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the thread that writes has ended")]
    Stopped,
}

/// One connection: SQLite has one writer at a time in any case.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

impl Store {
    pub(crate) fn open(file: &Path) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection
            .execute_batch("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")?;
        // Who waits, and for how long, is the batcher's to say.
        connection.busy_timeout(Duration::ZERO)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    pub(crate) fn count(&self) -> Result<i64, rusqlite::Error> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
    }

    /// All of them in one transaction. A row that is refused is refused alone: SQLite undoes only its statement.
    fn write(&self, rows: &[Row]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(rows.len());
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO rows (id, text) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
            for row in rows {
                outcomes.push(match insert.execute(params![row.id, row.text]) {
                    Ok(0) => Err(StoreError::Duplicate(row.id)),
                    Ok(_) => Ok(()),
                    Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                        Err(error.into())
                    }
                    Err(error) => return Err(error.into()),
                });
            }
        }
        transaction.commit()?;
        Ok(outcomes)
    }
}

#[async_trait]
impl Handler<Row, (), StoreError> for Store {
    async fn handle(&self, batch: &mut Batch<Row>, _cx: &BatchContext) -> Verdicts<(), StoreError> {
        // Copies: a row that is taken out of the batch could not wait for another attempt.
        let (store, rows): (_, Vec<Row>) = (self.clone(), batch.iter().cloned().collect());
        match tokio::task::spawn_blocking(move || store.write(&rows)).await {
            Ok(Ok(outcomes)) => Verdicts::from(outcomes),
            Ok(Err(StoreError::Sqlite(error))) if is_busy(&error) => {
                Verdicts::throttled(None, StoreError::Busy)
            }
            Ok(Err(error)) => Verdicts::failed(error),
            Err(_) => Verdicts::failed(StoreError::Stopped),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
