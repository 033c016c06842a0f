//! One connection with its statements.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use crate::error::StoreError;
use crate::store::Payment;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS payments (
        id bigint PRIMARY KEY,
        account integer NOT NULL,
        cents bigint NOT NULL CHECK (cents > 0),
        units integer NOT NULL,
        run bigint NOT NULL,
        operation bigint NOT NULL,
        written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        UNIQUE (run, operation)
    )";

/// In the order of ids, so that two batches never wait for each other.
const WRITE: &str = "
    INSERT INTO payments (id, account, cents, units, operation, run)
    SELECT id, account, cents, units, operation, $6
    FROM UNNEST($1::bigint[], $2::integer[], $3::bigint[], $4::integer[], $5::bigint[])
        AS payment (id, account, cents, units, operation)
    ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING operation";

const FIND: &str = "SELECT operation FROM payments WHERE run = $1 AND operation = ANY($2)";

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    write: Statement,
    find: Statement,
}

impl Session {
    /// The task of the connection ends with the client.
    pub(crate) async fn connect(url: &str) -> Result<Self, StoreError> {
        let client = connect(url).await?;
        let (write, find) = (client.prepare(WRITE).await?, client.prepare(FIND).await?);
        Ok(Self { client, write, find })
    }

    /// Makes the table if it is not there; the first id that it has not seen.
    pub(crate) async fn create_table(url: &str) -> Result<i64, StoreError> {
        let client = connect(url).await?;
        client.batch_execute(TABLE).await?;
        Ok(client.query_one("SELECT COALESCE(max(id) + 1, 0) FROM payments", &[]).await?.get(0))
    }

    /// Writes all of them or, when it fails, none. The operations that were written now.
    pub(crate) async fn write(&self, run: i64, payments: &[Payment]) -> Result<Vec<i64>, StoreError> {
        let ids: Vec<i64> = payments.iter().map(|payment| payment.id).collect();
        let accounts: Vec<i32> = payments.iter().map(|payment| payment.account).collect();
        let cents: Vec<i64> = payments.iter().map(|payment| payment.cents).collect();
        let units: Vec<i32> = payments.iter().map(|payment| payment.units).collect();
        let operations: Vec<i64> = payments.iter().map(|payment| payment.operation).collect();
        let columns: [&(dyn ToSql + Sync); 6] = [&ids, &accounts, &cents, &units, &operations, &run];
        let written = self.client.query(&self.write, &columns).await?;
        Ok(written.iter().map(|row| row.get(0)).collect())
    }

    /// Which of these operations have been written by an earlier attempt.
    pub(crate) async fn find(&self, run: i64, operations: &[i64]) -> Result<Vec<i64>, StoreError> {
        let found = self.client.query(&self.find, &[&run, &operations]).await?;
        Ok(found.iter().map(|row| row.get(0)).collect())
    }
}

async fn connect(url: &str) -> Result<Client, StoreError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
