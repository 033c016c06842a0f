use std::fmt::Display;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sluicegate_autoscaler::{ConsumerLoad, LoadSource};
use sluicegate_core::LeasePool;
use sluicegate_governor::{CampaignPool, GovernorConfig, NativePool};
use sluicegate_nats::{ApiError, Connection, code};
use sluicegate_streaming_client::{Backend, Client, ClientId, JetStreamConfig, StreamMap};
use tokio::time::Instant;

use super::{CAPACITY_LEASES, PAYMENT_SLOTS, World};
use crate::code::Code;
use crate::demo::patience::{PATIENCE, insist};
use crate::demo::shop::{ACK_WAIT, CHANNEL, WORKERS};
use crate::demo::store::{SqliteStore, Store};
use crate::error::CliError;
use crate::failure;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any payment takes, and than a server needs to come back.
const SLOT_TTL: Duration = Duration::from_secs(30);
const CAPACITY_TTL: Duration = Duration::from_secs(10);

/// A stream with a durable consumer, a governor and a pool of capacity on a NATS server, and an SQLite file.
#[derive(Debug)]
pub(crate) struct NatsWorld {
    connection: Connection,
    name: String,
    client: Client,
    load: Arc<ConsumerLoad>,
    slots: CampaignPool,
    capacity: NativePool,
    store: SqliteStore,
    directory: PathBuf,
}

impl NatsWorld {
    /// Makes everything, or nothing: what was made before a failure is removed again.
    pub(crate) async fn create(connection: Connection, id: &str) -> Result<Self, CliError> {
        let name = format!("SGDEMO_{id}");
        refuse_what_exists(&connection, &name).await?;
        let directory = std::env::temp_dir().join(&name);
        make_directory(&directory)?;
        match Self::make(connection.clone(), &name, directory.clone()).await {
            Ok(world) => Ok(world),
            Err(error) => {
                // The reason of the failure is the one to report.
                if let Err(second) = remove(&connection, &name, &directory, Instant::now()).await {
                    tracing::warn!(%second, "not everything was removed again");
                }
                Err(error)
            }
        }
    }

    async fn make(connection: Connection, name: &str, directory: PathBuf) -> Result<Self, CliError> {
        let subject = subject(name);
        let stream = json!({
            "name": name,
            "subjects": [subject],
            "retention": "interest",
            "storage": "file",
            "num_replicas": 1,
            "discard": "new",
            "duplicate_window": 120_000_000_000_u64,
            "metadata": { "sluicegate.kind": "demo" },
        });
        call(&connection, &format!("STREAM.CREATE.{name}"), &stream).await?;
        let consumer = json!({
            "stream_name": name,
            "action": "create",
            "config": {
                "name": WORKERS,
                "durable_name": WORKERS,
                "ack_policy": "explicit",
                "ack_wait": ACK_WAIT.as_nanos() as u64,
                "deliver_policy": "all",
                "max_deliver": -1,
                "max_ack_pending": 10_000,
            },
        });
        call(&connection, &format!("CONSUMER.CREATE.{name}.{WORKERS}"), &consumer).await?;

        let making = |error| failure::lease("making the governor of the payment service", &error);
        let config = GovernorConfig::try_new(name, slots(PAYMENT_SLOTS), SLOT_TTL).map_err(making)?;
        let payment = CampaignPool::create(&connection, &config).await.map_err(making)?;
        let making = |error| failure::lease("making the pool of capacity", &error);
        let config = GovernorConfig::try_new(name, slots(CAPACITY_LEASES), CAPACITY_TTL).map_err(making)?;
        let capacity = NativePool::create(&connection, &config).await.map_err(making)?;

        let load = ConsumerLoad::bind(&connection, name, WORKERS).await;
        let load = load.map_err(|error| failure::scaler("looking at the consumer", &error))?;
        let config = JetStreamConfig::default().map(CHANNEL, StreamMap::bound(name, subject, WORKERS));
        let id = ClientId::random();
        let client =
            Client::builder(name, id).backend(Backend::jetstream(config, connection.clone())).connect().await;
        let client = client.map_err(|error| failure::stream("opening the stream", &error))?;

        let file = directory.join("orders.sqlite");
        let store = SqliteStore::create(&file)
            .map_err(|error| cannot_make(&file, &error).help("set TMPDIR to a folder with room"))?;
        Ok(Self {
            connection,
            name: name.to_owned(),
            client,
            load: Arc::new(load),
            slots: payment,
            capacity,
            store,
            directory,
        })
    }
}

