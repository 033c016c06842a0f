use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use sluicegate_nats::async_nats::jetstream::consumer::PullConsumer;
use sluicegate_nats::async_nats::jetstream::consumer::pull::{BatchConfig, Config};
use sluicegate_nats::async_nats::{Message, Subscriber};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::ReusableBoxFuture;

use super::api;
use super::consumers::{self, Found, Kind, Position};
use super::link::{Link, LinkState};
use super::pulls::{Pull, Pulls};
use super::slots::{Arrival, Slots, expiry};
use super::ticket::{Facts, Ticket, nak};
use crate::message::Delivery;
use crate::{Channel, ErrorKind, StreamError, StreamEvent};

/// How long a pull request lives on the server, and how often the server says that it still does.
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Nothing heard for that long means that the requests are lost.
const SILENCE: Duration = Duration::from_secs(10);

/// How often silence and expired messages are looked for.
const TICK: Duration = Duration::from_secs(1);

/// How long the server is given to confirm the end of a subscription.
const STOP: Duration = Duration::from_secs(2);

/// Reads one position by pull requests of its own, for as long as it is polled, and mends what breaks.
pub(crate) struct Puller {
    link: Arc<Link>,
    channel: Channel,
    position: Position,
    /// The same as async-nats sees it, over the client of now.
    consumer: Arc<PullConsumer>,
    slots: Arc<Slots>,
    pulls: Pulls,
    inbox: String,
    subscriber: Option<Subscriber>,
    sending: Option<(u64, BoxFuture<'static, bool>)>,
    mending: Option<BoxFuture<'static, Mended>>,
    delays: ExponentialBackoff,
    /// No request before that, after one was refused.
    pause: Option<Pin<Box<Sleep>>>,
    links: ReusableBoxFuture<'static, (watch::Receiver<LinkState>, bool)>,
    epoch: u64,
    /// The client that the subscriber is on.
    client: u64,
    heard: Instant,
    tick: Pin<Box<Sleep>>,
}

type Mended = Result<(Found, Option<Subscriber>), StreamError>;

impl Puller {
    pub(super) async fn open(
        link: Arc<Link>,
        channel: Channel,
        position: Position,
        max_in_flight: u32,
    ) -> Result<Self, StreamError> {
        let inbox = link.current().client.new_inbox();
        let state = link.state();
        let subscriber = subscribe(&link, &inbox).await?;
        let links = ReusableBoxFuture::new(changed(link.watcher()));
        Ok(Self {
            slots: Arc::new(Slots::new(position.kind == Kind::Plain)),
            pulls: Pulls::new(max_in_flight, u32::try_from(position.info.config.max_batch).unwrap_or(0)),
            consumer: consumer(&link, &position),
            epoch: state.epoch,
            client: state.client,
            subscriber: Some(subscriber),
            sending: None,
            mending: None,
            delays: api::backoff().build(),
            pause: None,
            links,
            heard: Instant::now(),
            tick: Box::pin(sleep(TICK)),
            link,
            channel,
            position,
            inbox,
        })
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.position.name
    }

    pub(crate) fn ack_wait(&self) -> Duration {
        self.position.info.config.ack_wait
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        notes: &mut Vec<StreamEvent>,
    ) -> Poll<(Delivery, Ticket)> {
        loop {
            // What has arrived comes first: how long it has been silent shows only afterwards.
            match self.subscriber.as_mut().map(|subscriber| subscriber.poll_next_unpin(cx)) {
                Some(Poll::Ready(Some(message))) => {
                    self.heard = Instant::now();
                    match self.receive(message, notes) {
                        Some(delivery) => return Poll::Ready(delivery),
                        None => continue,
                    }
                }
                // The client underneath is over.
                Some(Poll::Ready(None)) => {
                    self.subscriber = None;
                    self.mend(Duration::ZERO);
                    continue;
                }
                Some(Poll::Pending) | None => {}
            }
            let progress = self.poll_links(cx)
                || self.poll_mending(cx, notes)
                || self.poll_tick(cx)
                || self.poll_pulls(cx);
            if !progress {
                return Poll::Pending;
            }
        }
    }

    fn poll_links(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready((watcher, alive)) = self.links.poll(cx) else { return false };
        let state = *watcher.borrow();
        if alive {
            self.links.set(changed(watcher));
        } else {
            self.links.set(std::future::pending());
        }
        if state.up && state.epoch != self.epoch {
            // Requests of an earlier connection are lost, and after a restart the position may be too.
            self.epoch = state.epoch;
            if state.client != self.client {
                // Nothing comes over the old client's subscription any more, and it does not end.
                self.client = state.client;
                self.subscriber = None;
            }
            self.mend(Duration::ZERO);
        }
        true
    }

