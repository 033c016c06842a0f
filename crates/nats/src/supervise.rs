use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::NatsEvent;
use crate::connection::{Shared, Slot};
use crate::link::Link;

/// How long requests in flight may take when the server announces that it goes away.
const LAME_DUCK_GRACE: Duration = Duration::from_secs(2);
/// Between two attempts to replace a client that ended.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// Watches the events of the current client and does what async-nats leaves undone. Runs until it is aborted.
pub(crate) async fn supervise(shared: Arc<Shared>) {
    let mut not_before = Instant::now();
    let mut reported = None;
    loop {
        let slot = shared.slot();
        let Some(link) = slot.link.clone() else { return };
        let need = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            need = need(&link, shared.supervision().refused_after, not_before) => need,
        };
        match need {
            Need::Move => {
                link.settle(Instant::now() + LAME_DUCK_GRACE).await;
                link.clear_lame_duck();
                // A client that cannot be told has ended, which is the next need.
                let _ = timeout_at(Instant::now() + LAME_DUCK_GRACE, slot.client.force_reconnect()).await;
            }
            Need::Credentials { reason, since } => {
                if reported != Some(since) {
                    reported = Some(since);
                    shared.emit(NatsEvent::CredentialsRefused { reason });
                }
                not_before = later(Instant::now(), shared.supervision().refused_after);
                rebuild(&shared, &link).await;
            }
            Need::Client => {
                not_before = Instant::now() + REBUILD_PAUSE;
                if !rebuild(&shared, &link).await {
                    sleep_until(not_before).await;
                }
            }
        }
    }
}

/// What the current client cannot do for itself.
enum Need {
    /// It has to leave the server.
    Move,
    /// It is refused for too long.
    Credentials { reason: String, since: Instant },
    /// It is over.
    Client,
}

async fn need(link: &Link, refused_after: Duration, not_before: Instant) -> Need {
    let mut state = link.state.subscribe();
    loop {
        let now = state.borrow_and_update().clone();
        if now.ended {
            return Need::Client;
        }
        if now.lame_duck && now.connected {
            return Need::Move;
        }
        let refusal = now.refused.zip(now.down_since);
        let deadline = refusal.as_ref().map(|(_, since)| later(*since, refused_after).max(not_before));
        tokio::select! {
            biased;
            // The link, and so the sender, is ours.
            _ = state.changed() => {}
            () = sleep_until(deadline.unwrap_or(not_before)), if deadline.is_some() => {
                if let Some((reason, since)) = refusal {
                    return Need::Credentials { reason, since };
                }
            }
        }
    }
}

/// Replaces the client by one with freshly read credentials, unless it came back by itself meanwhile or nobody needs
/// one any more.
async fn rebuild(shared: &Arc<Shared>, old: &Arc<Link>) -> bool {
    let made = tokio::select! {
        biased;
        () = shared.closing.cancelled() => return false,
        made = Box::pin(shared.maker.make()) => made,
    };
    let (client, link) = match made {
        Ok(made) => made,
        Err(error) => {
            tracing::warn!(%error, "no new client yet");
            return false;
        }
    };
    if old.is_connected() {
        link.retire();
        return true;
    }
    old.retire();
    link.take_over();
    let new = Arc::clone(&link);
    if !shared.replace(Slot { client, link: Some(link) }) {
        new.retire();
        return false;
    }
    shared.emit(NatsEvent::ClientRebuilt);
    shared.emit(NatsEvent::Reconnected);
    true
}