fn slots(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

fn subject(name: &str) -> String {
    format!("{}.orders", name.to_ascii_lowercase().replace('_', "."))
}

/// The streams that the demo of this name makes.
fn streams(name: &str) -> [String; 3] {
    [name.to_owned(), format!("GOVERNOR_{name}"), format!("GOVERNOR2_{name}")]
}

async fn call(connection: &Connection, verb: &str, body: &Value) -> Result<Value, CliError> {
    connection.api(verb, body, TIMEOUT).await.map_err(|error| failure::api(verb, &error))
}

async fn exists(connection: &Connection, stream: &str) -> Result<bool, CliError> {
    let verb = format!("STREAM.INFO.{stream}");
    match connection.api::<Value>(&verb, &(), TIMEOUT).await {
        Ok(_) => Ok(true),
        Err(error) if error.err_code() == Some(code::STREAM_NOT_FOUND) => Ok(false),
        Err(error) => Err(failure::api(&verb, &error)),
    }
}

async fn refuse_what_exists(connection: &Connection, name: &str) -> Result<(), CliError> {
    for stream in streams(name) {
        if exists(connection, &stream).await? {
            let message = format!("stream {stream} exists already; nothing was changed");
            let help = format!("leave --id away for a random one, or remove it: nats stream rm {stream}");
            return Err(CliError::new(Code::AlreadyExists, message).help(help));
        }
    }
    Ok(())
}

fn make_directory(directory: &Path) -> Result<(), CliError> {
    std::fs::create_dir(directory).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            let message = format!("{} exists already; nothing was changed", directory.display());
            CliError::new(Code::AlreadyExists, message).help("remove it, or choose another --id")
        }
        _ => cannot_make(directory, &error).help("set TMPDIR to a folder that can be written"),
    })
}

fn cannot_make(path: &Path, error: &dyn Display) -> CliError {
    CliError::new(Code::ConfigInvalid, format!("cannot make {}: {error}", path.display()))
}

/// Calls the API, and again until `give_up` while there is no answer; only for what may be done twice.
async fn patient(connection: &Connection, verb: &str, give_up: Instant) -> Result<Value, ApiError> {
    let again = |error: &ApiError| error.is_transient() || error.is_unknown();
    insist(give_up, again, || connection.api(verb, &(), TIMEOUT)).await
}

/// Removes all that it can; the error is the first there was, and its help removes the rest.
async fn remove(
    connection: &Connection,
    name: &str,
    directory: &Path,
    give_up: Instant,
) -> Result<(), CliError> {
    let mut first = None;
    let mut rest = Vec::new();
    for stream in streams(name) {
        let verb = format!("STREAM.DELETE.{stream}");
        match patient(connection, &verb, give_up).await {
            Err(error) if error.err_code() != Some(code::STREAM_NOT_FOUND) => {
                first.get_or_insert_with(|| failure::api(&verb, &error));
                rest.push(format!("nats stream rm {stream}"));
            }
            _ => {}
        }
    }
    if let Err(error) = std::fs::remove_dir_all(directory) {
        let message = format!("cannot remove {}: {error}", directory.display());
        first.get_or_insert_with(|| CliError::new(Code::Conflict, message));
        rest.push(format!("rm -r {}", directory.display()));
    }
    first.map_or(Ok(()), |error| Err(error.help(format!("remove what is left: {}", rest.join("; ")))))
}

#[async_trait]
impl World for NatsWorld {
    fn title(&self) -> String {
        format!("stream {} on a NATS server, rows in {}", self.name, self.directory.display())
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn load(&self) -> Arc<dyn LoadSource> {
        Arc::clone(&self.load) as Arc<dyn LoadSource>
    }

    fn payment_slots(&self) -> Arc<dyn LeasePool> {
        Arc::new(self.slots.clone())
    }

    async fn capacity(&self) -> Result<Arc<dyn LeasePool>, CliError> {
        let bound = NativePool::bind(&self.connection, &self.name).await;
        let pool = bound.map_err(|error| failure::lease("opening the pool of capacity", &error))?;
        Ok(Arc::new(pool))
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn stored(&self) -> Result<u64, CliError> {
        let verb = format!("STREAM.INFO.{}", self.name);
        let info = patient(&self.connection, &verb, Instant::now() + PATIENCE).await;
        let info = info.map_err(|error| failure::api(&verb, &error))?;
        // The stream is the demo's own: its first order has sequence 1.
        info["state"]["last_seq"]
            .as_u64()
            .ok_or_else(|| CliError::new(Code::Internal, format!("{verb}: the answer has no state.last_seq")))
    }

    async fn has_consumer(&self) -> Result<bool, CliError> {
        let verb = format!("CONSUMER.INFO.{}.{WORKERS}", self.name);
        match patient(&self.connection, &verb, Instant::now() + PATIENCE).await {
            Ok(_) => Ok(true),
            Err(error) if error.err_code() == Some(code::CONSUMER_NOT_FOUND) => Ok(false),
            Err(error) => Err(failure::api(&verb, &error)),
        }
    }

    async fn leave(&self, keep: bool) -> Result<Option<String>, CliError> {
        for closed in [self.slots.close(TIMEOUT).await, self.capacity.close(TIMEOUT).await] {
            if let Err(error) = closed {
                tracing::warn!(%error, "an attempt was not resolved; its slot expires");
            }
        }
        if keep {
            let streams = streams(&self.name).join(", ");
            return Ok(Some(format!("kept: streams {streams}; rows in {}", self.directory.display())));
        }
        remove(&self.connection, &self.name, &self.directory, Instant::now() + PATIENCE).await?;
        Ok(None)
    }
}
