use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sluicegate_autoscaler::{ConsumerLoad, LoadSource};
use sluicegate_core::LeasePool;
use sluicegate_governor::{CampaignPool, GovernorConfig, NativePool};
use sluicegate_nats::{Connection, code};
use sluicegate_streaming_client::{Backend, Client, ClientId, JetStreamConfig, StreamMap};

use super::{CAPACITY_LEASES, PAYMENT_SLOTS, World};
use crate::code::Code;
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
        match Self::make(connection.clone(), &name).await {
            Ok(world) => Ok(world),
            Err(error) => {
                // The reason of the failure is the one to report.
                if let Err(second) = remove(&connection, &name).await {
                    tracing::warn!(%second, "not everything was removed again");
                }
                Err(error)
            }
        }
    }

    async fn make(connection: Connection, name: &str) -> Result<Self, CliError> {
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

        let directory = std::env::temp_dir().join(name);
        let file = directory.join("orders.sqlite");
        let store = std::fs::create_dir(&directory)
            .map_err(|error| error.to_string())
            .and_then(|()| SqliteStore::create(&file).map_err(|error| error.to_string()))
            .map_err(|error| {
                let message = format!("cannot make {}: {error}", file.display());
                CliError::new(Code::ConfigInvalid, message).help("set TMPDIR to a folder that can be written")
            })?;
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

async fn remove(connection: &Connection, name: &str) -> Result<(), CliError> {
    for stream in streams(name) {
        let verb = format!("STREAM.DELETE.{stream}");
        match connection.api::<Value>(&verb, &(), TIMEOUT).await {
            Err(error) if error.err_code() != Some(code::STREAM_NOT_FOUND) => {
                return Err(failure::api(&verb, &error).help(format!("remove it: nats stream rm {stream}")));
            }
            _ => {}
        }
    }
    Ok(())
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

    async fn has_consumer(&self) -> Result<bool, CliError> {
        let verb = format!("CONSUMER.INFO.{}.{WORKERS}", self.name);
        match self.connection.api::<Value>(&verb, &(), TIMEOUT).await {
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
        remove(&self.connection, &self.name).await?;
        let _ = std::fs::remove_dir_all(&self.directory);
        Ok(None)
    }
}
