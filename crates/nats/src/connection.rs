use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, jetstream};
use sluicegate_core::{Ignore, later};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::connect::ClientMaker;
use crate::error::{RequestError, RequestErrorKind};
use crate::hub::Hub;
use crate::link::Link;
use crate::supervise::supervise;
use crate::{NatsEvent, Supervision};

/// How often a client that was made elsewhere is asked whether it is connected: it does not tell.
const FOREIGN_POLL: Duration = Duration::from_millis(50);

/// A connection to NATS. Cheap to clone; all clones are the same connection, which ends with the last of them.
///
/// It survives what a single client does not: credentials that were refused for a while and the end of the client
/// itself. Take the client from [`client`](Self::client) whenever you need it and do not keep it: after
/// [`ClientRebuilt`](NatsEvent::ClientRebuilt) there is another one.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    client: watch::Receiver<Slot>,
    hub: Hub,
    closing: CancellationToken,
    api_prefix: String,
    event_prefix: String,
    timeout: Option<Duration>,
    /// Ends with the last clone. None: the client was made elsewhere, nobody watches over it.
    supervisor: Option<AbortOnDropHandle<()>>,
    _foreign: Option<watch::Sender<Slot>>,
}

/// What connection and supervisor share.
#[derive(Debug)]
pub(crate) struct Shared {
    slot: watch::Sender<Slot>,
    pub(crate) maker: ClientMaker,
    pub(crate) closing: CancellationToken,
}

/// The client of now.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) client: Client,
    /// What its events say; none for a client that was made elsewhere.
    pub(crate) link: Option<Arc<Link>>,
}

impl Shared {
    pub(crate) fn slot(&self) -> Slot {
        self.slot.borrow().clone()
    }

    /// False: the connection was drained, and stays so.
    pub(crate) fn replace(&self, slot: Slot) -> bool {
        self.slot.send_if_modified(|current| {
            let open = !self.closing.is_cancelled();
            if open {
                *current = slot;
            }
            open
        })
    }

    pub(crate) fn emit(&self, event: NatsEvent) {
        self.maker.hub.emit(event);
    }

    pub(crate) fn supervision(&self) -> Supervision {
        self.maker.settings.supervision
    }
}

impl Connection {
    pub(crate) fn supervised(client: Client, link: Arc<Link>, maker: ClientMaker) -> Self {
        let (slot, current) = watch::channel(Slot { client, link: Some(link) });
        let hub = maker.hub.clone();
        let api_prefix = maker.settings.api_prefix();
        let event_prefix = maker.settings.event_prefix().to_owned();
        let timeout = Some(maker.settings.timeout());
        let closing = CancellationToken::new();
        let shared = Arc::new(Shared { slot, maker, closing: closing.clone() });
        Self(Arc::new(Inner {
            id: next_id(),
            client: current,
            hub,
            closing,
            api_prefix,
            event_prefix,
            timeout,
            supervisor: Some(AbortOnDropHandle::new(tokio::spawn(supervise(shared)))),
            _foreign: None,
        }))
    }

    /// A connection over a client that was made elsewhere. Nobody tells us its events: there are none here, requests
    /// that are denied are reported as timeouts, and it is not rebuilt.
    pub fn from_client(client: Client) -> Self {
        let (slot, current) = watch::channel(Slot { client, link: None });
        Self(Arc::new(Inner {
            id: next_id(),
            client: current,
            hub: Hub::new(Arc::new(Ignore)),
            closing: CancellationToken::new(),
            api_prefix: "$JS.API".to_owned(),
            event_prefix: "$JS.EVENT".to_owned(),
            timeout: None,
            supervisor: None,
            _foreign: Some(slot),
        }))
    }

    /// The client of now. Do not keep it longer than the connection: one whose connection is gone asks only
    /// rarely to get its own back.
    pub fn client(&self) -> Client {
        self.slot().client
    }