    fn poll_mending(&mut self, cx: &mut Context<'_>, notes: &mut Vec<StreamEvent>) -> bool {
        let Some(mending) = &mut self.mending else { return false };
        let Poll::Ready(mended) = mending.poll_unpin(cx) else { return false };
        self.mending = None;
        match mended {
            Ok((found, subscriber)) => {
                self.subscriber = subscriber.or(self.subscriber.take());
                self.consumer = consumer(&self.link, &self.position);
                self.delays = api::backoff().build();
                self.heard = Instant::now();
                let from = match found {
                    Found::Same => return true,
                    Found::Remade(from) => {
                        self.slots.resumed();
                        from
                    }
                    Found::Reset => {
                        self.slots.reset();
                        Some(1)
                    }
                };
                notes.push(StreamEvent::Resubscribed { channel: self.channel.clone(), from });
            }
            Err(error) => {
                notes.push(StreamEvent::Stalled { channel: self.channel.clone(), reason: error.to_string() });
                let delay = self.delays.next().unwrap_or(Duration::from_secs(2));
                self.mend(delay);
            }
        }
        true
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> bool {
        if self.tick.as_mut().poll(cx).is_pending() {
            return false;
        }
        let now = Instant::now();
        self.tick.as_mut().reset(now + TICK);
        self.slots.expire(now);
        if self.mending.is_none() && !self.pulls.is_empty() && now - self.heard > SILENCE && self.link.is_up()
        {
            self.mend(Duration::ZERO);
        }
        true
    }

    fn poll_pulls(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some((id, sending)) = &mut self.sending {
            let Poll::Ready(sent) = sending.poll_unpin(cx) else { return false };
            if !sent {
                self.pulls.ended(*id);
                self.pause = Some(Box::pin(sleep(TICK)));
            }
            self.sending = None;
            return true;
        }
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.pause = None;
        }
        if self.mending.is_some() {
            return false;
        }
        // Registered before the look, so that what is settled meanwhile is not missed.
        self.slots.waker.register(cx.waker());
        let Some(pull) = self.pulls.want(self.slots.taken()) else { return false };
        if self.pulls.is_only(pull.id) {
            self.heard = Instant::now();
        }
        let inbox = format!("{}.{}", self.inbox, pull.id);
        let sending = send(Arc::clone(&self.link), Arc::clone(&self.consumer), self.request(pull), inbox);
        self.sending = Some((pull.id, sending.boxed()));
        true
    }

    /// The server bounds expiry where its consumer says so.
    fn request(&self, pull: Pull) -> BatchConfig {
        let longest = self.position.info.config.max_expires;
        let expires = if longest.is_zero() { EXPIRES } else { EXPIRES.min(longest) };
        BatchConfig {
            batch: pull.left as usize,
            expires: Some(expires),
            idle_heartbeat: HEARTBEAT.min(expires / 2),
            ..BatchConfig::default()
        }
    }

    /// A delivery, or nothing if it was word about a request.
    fn receive(&mut self, message: Message, notes: &mut Vec<StreamEvent>) -> Option<(Delivery, Ticket)> {
        if let Some(status) = message.status {
            self.heed(status.as_u16(), &message, notes);
            return None;
        }
        self.pulls.arrived();
        let Message { reply, payload, headers, .. } = message;
        let reply = reply?;
        // Whatever else somebody sends to our inbox is not for the user.
        let facts = Facts::parse(&reply)?;
        let sequence = facts.sequence;
        let (link, slots) = (Arc::clone(&self.link), Arc::clone(&self.slots));
        let ticket = Ticket { link, slots, reply, sequence };
        let again = match self.slots.arrive(sequence, expiry(self.heard, self.position.info.config.ack_wait))
        {
            Arrival::Deliver(again) => again,
            Arrival::Settled => {
                notes.push(StreamEvent::Suppressed { channel: self.channel.clone(), sequence });
                // Its acknowledgement went to a position that is gone; this one has not heard of it.
                tokio::spawn(async move { ticket.settle(crate::subscribe::Settle::Ack, STOP).await });
                return None;
            }
        };
        let header = |name: &str| headers.as_ref()?.get(name).map(|value| value.as_str().to_owned());
        let delivery = Delivery {
            sequence,
            timestamp: facts.timestamp,
            reply: header(super::REPLY_HEADER),
            data: payload,
            headers,
            redelivery_count: (facts.delivered - 1).max(u32::from(again)),
        };
        Some((delivery, ticket))
    }

