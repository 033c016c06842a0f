//! One server for all, governors on it, and the bare requests that everything is compared with.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_governor::{CampaignPool, GovernorConfig, NativePool};
use sluicegate_nats::async_nats::Client;
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;

use crate::peer;

/// Nothing expires while it is measured.
pub(crate) const LONG: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) server: NatsServer,
    pub(crate) connection: Connection,
}

impl Place {
    pub(crate) async fn make() -> Self {
        // Before any measurement: it may have to be built.
        peer::choria().await;
        let server = NatsServer::start().await.expect("the server starts");
        let connection = connection(&server.url()).await;
        Self { server, connection }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) async fn governor(&self, name: &str, limit: u32, ttl: Duration) -> CampaignPool {
        CampaignPool::ensure(&self.connection, &config(name, limit, ttl)).await.expect("made")
    }

    pub(crate) async fn native(&self, name: &str, limit: u32, ttl: Duration) -> NativePool {
        NativePool::ensure(&self.connection, &config(name, limit, ttl)).await.expect("made")
    }

    pub(crate) async fn stored(&self, stream: &str) -> u64 {
        let info =
            call(&self.connection.client(), format!("$JS.API.STREAM.INFO.{stream}"), String::new()).await;
        info["state"]["messages"].as_u64().expect("the stream exists")
    }
}

fn config(name: &str, limit: u32, ttl: Duration) -> GovernorConfig {
    let limit = NonZeroU32::new(limit).expect("not zero");
    GovernorConfig::try_new(name, limit, ttl).expect("a configuration")
}

pub(crate) async fn connection(url: &str) -> Connection {
    let settings = Settings::from_url(url).expect("a url");
    connect(&settings).await.expect("the server answers")
}

/// A connection as any program has it that knows nothing of us.
pub(crate) async fn stranger(url: &str) -> Client {
    sluicegate_nats::async_nats::connect(url).await.expect("the server answers")
}

pub(crate) async fn call(client: &Client, subject: String, body: String) -> Value {
    let answer = client.request(subject, body.into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

/// Takes and frees slots with nothing but the two requests that this takes.
#[derive(Clone, Debug)]
pub(crate) struct Bare {
    client: Client,
    subject: String,
    delete: String,
}

impl Bare {
    pub(crate) fn new(client: Client, pool: &CampaignPool) -> Self {
        let delete = format!("$JS.API.STREAM.MSG.DELETE.{}", pool.stream());
        Self { client, subject: pool.subject().to_string(), delete }
    }

    /// The slot's number; it must be free.
    pub(crate) async fn take(&self) -> u64 {
        let ack = call(&self.client, self.subject.clone(), "bare".to_owned()).await;
        ack["seq"].as_u64().filter(|seq| *seq > 0).unwrap_or_else(|| panic!("{ack}"))
    }

    pub(crate) async fn free(&self, seq: u64) {
        let gone =
            call(&self.client, self.delete.clone(), json!({"seq": seq, "no_erase": true}).to_string()).await;
        assert_eq!(gone["success"], json!(true), "{gone}");
    }
}
