use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_streaming_client::{
    Backend, Client, ClientBuilder, ClientId, JetStreamConfig, MemoryBroker, StreamEvent,
};
use sluicegate_testkit::server::NatsServer;
use tokio::time::{sleep, timeout};

pub(crate) async fn connection(server: &NatsServer) -> Connection {
    connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap()
}

pub(crate) fn builder(id: &str) -> ClientBuilder {
    Client::builder("test", ClientId::new(id).unwrap())
}

pub(crate) async fn client(server: &NatsServer, id: &str, config: JetStreamConfig) -> Client {
    let backend = Backend::jetstream(config, connection(server).await);
    builder(id).backend(backend).connect().await.unwrap()
}

pub(crate) async fn memory_client(broker: &MemoryBroker, id: &str) -> Client {
    builder(id).backend(Backend::memory(broker.clone())).connect().await.unwrap()
}

/// `STREAM.INFO`, `CONSUMER.INFO` and their kin, as the server says it.
pub(crate) async fn api(connection: &Connection, verb: &str, body: Value) -> Value {
    connection.api(verb, &body, Duration::from_secs(10)).await.unwrap()
}

/// Waits for a condition, 30 s at most.
pub(crate) async fn until<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let met = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(Duration::from_secs(30), met).await.is_ok(), "never: {what}");
}

/// How often each message was handled, by any of the workers that share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Tally {
    pub(crate) fn add(&self, sequence: u64) {
        *self.0.lock().unwrap().entry(sequence).or_default() += 1;
    }

    pub(crate) fn distinct(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn get(&self) -> BTreeMap<u64, u32> {
        self.0.lock().unwrap().clone()
    }
}

/// An observer that keeps everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<StreamEvent>>>);

impl Events {
    pub(crate) fn observer(&self) -> impl Fn(&StreamEvent) + Send + Sync + 'static {
        let events = Arc::clone(&self.0);
        move |event: &StreamEvent| events.lock().unwrap().push(event.clone())
    }

    pub(crate) fn any(&self, which: impl Fn(&StreamEvent) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(which)
    }

    pub(crate) fn get(&self) -> Vec<StreamEvent> {
        self.0.lock().unwrap().clone()
    }
}
