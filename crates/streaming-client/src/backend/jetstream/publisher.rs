use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use sluicegate_core::later;
use sluicegate_nats::async_nats::client::PublishErrorKind;
use sluicegate_nats::async_nats::header::NATS_MESSAGE_ID;
use sluicegate_nats::async_nats::{self, HeaderMap, Message, Subject, Subscriber};
use sluicegate_nats::{NatsEvent, Operation, PubAck as Ack};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::api::failure;
use super::link::{Current, Link, within};
use super::progress::{Progress, Verdict, failed};
use super::slab::{Entry, Slab, Token};
use super::streams::Resolved;
use crate::publish::{Outcomes, Outgoing, PubAck, PublishResult, Room};
use crate::{ErrorKind, Guid, PubReceipt, PublishConfig, PublishError, StreamError, StreamEvent, WhileDown};

/// How often outstanding publishes are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long handing a message over may take.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Publishes over one subscription for all acknowledgements, as a future per message inside async-nats is what
/// costs most.
#[derive(Clone, Debug)]
pub(super) struct Publisher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    link: Arc<Link>,
    inbox: String,
    slab: Mutex<Slab>,
    /// Something waits to be handed over, or there is something again.
    work: Notify,
    outcomes: Arc<Outcomes>,
    config: PublishConfig,
}

/// Where acknowledgements arrive.
struct Acks {
    answers: Subscriber,
    /// On which client.
    client: u64,
}

impl Publisher {
    /// The publisher, and the task that reads acknowledgements and resolves what has none.
    pub(super) async fn open(
        link: Arc<Link>,
        config: &PublishConfig,
        outcomes: Arc<Outcomes>,
        closed: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), StreamError> {
        let inbox = link.current().client.new_inbox();
        let shared = Arc::new(Shared {
            link,
            inbox,
            slab: Mutex::default(),
            work: Notify::new(),
            outcomes,
            config: config.clone(),
        });
        let acks = shared.subscribe().await?;
        let running = Arc::clone(&shared);
        let task = async move {
            tokio::select! {
                biased;
                () = closed.cancelled() => {}
                () = running.read(acks) => {}
                () = running.watch() => {}
            }
            running.abandon();
        };
        Ok((Self(shared), task))
    }

    /// What the guids begin with: random, as the inbox is.
    pub(super) fn guid_prefix(&self) -> &str {
        self.0.inbox.rsplit('.').next().unwrap_or_default()
    }

    /// A publish that ends before it was handed over.
    pub(super) fn refuse(&self, guid: Guid, error: StreamError) -> PublishError {
        let event = StreamEvent::PublishNotDone { guid: guid.clone(), kind: error.kind() };
        self.0.outcomes.refused(event);
        PublishError::not_done(guid, error)
    }

    pub(super) async fn publish(
        &self,
        outgoing: Outgoing,
        room: Room,
        resolved: &Resolved,
    ) -> Result<PubAck, PublishError> {
        let shared = &self.0;
        let current = shared.link.current();
        let Outgoing { payload, guid, reply, mut headers, .. } = outgoing;
        let refuse = |kind, context: String| self.refuse(guid.clone(), StreamError::new(kind, context));
        let max = current.client.max_payload();
        if payload.len() > max {
            let context = format!("{} bytes, the server accepts {max}", payload.len());
            return Err(refuse(ErrorKind::TooLarge, context));
        }
        let up = current.is_up();
        if !up && shared.config.while_down == WhileDown::Fail {
            return Err(refuse(ErrorKind::NotConnected, "nothing was sent".to_owned()));
        }
        if let Some(reply) = reply {
            headers.get_or_insert_default().insert(super::REPLY_HEADER, reply.as_str());
        }
        let (tell, outcome) = oneshot::channel();
        let deadline = later(Instant::now(), shared.config.ack_timeout);
        let subject = resolved.subject.clone();
        let entry = Entry {
            guid: guid.clone(),
            subject: subject.clone(),
            payload: payload.clone(),
            headers: headers.clone(),
            room,
            tell,
            deadline,
            duplicate_window: resolved.duplicate_window,
            progress: Progress::new(),
        };
        let epoch = shared.link.state().epoch;
        let inserted = {
            let mut slab = shared.slab();
            let was_idle = slab.is_empty();
            let at_once = up && !slab.has_unsent();
            let token = slab.insert(entry);
            if let (Some(token), true) = (token, at_once) {
                slab.sent(token, Instant::now(), epoch);
            }
            token.map(|token| (token, at_once, was_idle))
        };
        let Some((token, now_or_later, was_idle)) = inserted else {
            return Err(refuse(ErrorKind::Closed, "the client was drained, nothing was sent".to_owned()));
        };
        if was_idle || !now_or_later {
            shared.work.notify_one();
        }
        if now_or_later {
            let headers = shared.headers(headers, guid.as_str());
            let reply = shared.reply(token);
            let sent = current.client.publish_with_reply_and_headers(subject, reply, headers, payload);
            let give_up = deadline.min(Instant::now() + HAND_OVER);
            // What the client does not take now is the watcher's.
            shared.handed_over(token, within(give_up, sent).await);
        }
        Ok(PubAck::waiting(guid, outcome))
    }
}

