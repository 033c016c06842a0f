//! The handler: a batch of payments becomes one statement, and each payment gets its own outcome.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use sluicegate_batcher::{Batch, BatchContext, Handler, Verdict, Verdicts};
use tokio_postgres::Client;

use crate::error::StoreError;
use crate::session::Session;

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payment {
    /// Unique in this run, and the same in every attempt.
    pub(crate) operation: i64,
    pub(crate) id: i64,
    pub(crate) account: i32,
    pub(crate) cents: i64,
    pub(crate) units: i32,
}

impl Payment {
    pub(crate) fn new(operation: i64, id: i64) -> Self {
        let small = i32::try_from(id % 100).unwrap_or_default();
        Self { operation, id, account: small, cents: 100 + id, units: 1 + small % 3 }
    }

    /// What it costs.
    pub(crate) fn units(&self) -> u32 {
        self.units.unsigned_abs()
    }
}

/// How a payment came into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Now,
    /// By an attempt of ours whose answer was lost.
    Before,
}

#[derive(Debug)]
pub(crate) struct Store {
    url: String,
    pub(crate) run: i64,
    pub(crate) first_id: i64,
    /// Payments that a lost attempt had written.
    pub(crate) found: AtomicU64,
    /// Connections that nobody uses just now.
    idle: Mutex<Vec<Session>>,
}

type Outcome = Verdict<Written, StoreError>;

impl Store {
    /// Makes the table if it is not there. Numbers of operations are unique together with that of the run.
    pub(crate) async fn open(url: &str) -> Result<Self, StoreError> {
        let first_id = Session::create_table(url).await?;
        let run = i64::try_from(fastrand::u64(..) >> 1).unwrap_or_default();
        Ok(Self {
            url: url.to_owned(),
            run,
            first_id,
            found: AtomicU64::new(0),
            idle: Mutex::new(Vec::new()),
        })
    }

    async fn session(&self) -> Result<Session, StoreError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(session) = idle() {
            if !session.client.is_closed() {
                return Ok(session);
            }
        }
        Session::connect(&self.url).await
    }

    fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// For the checks at the end.
    pub(crate) async fn with_client<R>(
        &self,
        ask: impl AsyncFnOnce(&Client) -> Result<R, tokio_postgres::Error>,
    ) -> Result<R, StoreError> {
        let session = self.session().await?;
        Ok(ask(&session.client).await?)
    }

    /// One statement for as many as possible: where the table refuses something, halves are tried, down to the payment
    /// that it refuses.
    async fn write(&self, session: &Session, payments: &[Payment]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(payments.len());
        let mut open = vec![payments];
        while let Some(part) = open.pop() {
            match self.write_part(session, part).await {
                Ok(written) => outcomes.extend(written),
                Err(StoreError::Refused(..)) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    open.extend([second, first]);
                }
                Err(error) => outcomes.extend(part.iter().map(|_| verdict(error.clone()))),
            }
        }
        outcomes
    }

    /// What was not written now is there already: by a lost attempt of ours, or by somebody else.
    async fn write_part(&self, session: &Session, part: &[Payment]) -> Result<Vec<Outcome>, StoreError> {
        let written = session.write(self.run, part).await?;
        let missing = part.iter().map(|payment| payment.operation);
        let missing: Vec<i64> = missing.filter(|operation| !written.contains(operation)).collect();
        let before = if missing.is_empty() { missing } else { session.find(self.run, &missing).await? };
        self.found.fetch_add(before.len() as u64, Ordering::Relaxed);
        let outcome = |payment: &Payment| {
            if written.contains(&payment.operation) {
                Verdict::Done(Written::Now)
            } else if before.contains(&payment.operation) {
                Verdict::Done(Written::Before)
            } else {
                Verdict::Failed(StoreError::Duplicate(payment.id))
            }
        };
        Ok(part.iter().map(outcome).collect())
    }
}

fn verdict(error: StoreError) -> Outcome {
    match error {
        StoreError::Busy(_) => Verdict::Throttled { retry_after: None, error },
        _ => Verdict::Failed(error),
    }
}

#[async_trait]
impl Handler<Payment, Written, StoreError> for Store {
    async fn handle(&self, batch: &mut Batch<Payment>, _cx: &BatchContext) -> Verdicts<Written, StoreError> {
        let session = match self.session().await {
            Ok(session) => session,
            Err(error @ StoreError::Busy(_)) => return Verdicts::throttled(None, error),
            Err(error) => return Verdicts::failed(error),
        };
        // Copies: a payment that is taken out of the batch could not be tried again.
        let payments: Vec<Payment> = batch.iter().copied().collect();
        let outcomes = self.write(&session, &payments).await;
        self.give_back(session);
        Verdicts::from(outcomes)
    }
}
