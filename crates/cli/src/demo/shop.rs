//! What a worker does with an order: a slot, the expensive step, the store.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_autoscaler::InstanceContext;
use sluicegate_batcher::{Operation, Watcher};
use sluicegate_core::Random;
use sluicegate_governor::Governor;
use sluicegate_streaming_client::{Client, Failure, Message, StreamError, Subscription};
use tokio::time::{Instant, sleep};

use super::gauge::Gauge;
use super::payment::Payment;
use super::store::{Order, StoreError};

/// The channel the orders come in.
pub(crate) const CHANNEL: &str = "orders";
/// The position that all workers share.
pub(crate) const WORKERS: &str = "WORKERS";
/// After that time an order that was not settled comes again.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(5);
/// Orders a worker has in hand at one time.
pub(crate) const HANDS: u32 = 8;
/// How long a worker that is stopped may take to finish what it has in hand.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// The place where all workers of the demo work.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) slots: Governor,
    pub(crate) payment: Payment,
    /// Workers in it.
    pub(crate) workers: Gauge,
    pub(crate) writers: Vec<Watcher<Order, (), StoreError>>,
    pub(crate) seed: u64,
    pub(crate) longest_wait_micros: AtomicU64,
}

impl Shop {
    /// One worker, until it is drained.
    pub(crate) async fn work(self: Arc<Self>, cx: InstanceContext) {
        let shop = Arc::clone(&self);
        let _inside = shop.workers.enter();
        let Some(orders) = self.open(&cx).await else { return };
        let ending = orders.handle();
        let mut working = pin!(orders.for_each_concurrent(HANDS as usize, move |message| {
            let shop = Arc::clone(&self);
            async move { shop.serve(&message).await }
        }));
        tokio::select! {
            biased;
            _ = &mut working => return,
            () = cx.draining() => {}
        }
        let left = cx.deadline().map_or(DRAIN, |at| at.saturating_duration_since(Instant::now()));
        tokio::join!(ending.drain(left), working);
    }

    async fn open(&self, cx: &InstanceContext) -> Option<Subscription> {
        while !cx.is_draining() {
            match self.subscribe().await {
                Ok(orders) => return Some(orders),
                Err(error) => {
                    tracing::warn!(worker = %cx.id(), %error, "cannot subscribe yet");
                    sleep(Duration::from_millis(250)).await;
                }
            }
        }
        None
    }

    async fn subscribe(&self) -> Result<Subscription, StreamError> {
        let orders = self.client.subscribe(CHANNEL).queue(WORKERS).durable(WORKERS);
        orders.max_in_flight(HANDS).ack_wait(ACK_WAIT).open().await
    }

    /// `Ok` once the order is in the store. Whatever fails sends the order back, to be served again: the store keeps
    /// one row an order, however often it is written.
    async fn serve(&self, message: &Message) -> Result<(), Failure> {
        let order: Order = serde_json::from_slice(message.data())
            .map_err(|error| Failure::reject(format!("no order: {error}")))?;
        self.pay(&order).await?;
        let Some(writer) = self.writers.get((order.number % self.writers.len() as u64) as usize) else {
            return Err(Failure::reject("nobody writes"));
        };
        let written = writer.call(Operation::new(order).cost(order.units)).await;
        written.map_err(|error| {
            tracing::warn!(order = order.number, %error, "not written, the order goes back");
            Failure::retry_after(Duration::from_millis(100))
        })
    }

    async fn pay(&self, order: &Order) -> Result<(), Failure> {
        let asked = Instant::now();
        let permit = self.slots.acquire().await.map_err(|error| {
            tracing::warn!(order = order.number, %error, "no slot, the order goes back");
            Failure::retry_after(Duration::from_millis(100))
        })?;
        self.longest_wait_micros.fetch_max(asked.elapsed().as_micros() as u64, Ordering::AcqRel);
        let mood = Random::seeded(self.seed ^ order.number.rotate_left(32)).below(2);
        self.payment.charge(Duration::from_millis(1 + mood)).await;
        // Dropped with the error it goes on in the background, and the slot returns by itself if all fails.
        if let Err(error) = permit.release().await {
            tracing::warn!(%error, "goes on in the background");
        }
        Ok(())
    }
}