impl Shared {
    fn slab(&self) -> MutexGuard<'_, Slab> {
        self.slab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, token: Token) -> Subject {
        format!("{}.{:x}", self.inbox, token.number()).into()
    }

    fn headers(&self, headers: Option<HeaderMap>, guid: &str) -> HeaderMap {
        let mut headers = headers.unwrap_or_default();
        headers.insert(NATS_MESSAGE_ID, guid);
        headers
    }

    async fn subscribe(&self) -> Result<Acks, StreamError> {
        // Looked at first: the client it is made on is this one or a later one.
        let client = self.link.state().client;
        let subject = format!("{}.*", self.inbox);
        let current = self.link.current();
        match timeout_at(Instant::now() + HAND_OVER, current.client.subscribe(subject)).await {
            Ok(Ok(answers)) => Ok(Acks { answers, client }),
            Ok(Err(error)) => {
                let context = "could not subscribe to publish acknowledgements";
                Err(StreamError::new(ErrorKind::Closed, context).with_source(error))
            }
            Err(_) => Err(StreamError::new(ErrorKind::NotConnected, "the connection takes no commands")),
        }
    }

    /// Ends an entry, if it is still there.
    fn finish(&self, token: Token, result: impl FnOnce(Guid, Progress) -> PublishResult) {
        let Some(entry) = self.slab().remove(token) else { return };
        let result = result(entry.guid, entry.progress);
        // Counted before there is room, so that an emptied window means that all are counted; room before word, so
        // that whoever is told may publish at once.
        self.outcomes.note(&result);
        drop(entry.room);
        // Nobody waits any more: the event has been told.
        let _ = entry.tell.send(result);
    }

    async fn read(&self, mut acks: Acks) {
        loop {
            tokio::select! {
                biased;
                () = self.link.replaced(acks.client) => {}
                () = self.read_all(&mut acks.answers) => sleep(LOOK).await,
            }
            acks = loop {
                // At once: what is sent over the new client is answered there.
                if let Ok(acks) = self.subscribe().await {
                    break acks;
                }
                sleep(LOOK).await;
                self.link.connection().connected().await;
            };
        }
    }

    /// Ends with the client.
    async fn read_all(&self, answers: &mut Subscriber) {
        while let Some(answer) = answers.next().await {
            self.answered(&answer);
        }
    }

    fn answered(&self, answer: &Message) {
        let Some(token) = Token::parse(&answer.subject) else { return };
        match Ack::parse(answer) {
            Ok(ack) => self.finish(token, |guid, progress| {
                let (sequence, duplicate) = (Some(ack.sequence), ack.duplicate);
                Ok(PubReceipt { guid, sequence, duplicate, attempts: progress.attempts })
            }),
            Err(error) => {
                let now = Instant::now();
                let refused = self.slab().get_mut(token).is_some_and(|it| it.progress.refused(&error, now));
                if refused {
                    self.refused(token, failure("publish", error));
                }
            }
        }
    }

    /// One attempt was refused for good.
    fn refused(&self, token: Token, error: StreamError) {
        self.finish(token, |guid, progress| Err(failed(guid, progress.unanswered.saturating_sub(1), error)));
    }

    /// What became of handing an attempt to the client; `None`: it took too long. `false`: the client takes nothing
    /// just now.
    fn handed_over(&self, token: Token, handed_over: Option<Result<(), async_nats::PublishError>>) -> bool {
        let error = match handed_over {
            Some(Ok(())) => return true,
            Some(Err(error)) => Some(error),
            None => None,
        };
        let refused = error.filter(|error| error.kind() != PublishErrorKind::Send);
        self.slab().not_sent(token, Instant::now());
        let Some(error) = refused else { return false };
        let kind = match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => ErrorKind::TooLarge,
            _ => ErrorKind::Rejected,
        };
        let error = StreamError::new(kind, format!("the message could not be handed over: {error}"));
        self.finish(token, |guid, progress| Err(failed(guid, progress.unanswered, error)));
        true
    }

    /// Sends what is due and ends what is over.
    async fn watch(&self) {
        let mut events = self.link.connection().events();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let idle = self.slab().is_empty();
            tokio::select! {
                biased;
                _ = ticks.tick(), if !idle => {}
                // Heard while idle too: an old one must not meet a publish that came after it.
                subject = denial(&mut events) => {
                    self.denied(&subject);
                    continue;
                }
                () = self.work.notified(), if idle => {
                    ticks.reset();
                    continue;
                }
            }
            for (token, entry) in self.look() {
                match entry {
                    Verdict::Send => {
                        if !self.resend(token).await {
                            break;
                        }
                    }
                    Verdict::Over => self.over(token),
                }
            }
        }
    }

    fn look(&self) -> Vec<(Token, Verdict)> {
        let now = Instant::now();
        let mut link = self.link.state();
        link.up &= self.link.is_up();
        let slab = self.slab();
        let mut found: Vec<_> = slab
            .iter()
            .filter_map(|(token, entry)| {
                let Entry { progress, duplicate_window, deadline, .. } = entry;
                let verdict = if now >= *deadline {
                    Verdict::Over
                } else {
                    progress.verdict(now, link, *duplicate_window, self.config.on_unknown)?
                };
                Some((progress.ticket, token, verdict))
            })
            .collect();
        drop(slab);
        found.sort_unstable_by_key(|(ticket, ..)| *ticket);
        found.into_iter().map(|(_, token, verdict)| (token, verdict)).collect()
    }

    /// `false`: the connection takes nothing just now.
    async fn resend(&self, token: Token) -> bool {
        let current: Arc<Current> = self.link.current();
        if !current.is_up() {
            return false;
        }
        let epoch = self.link.state().epoch;
        let (message, guid, attempts) = {
            let mut slab = self.slab();
            slab.sent(token, Instant::now(), epoch);
            let Some(entry) = slab.get_mut(token) else { return true };
            let headers = self.headers(entry.headers.clone(), entry.guid.as_str());
            let message = (entry.subject.clone(), headers, entry.payload.clone());
            (message, entry.guid.clone(), entry.progress.attempts)
        };
        if attempts > 1 {
            self.outcomes.events().emit(StreamEvent::PublishRetried { guid, attempts });
        }
        let (subject, headers, payload) = message;
        let sent =
            current.client.publish_with_reply_and_headers(subject, self.reply(token), headers, payload);
        self.handed_over(token, within(Instant::now() + HAND_OVER, sent).await)
    }

    fn over(&self, token: Token) {
        let timeout = self.config.ack_timeout;
        self.finish(token, |guid, progress| {
            if progress.unanswered > 0 {
                let context = format!("sent {} times, no answer", progress.attempts);
                return Err(PublishError::unknown(guid, StreamError::new(ErrorKind::Timeout, context)));
            }
            let (kind, context) = match progress.attempts {
                0 => (ErrorKind::NotConnected, format!("no connection for {timeout:?}")),
                n => (ErrorKind::Timeout, format!("asked {n} times, and no stream was there to take it")),
            };
            Err(PublishError::not_done(guid, StreamError::new(kind, context)))
        });
    }

    fn denied(&self, subject: &str) {
        let affected: Vec<Token> = {
            let slab = self.slab();
            let sent = slab.iter().filter(|(_, entry)| entry.subject.as_str() == subject);
            sent.filter(|(_, entry)| entry.progress.attempts > 0).map(|(token, _)| token).collect()
        };
        for token in affected {
            let error = StreamError::new(ErrorKind::NotPermitted, format!("may not publish to `{subject}`"));
            self.refused(token, error);
        }
    }

    /// The client is over: whatever is left ends now.
    fn abandon(&self) {
        let left: Vec<Token> = {
            let mut slab = self.slab();
            slab.close();
            slab.iter().map(|(token, _)| token).collect()
        };
        for token in left {
            let error = StreamError::new(ErrorKind::Closed, "the client was closed before an answer came");
            self.finish(token, |guid, progress| Err(failed(guid, progress.unanswered, error)));
        }
    }
}

/// The subject of the next publish that the server denies.
async fn denial(events: &mut broadcast::Receiver<NatsEvent>) -> Subject {
    loop {
        match events.recv().await {
            Ok(NatsEvent::PermissionDenied { subject, operation: Operation::Publish }) => {
                return subject.into();
            }
            Err(RecvError::Closed) => std::future::pending().await,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
        }
    }
}
