//! Bursts of orders, each with its own message id.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use sluicegate_streaming_client::{Client, ErrorKind, PubAck, PublishError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::shop::CHANNEL;
use super::store::Order;

/// Orders that may wait for their acknowledgement at one time.
const WINDOW: usize = 1024;
/// How often an order is published again after a publish that failed for now; its message id makes that harmless.
const TRIES: u32 = 5;

/// Publishes the orders of that range, all of them or until `stop`, and counts those acknowledged, also when it fails
/// in the end.
pub(crate) async fn burst(
    client: &Client,
    orders: Range<u64>,
    stop: &CancellationToken,
    acked: &mut u64,
) -> Result<(), PublishError> {
    let mut outstanding = VecDeque::with_capacity(WINDOW);
    for number in orders {
        if stop.is_cancelled() {
            break;
        }
        if outstanding.len() == WINDOW
            && let Some((oldest, ack)) = outstanding.pop_front()
        {
            settle(client, oldest, ack).await?;
            *acked += 1;
        }
        outstanding.push_back((number, publish(client, number).await?));
    }
    for (number, ack) in outstanding {
        settle(client, number, ack).await?;
        *acked += 1;
    }
    Ok(())
}

async fn publish(client: &Client, number: u64) -> Result<PubAck, PublishError> {
    let order = Order { number, units: 1 };
    let payload = format!(r#"{{"number":{},"units":{}}}"#, order.number, order.units);
    client.message(CHANNEL).guid(format!("order-{number}")).payload(payload).start().await
}

async fn settle(client: &Client, number: u64, ack: PubAck) -> Result<(), PublishError> {
    let mut outcome = ack.await;
    for _ in 1..TRIES {
        match &outcome {
            Err(error) if error.kind() != ErrorKind::NotPermitted => {
                tracing::warn!(order = number, %error, "publishing it again under the same id");
                sleep(Duration::from_millis(250)).await;
                outcome = publish(client, number).await?.await;
            }
            _ => break,
        }
    }
    outcome.map(|_| ())
}
