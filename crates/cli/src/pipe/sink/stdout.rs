use std::io::{self, Write};
use std::sync::Arc;

use async_trait::async_trait;
use sluicegate_batcher::{Batch, BatchContext, Handler, Verdicts};
use tokio::task::spawn_blocking;

use crate::Failure;
use crate::pipe::halt::{Halt, Trouble};
use crate::pipe::item::Item;

/// One JSON array a batch, on a line.
#[derive(Debug)]
pub(super) struct Stdout {
    /// Items are documents already.
    documents: bool,
    halt: Arc<Halt>,
}

impl Stdout {
    pub(super) fn new(documents: bool, halt: Arc<Halt>) -> Self {
        Self { documents, halt }
    }

    fn array(&self, batch: &Batch<Item>) -> io::Result<Vec<u8>> {
        let mut line = vec![b'['];
        for item in batch.iter() {
            if line.len() > 1 {
                line.push(b',');
            }
            if self.documents {
                line.extend_from_slice(item.data.trim_ascii());
            } else {
                let text = str::from_utf8(&item.data).map_err(io::Error::other)?;
                serde_json::to_writer(&mut line, text)?;
            }
        }
        line.extend_from_slice(b"]\n");
        Ok(line)
    }
}

#[async_trait]
impl Handler<Item, (), Trouble> for Stdout {
    async fn handle(&self, batch: &mut Batch<Item>, _: &BatchContext) -> Verdicts<(), Trouble> {
        let line = self.array(batch);
        // A reader may take its time, and signals must be heard meanwhile.
        let written = spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&line?)?;
            stdout.flush()
        });
        match written.await.map_err(io::Error::other).flatten() {
            Ok(()) => Verdicts::done(),
            Err(error) => {
                let trouble = Trouble::lasting(format!("cannot write to stdout: {error}"));
                self.halt.stop(Failure::from(error));
                Verdicts::failed(trouble)
            }
        }
    }
}
