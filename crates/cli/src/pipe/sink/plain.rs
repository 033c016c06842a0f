use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_batcher::{Batch, BatchContext, Handler, Verdict, Verdicts};
use sluicegate_nats::{Connection, RequestErrorKind};

use crate::failure;
use crate::pipe::halt::{Halt, Trouble};
use crate::pipe::item::Item;

/// Messages that nobody acknowledges.
#[derive(Debug)]
pub(super) struct Plain {
    connection: Connection,
    subject: String,
    timeout: Duration,
    halt: Arc<Halt>,
}

impl Plain {
    pub(super) fn new(connection: Connection, subject: String, timeout: Duration, halt: Arc<Halt>) -> Self {
        Self { connection, subject, timeout, halt }
    }
}

#[async_trait]
impl Handler<Item, (), Trouble> for Plain {
    async fn handle(&self, batch: &mut Batch<Item>, _: &BatchContext) -> Verdicts<(), Trouble> {
        let most = self.connection.client().max_payload();
        let fits = |item: &&Item| item.data.len() <= most;
        let payloads: Vec<_> = batch.iter().filter(fits).map(|item| item.data.clone()).collect();
        if let Err(error) = self.connection.publish_plain(&self.subject, payloads, self.timeout).await {
            return Verdicts::failed(match error.kind() {
                RequestErrorKind::NotPermitted | RequestErrorKind::Invalid => {
                    Trouble::fatal(&self.halt, failure::request("pipe", &error))
                }
                // What may be there already may be there twice: nobody acknowledges, nobody knows.
                _ => Trouble::passing(error.to_string()),
            });
        }
        let verdicts = batch.iter().map(|item| {
            if fits(&item) {
                return Verdict::Done(());
            }
            let size = item.data.len();
            Verdict::Failed(Trouble::lasting(format!("{size} bytes, the server takes at most {most}")))
        });
        verdicts.collect::<Vec<_>>().into()
    }
}
