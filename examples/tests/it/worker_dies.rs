//! A worker that dies in the middle: its messages are redelivered, and end as exactly one row each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{Batcher, Operation, Watcher, by_value};
use sluicegate_nats::{Settings, connect};
use sluicegate_streaming_client::{
    Backend, Client, ClientId, Failure, JetStreamConfig, MemoryBroker, Message, Start,
};
use sluicegate_testkit::server::NatsServer;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const ORDERS: u64 = 300;
const ACK_WAIT: Duration = Duration::from_secs(2);

/// How often each order was written; a store with a primary key would keep one row of each.
type Rows = Arc<Mutex<BTreeMap<u64, u32>>>;

fn writer(batcher: &Batcher, rows: &Rows) -> Watcher<u64, (), std::io::Error> {
    let rows = Arc::clone(rows);
    let writer = batcher.watcher(by_value(move |orders: Vec<u64>, _| {
        let mut rows = rows.lock().unwrap();
        for order in orders {
            *rows.entry(order).or_default() += 1;
        }
        async { Ok::<(), std::io::Error>(()) }
    }));
    writer.name("orders").build().unwrap()
}

fn number(message: &Message) -> u64 {
    String::from_utf8_lossy(message.data()).parse().unwrap()
}

async fn subscribe(client: &Client) -> sluicegate_streaming_client::Subscription {
    let orders = client.subscribe("orders").queue("workers").durable("workers").start(Start::First);
    orders.max_in_flight(8).ack_wait(ACK_WAIT).open().await.unwrap()
}

async fn a_dying_worker_loses_nothing(client: Client) {
    let rows = Rows::default();
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    let redelivered = Arc::new(Mutex::new(BTreeSet::new()));

    let first = subscribe(&client).await;
    for order in 0..ORDERS {
        client.publish("orders", order.to_string()).await.unwrap();
    }
    // Writes some orders, then hangs with a hand full of them, and is aborted.
    let in_hand = Arc::new(AtomicU64::new(0));
    let hanging: JoinHandle<_> = tokio::spawn({
        let (writer, in_hand) = (writer(&batcher, &rows), Arc::clone(&in_hand));
        first.for_each_concurrent(8, move |message| {
            let (writer, in_hand) = (writer.clone(), Arc::clone(&in_hand));
            async move {
                let order = number(&message);
                if order >= 50 {
                    in_hand.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                }
                writer.call(Operation::new(order)).await.map_err(|_| Failure::retry())
            }
        })
    });
    let caught = timeout(Duration::from_secs(30), async {
        while in_hand.load(Ordering::SeqCst) < 8 {
            sleep(Duration::from_millis(5)).await;
        }
    });
    caught.await.expect("the worker gets its hands full");
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());

    let second = subscribe(&client).await;
    let ending = second.handle();
    let working = tokio::spawn({
        let (writer, redelivered) = (writer(&batcher, &rows), Arc::clone(&redelivered));
        second.for_each_concurrent(8, move |message| {
            let (writer, redelivered) = (writer.clone(), Arc::clone(&redelivered));
            async move {
                if message.redelivered() {
                    redelivered.lock().unwrap().insert(number(&message));
                }
                writer.call(Operation::new(number(&message))).await.map_err(|_| Failure::retry())
            }
        })
    });
    let complete = timeout(ACK_WAIT * 10, async {
        while rows.lock().unwrap().len() < ORDERS as usize {
            sleep(Duration::from_millis(20)).await;
        }
    });
    complete.await.expect("every order is written, at the latest after the ack wait of the dead");
    ending.drain(Duration::from_secs(10)).await;
    working.await.unwrap();

    let again = redelivered.lock().unwrap();
    assert!(again.len() >= 8, "what the dead worker had in hand came again, marked: {again:?}");
    let rows = rows.lock().unwrap();
    let doubled: Vec<_> =
        rows.iter().filter(|(order, times)| **times > 1 && !again.contains(order)).collect();
    assert!(doubled.is_empty(), "an order is written twice only if it came again: {doubled:?}");
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (0..ORDERS).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn in_memory() {
    let backend = Backend::memory(MemoryBroker::new());
    let client = Client::builder("shop", ClientId::random()).backend(backend).connect().await.unwrap();
    a_dying_worker_loses_nothing(client).await;
}

#[tokio::test]
async fn on_a_real_server() {
    let server = NatsServer::start().await.unwrap();
    let connection = connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap();
    let backend = Backend::jetstream(JetStreamConfig::default(), connection);
    let client = Client::builder("shop", ClientId::random()).backend(backend).connect().await.unwrap();
    a_dying_worker_loses_nothing(client).await;
}