    pub(crate) fn slot(&self) -> Slot {
        self.0.client.borrow().clone()
    }

    /// Which connection of this process; all clones are the same one.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Denials and losses are told as [`events`](Self::events): the client is ours.
    pub fn is_supervised(&self) -> bool {
        self.0.supervisor.is_some()
    }

    /// Prefix of JetStream's advisories: that of the settings, `$JS.EVENT` by default.
    pub fn event_prefix(&self) -> &str {
        &self.0.event_prefix
    }

    /// JetStream over the client of now, with the prefix or domain of the settings.
    pub fn jetstream(&self) -> jetstream::Context {
        let mut context = jetstream::with_prefix(self.client(), &self.0.api_prefix);
        if let Some(timeout) = self.0.timeout {
            context.set_timeout(timeout);
        }
        context
    }

    /// Connected now.
    pub fn is_connected(&self) -> bool {
        let slot = self.0.client.borrow();
        match &slot.link {
            Some(link) => link.is_connected(),
            None => slot.client.connection_state() == State::Connected,
        }
    }

    /// Completes when connected. Never, once the connection was drained.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn connected(&self) {
        let mut current = self.0.client.clone();
        loop {
            let slot = current.borrow_and_update().clone();
            let Some(link) = slot.link else {
                while slot.client.connection_state() != State::Connected {
                    sleep(FOREIGN_POLL).await;
                }
                return;
            };
            let mut state = link.state.subscribe();
            // The link, and so the sender, is ours. What the watch lends must not outlive the wait: it is not `Send`.
            let up = async { drop(state.wait_for(|state| state.connected && !state.ended).await) };
            let replaced = tokio::select! {
                biased;
                () = up => return,
                replaced = current.changed() => replaced.is_ok(),
            };
            if !replaced {
                // Drained: no client will follow.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What happens to this connection from now on. A reader that is more than 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<NatsEvent> {
        self.0.hub.subscribe()
    }

    /// Ends the connection in order: waits for the requests in flight (async-nats would not), lets subscriptions
    /// deliver what has arrived, and closes. All clones are closed.
    ///
    /// # Errors
    /// `TimedOut` if that took longer than `deadline`, `NotConnected` if there is no connection; it is closed all
    /// the same, as far as it can be.
    ///
    /// # Cancel safety
    /// Dropping it leaves the connection without supervision, to be drained again or dropped.
    pub async fn drain(&self, deadline: Duration) -> Result<(), RequestError> {
        let until = later(Instant::now(), deadline);
        let Slot { client, link } = {
            // While this is borrowed it cannot be replaced: there is no client after this one.
            let slot = self.0.client.borrow();
            self.0.closing.cancel();
            slot.clone()
        };
        let failed = |kind, text: &str| Err(RequestError::new(kind, "drain", text));
        if !self.is_connected() {
            retire(link.as_deref());
            return failed(RequestErrorKind::NotConnected, "nothing was drained");
        }
        let settled = match &link {
            Some(link) => link.settle(until).await,
            None => true,
        };
        let drained = timeout_at(until, async {
            // It fails only when the client is over already.
            let _ = client.drain().await;
            if let Some(link) = &link {
                let _ = link.state.subscribe().wait_for(|state| state.ended).await;
            }
        });
        let drained = drained.await.is_ok();
        retire(link.as_deref());
        match (settled, drained) {
            (true, true) => Ok(()),
            (false, _) => failed(RequestErrorKind::TimedOut, "requests were still in flight"),
            (true, false) => failed(RequestErrorKind::TimedOut, "subscriptions were still being drained"),
        }
    }

    /// Completes when the connection is being drained.
    pub(crate) async fn closing(&self) {
        self.0.closing.cancelled().await;
    }

    pub(crate) fn api_prefix(&self) -> &str {
        &self.0.api_prefix
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn retire(link: Option<&Link>) {
    if let Some(link) = link {
        link.retire();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        retire(self.client.borrow().link.as_deref());
    }
}
