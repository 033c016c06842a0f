//! What every back end owes its users, as a suite that any fixture can run. A clause that does not hold panics.
//!
//! ```text
//! mod mine {
//!     use super::*;
//!     streaming_contract!(MyFixture::new().await, #[tokio::test]);
//! }
//! ```

#![expect(clippy::unwrap_used, reason = "a suite of tests: it fails by panicking")]

mod consuming;
mod macros;
mod positions;
mod publishing;

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub use self::consuming::*;
pub use self::positions::*;
pub use self::publishing::*;
pub use crate::streaming_contract;
use crate::{AckMode, Backend, Client, ClientId, Message, PublishConfig, Start, Subscription};

/// A server with nothing in it, made anew for each clause.
pub trait Fixture {
    /// The back end of one more client.
    fn backend(&self) -> Backend;

    /// From now on the server answers nothing, and loses nothing.
    fn freeze(&self);

    /// Ends [`freeze`](Self::freeze).
    fn thaw(&self);
}

/// The ack wait of subscriptions whose messages are to come again soon.
const SOON: Duration = Duration::from_secs(1);

/// Longer than anything takes that is to happen.
const LONG: Duration = Duration::from_secs(20);

async fn connect(fixture: &impl Fixture, id: &str) -> Client {
    connect_with(fixture, id, PublishConfig::default()).await
}

async fn connect_with(fixture: &impl Fixture, id: &str, publish: PublishConfig) -> Client {
    let id = ClientId::new(id).unwrap();
    Client::builder("contract", id).backend(fixture.backend()).publish(publish).connect().await.unwrap()
}

/// Publishes `from..=to`, each with its number as payload.
async fn fill(client: &Client, from: u64, to: u64) {
    for number in from..=to {
        client.publish("orders", number.to_string()).await.unwrap();
    }
}

/// A durable subscription of the filled channel, from its first message, settled by the clause.
async fn durable(client: &Client, ack_wait: Duration) -> Subscription {
    let subscribe = client.subscribe("orders").durable("position").start(Start::First);
    subscribe.ack(AckMode::Manual).ack_wait(ack_wait).open().await.unwrap()
}

async fn member(client: &Client, ack_wait: Duration) -> Subscription {
    let subscribe = client.subscribe("orders").queue("workers").durable("position").start(Start::First);
    subscribe.ack(AckMode::Manual).ack_wait(ack_wait).open().await.unwrap()
}

async fn next(subscription: &mut Subscription) -> Message {
    timeout(LONG, subscription.next()).await.expect("a message comes").expect("the subscription lives")
}

async fn take(subscription: &mut Subscription, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.push(next(subscription).await);
    }
    messages
}

/// Takes and acknowledges; the numbers in the payloads.
async fn take_acked(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let messages = take(subscription, count).await;
    for message in &messages {
        message.ack_confirmed().await.unwrap();
    }
    numbers(&messages)
}

fn numbers(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| std::str::from_utf8(message.data()).unwrap().parse().unwrap()).collect()
}

/// Nothing comes for that long.
async fn quiet(subscription: &mut Subscription, how_long: Duration) {
    if let Ok(message) = timeout(how_long, subscription.next()).await {
        panic!("nothing was to come, and this came: {message:?}");
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let give_up = Instant::now() + LONG;
    while !condition().await {
        assert!(Instant::now() < give_up, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
