use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use sluicegate_core::later;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Failure, Settle, Settlement, SubscriptionCore, SubscriptionStats};
use crate::{AckMode, Message, StreamEvent};

/// For how many ack waits a message is kept from coming again while its handler runs.
const PATIENCE: u32 = 10;

/// Runs one handler per message, `limit` at a time, until the subscription ends and all have finished.
///
/// Dropping the future aborts the handlers.
pub(super) async fn run<H, F>(
    core: &Arc<SubscriptionCore>,
    mode: AckMode,
    limit: usize,
    handler: H,
) -> SubscriptionStats
where
    H: Fn(Message) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let handler = Arc::new(handler);
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = running.join_next() => {}
            next = std::future::poll_fn(|cx| core.poll_next(cx)), if running.len() < limit.max(1) => {
                let Some(message) = next else { break };
                running.spawn(handle(Arc::clone(&handler), message, mode));
            }
        }
    }
    while running.join_next().await.is_some() {}
    core.stats()
}

async fn handle<H, F>(handler: Arc<H>, message: Message, mode: AckMode)
where
    H: Fn(Message) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let settlement = Arc::clone(message.settlement());
    let redeliveries = message.redelivery_count();
    // The handler's own call is inside, so that its panic is caught too.
    let work = AssertUnwindSafe(async move { handler(message).await }).catch_unwind();
    let outcome = while_in_progress(&settlement, work).await;
    if settlement.is_settled() {
        return;
    }
    let channel = || settlement.core().channel().clone();
    let sequence = settlement.sequence();
    let events = settlement.core().events();
    let settled = match outcome {
        Ok(Ok(())) if mode == AckMode::Manual => return,
        Ok(Ok(())) if settlement.core().is_draining() => settlement.settle(Settle::Confirmed).await,
        Ok(Ok(())) => settlement.settle(Settle::Ack).await,
        Ok(Err(Failure::Retry { after })) => {
            let after = after.unwrap_or_else(|| Failure::default_delay(redeliveries));
            events.emit(StreamEvent::HandlerFailed { channel: channel(), sequence, retry: Some(after) });
            settlement.settle(Settle::Nak(after)).await
        }
        Ok(Err(Failure::Reject { reason })) => {
            events.emit(StreamEvent::HandlerFailed { channel: channel(), sequence, retry: None });
            settlement.settle(Settle::Term(&reason)).await
        }
        Err(_panic) => {
            events.emit(StreamEvent::HandlerPanicked { channel: channel(), sequence });
            settlement.settle(Settle::Nak(Failure::default_delay(redeliveries))).await
        }
    };
    if let Err(error) = settled {
        events.emit(StreamEvent::SettleFailed { channel: channel(), sequence, kind: error.kind() });
    }
}

/// Tells the server that the message is being worked on, every third of the ack wait.
async fn while_in_progress<T>(settlement: &Settlement, work: impl Future<Output = T>) -> T {
    let ack_wait = settlement.core().ack_wait();
    let give_up = later(Instant::now(), ack_wait.saturating_mul(PATIENCE));
    let every = (ack_wait / 3).max(Duration::from_millis(1));
    // Beside the work, which goes on while word of it waits for a connection.
    let keep = async {
        sleep(every).await;
        while Instant::now() < give_up && !settlement.is_settled() {
            // Without a connection the message comes again, which is all there is to do about it.
            let _ = settlement.in_progress().await;
            sleep(every).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        done = work => done,
        never = keep => never,
    }
}
