use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::poll;
use sluicegate_nats::Connection;
use sluicegate_nats::async_nats::connection::State;
use sluicegate_nats::async_nats::jetstream::Context;
use sluicegate_nats::async_nats::{Client, Statistics, Subject};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::event::Events;
use crate::{ErrorKind, StreamError, StreamEvent};

/// How often the connection is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The connection as the back end sees it.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    /// Kept at hand for the path of each message.
    current: Mutex<Arc<Current>>,
    state: watch::Receiver<LinkState>,
}

/// The client of now, and JetStream over it.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) client: Client,
    pub(super) jetstream: Context,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkState {
    pub(super) up: bool,
    /// Grows with every connection that was made: answers to what was sent in an earlier one are lost.
    pub(super) epoch: u64,
    /// Grows with every client that was made: subscriptions of an earlier one hear nothing, and do not end.
    pub(super) client: u64,
    /// When this epoch was noticed.
    pub(super) since: Instant,
}

impl Link {
    /// The link and the task that watches it.
    pub(super) fn new(
        connection: Connection,
        events: Events,
        closed: CancellationToken,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        let client = connection.client();
        let first = LinkState { up: is_up(&client), epoch: 1, client: 1, since: Instant::now() };
        let seen = Seen::of(&client);
        let (sender, state) = watch::channel(first);
        let current = Current { client, jetstream: connection.jetstream() };
        let link = Arc::new(Self { connection, current: Mutex::new(Arc::new(current)), state });
        let watched = Arc::clone(&link);
        (link, async move {
            tokio::select! {
                biased;
                () = closed.cancelled() => {}
                () = watched.watch(&sender, seen, &events) => {}
            }
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    pub(super) fn watcher(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Completes when the client is another one than that.
    pub(super) async fn replaced(&self, client: u64) {
        if self.watcher().wait_for(|state| state.client != client).await.is_err() {
            // Nobody watches any more.
            std::future::pending().await
        }
    }

    /// Connected at this very moment; the watched state lags behind by up to a look.
    pub(super) fn is_up(&self) -> bool {
        self.current().is_up()
    }

    /// Hands a message to a client that is connected; waits for that until `deadline`.
    pub(super) async fn publish(
        &self,
        subject: &Subject,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<(), StreamError> {
        let handed_over = within(deadline, async {
            loop {
                let current = self.current();
                if current.is_up() {
                    return current.client.publish(subject.clone(), payload.clone()).await;
                }
                sleep(LOOK).await;
            }
        });
        match handed_over.await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                let context = format!("could not publish to `{subject}`");
                Err(StreamError::new(ErrorKind::Closed, context).with_source(error))
            }
            None => {
                let context = format!("nothing could be published to `{subject}` in time");
                Err(StreamError::new(ErrorKind::NotConnected, context))
            }
        }
    }

    async fn watch(&self, sender: &watch::Sender<LinkState>, mut seen: Seen, events: &Events) {
        let mut down_since = None;
        loop {
            sleep(LOOK).await;
            let client = self.connection.client();
            let (up, now) = (is_up(&client), Seen::of(&client));
            let before = *sender.borrow();
            let renewed = up && now != seen;
            let replaced = renewed && !now.same_client(&seen);
            if renewed {
                let current = Current { client, jetstream: self.connection.jetstream() };
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
                seen = now;
            }
            if renewed || up != before.up {
                let since = if renewed { Instant::now() } else { before.since };
                let epoch = before.epoch + u64::from(renewed);
                let client = before.client + u64::from(replaced);
                sender.send_replace(LinkState { up, epoch, client, since });
            }
            if !up && down_since.is_none() {
                down_since = Some(Instant::now());
                events.emit(StreamEvent::NatsDown);
            } else if up && (renewed || down_since.is_some()) {
                let outage = down_since.take().map_or(Duration::ZERO, |since| since.elapsed());
                events.emit(StreamEvent::NatsUp { outage });
            }
        }
    }
}

impl Current {
    pub(super) fn is_up(&self) -> bool {
        is_up(&self.client)
    }
}

/// Which client, and which of its connections.
struct Seen(Arc<Statistics>, u64);

impl Seen {
    fn of(client: &Client) -> Self {
        let statistics = client.statistics();
        let connects = statistics.connects.load(Ordering::Relaxed);
        Self(statistics, connects)
    }

    fn same_client(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.same_client(other) && self.1 == other.1
    }
}

/// The outcome, if it comes before `deadline`. Almost always there is room at once, and no timer is needed.
pub(super) async fn within<F: Future>(deadline: Instant, handed_over: F) -> Option<F::Output> {
    let mut handed_over = pin!(handed_over);
    match poll!(&mut handed_over) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => timeout_at(deadline, handed_over).await.ok(),
    }
}

fn is_up(client: &Client) -> bool {
    client.connection_state() == State::Connected
}
