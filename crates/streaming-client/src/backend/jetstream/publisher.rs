use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use sluicegate_nats::async_nats::header::NATS_MESSAGE_ID;
use sluicegate_nats::async_nats::{HeaderMap, Message, Subject, Subscriber};
use sluicegate_nats::{ApiError, ApiErrorKind, NatsEvent, Operation, PubAck as Ack, RequestErrorKind};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::api::failure;
use super::link::{Current, Link};
use super::slab::{Entry, Progress, Slab, Step, Token};
use super::streams::Resolved;
use crate::publish::{Outcomes, Outgoing, PubAck, PublishResult, Room};
use crate::{
    ErrorKind, Guid, OnUnknown, PubReceipt, PublishConfig, PublishError, StreamError, StreamEvent, WhileDown,
};

/// How often outstanding publishes are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// An acknowledgement that has not come that long after a reconnect does not come: it was for the old connection.
const GRACE: Duration = Duration::from_millis(500);

/// Without an answer for that long over a living connection, the question is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long a resend may take to be handed over.
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
        let subject = resolved.subject.clone();
        let entry = Entry {
            guid: guid.clone(),
            subject: subject.clone(),
            payload: payload.clone(),
            headers: headers.clone(),
            room,
            tell,
            deadline: Instant::now() + shared.config.ack_timeout,
            duplicate_window: resolved.duplicate_window,
            progress: Progress::new(),
        };
        let epoch = shared.link.state().epoch;
        let (token, now_or_later, was_idle) = {
            let mut slab = shared.slab();
            let was_idle = slab.is_empty();
            let at_once = up && !slab.has_unsent();
            let token = slab.insert(entry);
            if at_once {
                slab.sent(token, Instant::now(), epoch);
            }
            (token, at_once, was_idle)
        };
        if was_idle || !now_or_later {
            shared.work.notify_one();
        }
        if now_or_later {
            let headers = shared.headers(headers, guid.as_str());
            let reply = shared.reply(token);
            // What the client takes no more is found by the watcher, as unanswered; what it refuses, here.
            let sent = current.client.publish_with_reply_and_headers(subject, reply, headers, payload).await;
            if let Err(error) = sent {
                let context = format!("the message could not be handed over: {error}");
                shared.finish(token, |guid| {
                    Err(PublishError::not_done(guid, StreamError::new(ErrorKind::Rejected, context)))
                });
            }
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

    async fn subscribe(&self) -> Result<Subscriber, StreamError> {
        let subject = format!("{}.*", self.inbox);
        let current = self.link.current();
        match timeout_at(Instant::now() + HAND_OVER, current.client.subscribe(subject)).await {
            Ok(Ok(acks)) => Ok(acks),
            Ok(Err(error)) => {
                let context = "could not subscribe to publish acknowledgements";
                Err(StreamError::new(ErrorKind::Closed, context).with_source(error))
            }
            Err(_) => Err(StreamError::new(ErrorKind::NotConnected, "the connection takes no commands")),
        }
    }

    /// Ends an entry, if it is still there.
    fn finish(&self, token: Token, result: impl FnOnce(Guid) -> PublishResult) {
        let Some(entry) = self.slab().remove(token) else { return };
        let result = result(entry.guid);
        // Counted before there is room, so that an emptied window means that all are counted; room before word, so
        // that whoever is told may publish at once.
        self.outcomes.note(&result);
        drop(entry.room);
        // Nobody waits any more: the event has been told.
        let _ = entry.tell.send(result);
    }

    async fn read(&self, mut acks: Subscriber) {
        loop {
            while let Some(answer) = acks.next().await {
                self.answered(&answer);
            }
            // The client underneath was replaced.
            acks = loop {
                self.link.connection().connected().await;
                sleep(LOOK).await;
                if let Ok(acks) = self.subscribe().await {
                    break acks;
                }
            };
        }
    }

    fn answered(&self, answer: &Message) {
        let Some(token) = Token::parse(&answer.subject) else { return };
        match Ack::parse(answer) {
            Ok(ack) => {
                let attempts = self.slab().get_mut(token).map_or(0, |entry| entry.progress.attempts);
                self.finish(token, |guid| {
                    let (sequence, duplicate) = (Some(ack.sequence), ack.duplicate);
                    Ok(PubReceipt { guid, sequence, duplicate, attempts })
                });
            }
            Err(error) => self.refused(token, error),
        }
    }

    fn refused(&self, token: Token, error: ApiError) {
        let nobody = error.kind() == ApiErrorKind::Request(RequestErrorKind::NoResponders);
        if nobody || error.is_transient() {
            // An election, most likely. This attempt is certainly not done.
            if let Some(entry) = self.slab().get_mut(token) {
                let progress = &mut entry.progress;
                progress.unanswered = progress.unanswered.saturating_sub(1);
                let delay = Duration::from_millis(250) * (1 << progress.attempts.saturating_sub(1).min(3));
                progress.step = Step::Due(Instant::now() + delay);
            }
        } else if matches!(error.kind(), ApiErrorKind::Server { .. }) {
            self.finish(token, |guid| Err(PublishError::not_done(guid, failure("publish", error))));
        }
        // Anything else is no answer.
    }

    /// Sends what is due and ends what is over.
    async fn watch(&self) {
        let mut denials = self.link.connection().events();
        loop {
            if self.slab().is_empty() {
                self.work.notified().await;
            }
            tokio::select! {
                biased;
                Ok(event) = denials.recv() => {
                    if let NatsEvent::PermissionDenied { subject, operation: Operation::Publish } = event {
                        self.denied(&subject);
                    }
                    continue;
                }
                () = sleep(LOOK) => {}
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
        let state = self.link.state();
        let up = state.up && self.link.is_up();
        let slab = self.slab();
        let mut found: Vec<_> = slab
            .iter()
            .filter_map(|(token, entry)| {
                let verdict = verdict(entry, now, up, state.epoch, state.since, self.config.on_unknown)?;
                Some((entry.progress.ticket, token, verdict))
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
        matches!(timeout_at(Instant::now() + HAND_OVER, sent).await, Ok(Ok(())))
    }

    fn over(&self, token: Token) {
        let Some(progress) = self.slab().get_mut(token).map(|entry| entry.progress) else { return };
        let timeout = self.config.ack_timeout;
        self.finish(token, |guid| {
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
            self.finish(token, |guid| Err(PublishError::not_done(guid, error)));
        }
    }

    /// The client is over: whatever is left ends now.
    fn abandon(&self) {
        let left: Vec<Token> = self.slab().iter().map(|(token, _)| token).collect();
        for token in left {
            let sent = self.slab().get_mut(token).is_some_and(|entry| entry.progress.unanswered > 0);
            let error = StreamError::new(ErrorKind::Closed, "the client was closed before an answer came");
            self.finish(token, |guid| {
                Err(if sent {
                    PublishError::unknown(guid, error)
                } else {
                    PublishError::not_done(guid, error)
                })
            });
        }
    }
}

/// What is to be done about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Send,
    Over,
}

fn verdict(
    entry: &Entry,
    now: Instant,
    up: bool,
    epoch: u64,
    since: Instant,
    on_unknown: OnUnknown,
) -> Option<Verdict> {
    if now >= entry.deadline {
        return Some(Verdict::Over);
    }
    if !up {
        return None;
    }
    let (lost, silent) = match entry.progress.step {
        Step::Due(at) => return (at <= now).then_some(Verdict::Send),
        Step::Sent { at, epoch: sent } => (sent != epoch && now - since >= GRACE, now - at >= ASK_AGAIN),
    };
    if !lost && !silent {
        return None;
    }
    // The server must still know the id with certainty when the repetition arrives.
    let margin = Duration::from_secs(10).min(entry.duplicate_window / 2);
    let first = entry.progress.first_sent.unwrap_or(now);
    let known = now - first < entry.duplicate_window - margin;
    match on_unknown {
        OnUnknown::Auto if known => Some(Verdict::Send),
        OnUnknown::Auto | OnUnknown::Report => lost.then_some(Verdict::Over),
    }
}