    /// Word about a pull request.
    fn heed(&mut self, status: u16, message: &Message, notes: &mut Vec<StreamEvent>) {
        let text = message.description.as_deref().unwrap_or_default();
        let id = message.subject.rsplit('.').next().and_then(|id| id.parse().ok());
        match status {
            // A heartbeat.
            100 => return,
            // Expired or served, which is usual.
            404 | 408 => {}
            409 if text.contains("Batch Completed") => {}
            503 => self.mend(Duration::from_millis(250)),
            409 if text.contains("Consumer Deleted") => self.mend(Duration::ZERO),
            409 if text.contains("Leadership Change") || text.contains("Server Shutdown") => {
                self.mend(Duration::from_millis(250));
            }
            _ => {
                let reason = format!("consumer {:?} refuses to deliver: {status} {text}", self.position.name);
                notes.push(StreamEvent::Stalled { channel: self.channel.clone(), reason });
                self.pause = Some(Box::pin(sleep(TICK)));
            }
        }
        if let Some(id) = id {
            self.pulls.ended(id);
        }
    }

    /// Forgets all requests and looks for the position, and for a subscription if there is none.
    fn mend(&mut self, after: Duration) {
        self.pulls.forget();
        (self.sending, self.pause) = (None, None);
        let (link, position) = (Arc::clone(&self.link), self.position.clone());
        let from =
            if position.kind == Kind::Plain { self.slots.resume_at().or(position.start) } else { None };
        let inbox = self.subscriber.is_none().then(|| self.inbox.clone());
        let mending = async move {
            sleep(after).await;
            link.connection().connected().await;
            let found = consumers::find_again(&link, &position, from).await?;
            let subscriber = match inbox {
                Some(inbox) => Some(subscribe(&link, &inbox).await?),
                None => None,
            };
            Ok((found, subscriber))
        };
        self.mending = Some(mending.boxed());
    }

    /// Ends the intake. What has arrived and was not asked for goes back, in ascending order.
    pub(crate) async fn stop(&mut self) -> u64 {
        (self.sending, self.mending) = (None, None);
        let Some(mut subscriber) = self.subscriber.take() else { return 0 };
        // Requests that are still open end with the server's interest in the inbox.
        let _ = timeout(STOP, subscriber.drain()).await;
        let mut arrived = VecDeque::new();
        let until = Instant::now() + STOP;
        while let Ok(Some(message)) = tokio::time::timeout_at(until, subscriber.next()).await {
            if let (None, Some(reply)) = (message.status, message.reply)
                && let Some(facts) = Facts::parse(&reply)
            {
                arrived.push_back((facts.sequence, reply));
            }
        }
        arrived.make_contiguous().sort_unstable_by_key(|(sequence, _)| *sequence);
        let mut returned = 0;
        for (_, reply) in arrived {
            let deadline = Instant::now() + STOP;
            if self.link.publish(&reply, nak(), deadline).await.is_err() {
                return returned;
            }
            returned += 1;
        }
        returned
    }

    pub(crate) async fn leave(self, forget: bool) {
        let forget = forget && self.position.kind == Kind::Named;
        // Acknowledgements on their way arrive before what follows.
        let _ = timeout(STOP, self.link.current().client.flush()).await;
        if self.link.is_up() && (forget || self.position.kind == Kind::Plain) {
            consumers::delete(&self.link, &self.position).await;
        }
    }
}

async fn send(link: Arc<Link>, position: Arc<PullConsumer>, request: BatchConfig, inbox: String) -> bool {
    link.is_up() && matches!(timeout(STOP, position.request_batch(request, inbox.into())).await, Ok(Ok(())))
}

fn consumer(link: &Link, position: &Position) -> Arc<PullConsumer> {
    let jetstream = link.current().jetstream.clone();
    Arc::new(PullConsumer::new(Config::default(), position.info.clone(), jetstream))
}

async fn subscribe(link: &Link, inbox: &str) -> Result<Subscriber, StreamError> {
    let current = link.current();
    let failed = || StreamError::new(ErrorKind::NotConnected, format!("could not subscribe to `{inbox}.*`"));
    match timeout(STOP, current.client.subscribe(format!("{inbox}.*"))).await {
        Ok(subscribed) => subscribed.map_err(|error| failed().with_source(error)),
        Err(_) => Err(failed()),
    }
}

async fn changed(mut watcher: watch::Receiver<LinkState>) -> (watch::Receiver<LinkState>, bool) {
    let alive = watcher.changed().await.is_ok();
    (watcher, alive)
}
