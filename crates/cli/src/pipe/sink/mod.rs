//! Where batches go.

mod exec;
mod patience;
mod plain;
mod stdout;
mod stream;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sluicegate_batcher::Handler;
use sluicegate_nats::Connection;

use self::exec::Exec;
use self::plain::Plain;
use self::stdout::Stdout;
use self::stream::Stream;
use super::args::{Input, PipeArgs};
use super::choice::{MsgId, Target};
use super::halt::{Halt, Trouble};
use super::item::Item;
use crate::Failure;
use crate::cli::OutputArgs;
use crate::session;

/// How long what is under way to NATS is waited for at the end.
const FLUSHING: Duration = Duration::from_secs(1);

/// A target that is ready.
pub(super) struct Sink {
    pub(super) handler: Arc<dyn Handler<Item, (), Trouble>>,
    /// How many items the stream had already, if that is to be told.
    pub(super) duplicates: Option<Arc<AtomicU64>>,
    connection: Option<Connection>,
}

impl Sink {
    /// Connects, where the target needs a server.
    pub(super) async fn open(
        args: &PipeArgs,
        connect: &sluicegate_nats::ConnectArgs,
        output: &OutputArgs,
        halt: &Arc<Halt>,
    ) -> Result<Self, Failure> {
        let halt = Arc::clone(halt);
        let local = |handler| Self { handler, duplicates: None, connection: None };
        let (subject, name) = match &args.to {
            Target::Stdout => {
                return Ok(local(Arc::new(Stdout::new(args.input == Input::Ndjson, halt))));
            }
            Target::Exec { program, arguments } => {
                let exec = Exec::new(program, arguments, args.input.delimiter(), args.retry_max.into(), halt);
                return Ok(local(Arc::new(exec)));
            }
            Target::Nats { subject } => (Some(subject), None),
            Target::Stream { name, subject } => (subject.as_ref(), Some(name)),
        };
        let settings = session::settings(connect, output, "pipe")?;
        let timeout = settings.timeout();
        let connection = session::try_connect(&settings).await;
        let connection = connection.map_err(|error| crate::failure::connecting(&error))?;
        let duplicates = (args.msg_id != MsgId::None).then(Arc::<AtomicU64>::default);
        let handler: Arc<dyn Handler<Item, (), Trouble>> = match (name, subject) {
            (None, subject) => {
                let subject = subject.cloned().unwrap_or_default();
                Arc::new(Plain::new(connection.clone(), subject, timeout, halt))
            }
            (Some(name), subject) => {
                let stream = Stream::open(&connection, name, subject.map(String::as_str), timeout).await?;
                Arc::new(stream.telling(duplicates.clone(), args.retry_max.into(), halt))
            }
        };
        Ok(Self { handler, duplicates, connection: Some(connection) })
    }

    /// Lets go of the server.
    pub(super) async fn close(self) {
        drop(self.handler);
        if let Some(connection) = self.connection {
            // Everything that counts as delivered was answered for.
            let _ = connection.drain(FLUSHING).await;
        }
    }
}
