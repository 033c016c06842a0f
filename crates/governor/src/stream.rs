use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::try_join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::async_nats::{HeaderMap, Subject, header};
use sluicegate_nats::{ApiError, ApiErrorKind, Connection, RequestErrorKind, code};
use tokio::time::Instant;

use crate::error;
use crate::wire::{
    CountSubjects, DeleteMessage, Done, Found, GetMessage, MadeConsumer, NewConsumer, PurgeSubject, Purged,
    StoredConfig, StoredMessage, StreamInfo,
};

/// A walk through more messages than this ends with an error: no governor has so many.
const LONGEST_WALK: usize = 1_000_000;

/// How many messages are fetched at the same time.
const WIDEST_WALK: usize = 32;

/// The name of no stream: servers refuse it.
const NO_STREAM: &str = "none.of.that.name";

/// What became of one try to delete a message, or several.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// It was there, and is no more.
    Done,
    /// It was no longer there.
    Gone,
    /// There is no such stream.
    NoStream,
    /// It may or may not be there; an error of kind `Transient` was certainly without effect.
    Failed { error: LeaseError, unanswered: bool },
}

/// The API calls of one stream. Each is one try.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    connection: Connection,
    name: Arc<str>,
    timeout: Duration,
    /// Some request was answered: the inbox works.
    heard: Arc<AtomicBool>,
}

impl Stream {
    pub(crate) fn new(connection: &Connection, name: String, timeout: Duration) -> Self {
        let heard = Arc::new(AtomicBool::new(false));
        Self { connection: connection.clone(), name: name.into(), timeout, heard }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Publishes something that is not worth waiting for: if it cannot be handed over at once, it is dropped.
    pub(crate) fn publish(&self, subject: String, payload: Bytes) {
        if self.connection.client().publish(subject, payload).now_or_never().is_none() {
            tracing::debug!(stream = &*self.name, "no room for a message that nobody waits for");
        }
    }

    async fn api<T: DeserializeOwned>(&self, verb: &str, body: &impl Serialize) -> Result<T, ApiError> {
        let answer = self.connection.api(&format!("STREAM.{verb}.{}", self.name), body, self.timeout).await;
        if answer.as_ref().err().is_none_or(|error| matches!(error.kind(), ApiErrorKind::Server { .. })) {
            self.heard.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Makes certain that answers reach us, unless some did already: asks for something that no server does, because
    /// it expects another stream, but answers. Needs no other right than that to campaign.
    pub(crate) async fn prove_hearing(&self, subject: &str) -> Result<(), LeaseError> {
        if self.heard.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_EXPECTED_STREAM, NO_STREAM);
        match self.connection.request(subject, Some(headers), Bytes::new(), self.timeout).await {
            Ok(_) => {}
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {}
            Err(error) => return Err(error::read(&self.name, error.into())),
        }
        self.heard.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) async fn info(&self) -> Result<StreamInfo, LeaseError> {
        self.api("INFO", &()).await.map_err(|error| error::read(&self.name, error))
    }

    /// The stream, or that there is none.
    pub(crate) async fn find(&self) -> Result<Option<StreamInfo>, LeaseError> {
        match self.info().await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.kind() == LeaseErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn create(&self, config: &StoredConfig) -> Result<StreamInfo, LeaseError> {
        self.api("CREATE", config).await.map_err(|error| error::write(&self.name, error))
    }

    /// Reads the configuration, changes it and writes it, so that what we do not know of stays as it is; then looks
    /// whether the server did as it was told. `None`: the change changed nothing, and nothing was written.
    pub(crate) async fn change(
        &self,
        change: impl FnOnce(&mut StoredConfig),
    ) -> Result<Option<StreamInfo>, LeaseError> {
        let change = |_: &StreamInfo, config: &mut StoredConfig| {
            change(config);
            Ok(())
        };
        self.try_change(change).await.map(|((), after)| after)
    }

    /// As `change`, for a change that may be refused because of what the stream is like; then nothing is written.
    pub(crate) async fn try_change<T>(
        &self,
        change: impl FnOnce(&StreamInfo, &mut StoredConfig) -> Result<T, LeaseError>,
    ) -> Result<(T, Option<StreamInfo>), LeaseError> {
        let before = self.info().await?;
        let mut wanted = before.config.clone();
        let made = change(&before, &mut wanted)?;
        if wanted == before.config {
            return Ok((made, None));
        }
        let after: StreamInfo =
            self.api("UPDATE", &wanted).await.map_err(|error| error::write(&self.name, error))?;
        let kept = after.config.differences(&wanted);
        if kept.is_empty() {
            return Ok((made, Some(after)));
        }
        let context = format!("stream {} was updated, and yet: {kept}", self.name);
        Err(LeaseError::new(LeaseErrorKind::Unsupported, context))
    }

    pub(crate) async fn delete_message(&self, sequence: u64) -> Deleted {
        match self.api::<Done>("MSG.DELETE", &DeleteMessage::new(sequence)).await {
            Ok(Done { success: true }) => Deleted::Done,
            Ok(Done { success: false }) => Deleted::Gone,
            Err(error) => match error.kind() {
                ApiErrorKind::Server { err_code, .. } if code::is_gone(err_code, error.description()) => {
                    Deleted::Gone
                }
                ApiErrorKind::Server { err_code, .. } if code::is_stream_not_found(err_code) => {
                    Deleted::NoStream
                }
                _ => {
                    // A denied inbox keeps the answer from us, not the request from the server.
                    let denied = error.kind() == ApiErrorKind::Request(RequestErrorKind::NotPermitted);
                    let subject = self.connection.api_subject(&format!("STREAM.MSG.DELETE.{}", self.name));
                    let unanswered = error.is_unknown() || denied && error.subject() != subject;
                    Deleted::Failed { error: error::write(&self.name, error), unanswered }
                }
            },
        }
    }

    /// The same for the message that was sent under that id. If the request is `repeated`, the number may be somebody
    /// else's by now, in a stream that was made anew: then nothing is deleted.
    pub(crate) async fn delete_own(&self, sequence: u64, message_id: &str, repeated: bool) -> Deleted {
        if repeated {
            match self.get(GetMessage::Sequence { seq: sequence }).await {
                Ok(None) => return Deleted::Gone,
                Ok(Some(message)) if message.header("Nats-Msg-Id") != Some(message_id) => {
                    return Deleted::NoStream;
                }
                Err(error) if error.kind() == LeaseErrorKind::NotFound => return Deleted::NoStream,
                Err(error) if error.is_transient() => return Deleted::Failed { error, unanswered: false },
                // Who may not look can only try.
                Ok(Some(_)) | Err(_) => {}
            }
        }
        self.delete_message(sequence).await
    }

    /// Deletes all messages on the subjects that match, at once.
    pub(crate) async fn delete_matching(&self, filter: &str) -> Deleted {
        match self.api::<Purged>("PURGE", &PurgeSubject { filter }).await {
            Ok(Purged { purged: 0 }) => Deleted::Gone,
            Ok(_) => Deleted::Done,
            Err(error) if error.err_code().is_some_and(code::is_stream_not_found) => Deleted::NoStream,
            Err(error) => {
                let unanswered = error.is_unknown();
                Deleted::Failed { error: error::write(&self.name, error), unanswered }
            }
        }
    }

    /// The stream, with the number of messages by subject, of the subjects that match.
    pub(crate) async fn info_of(&self, filter: &str) -> Result<StreamInfo, LeaseError> {
        let counted = self.api("INFO", &CountSubjects { subjects_filter: filter }).await;
        counted.map_err(|error| error::read(&self.name, error))
    }

    /// How many subjects that match have a message.
    pub(crate) async fn count_matching(&self, filter: &str) -> Result<usize, LeaseError> {
        Ok(self.info_of(filter).await?.state.subjects.map_or(0, |subjects| subjects.len()))
    }

    /// Has all messages delivered to that subject.
    pub(crate) async fn consume(
        &self,
        deliver_subject: &str,
        heartbeat: Duration,
        forgotten: Duration,
    ) -> Result<MadeConsumer, LeaseError> {
        let wanted = NewConsumer::ordered(&self.name, deliver_subject, heartbeat, forgotten);
        let verb = format!("CONSUMER.CREATE.{}", self.name);
        let made = self.connection.api(&verb, &wanted, self.timeout).await;
        made.map_err(|error| error::read(&self.name, error))
    }

    /// Deletes a message, and lets the server send its answer to that subject.
    pub(crate) async fn delete_telling(&self, sequence: u64, reply: &Subject) {
        let subject = self.connection.api_subject(&format!("STREAM.MSG.DELETE.{}", self.name));
        let body = serde_json::to_vec(&DeleteMessage::new(sequence)).unwrap_or_default();
        let client = self.connection.client();
        // Whether it was sent shows when it is repeated.
        let sending = client.publish_with_reply(subject, reply.clone(), body.into());
        drop(tokio::time::timeout(self.timeout, sending).await);
    }

    pub(crate) async fn get(&self, which: GetMessage<'_>) -> Result<Option<StoredMessage>, LeaseError> {
        match self.api::<Found>("MSG.GET", &which).await {
            Ok(found) => Ok(Some(found.message)),
            Err(error) if error.err_code() == Some(code::NO_MESSAGE_FOUND) => Ok(None),
            Err(error) => Err(error::read(&self.name, error)),
        }
    }

    /// All messages of the stream that was just seen, oldest first, each with its age by the server's clock.
    pub(crate) async fn walk(&self, info: &StreamInfo) -> Result<Vec<(StoredMessage, Duration)>, LeaseError> {
        let (messages, complete) = self.walk_at_most(info, LONGEST_WALK).await?;
        if complete { Ok(messages) } else { Err(self.endless()) }
    }

    /// As `walk`, but not more than so many; and whether these are all.
    pub(crate) async fn walk_at_most(
        &self,
        info: &StreamInfo,
        most: usize,
    ) -> Result<(Vec<(StoredMessage, Duration)>, bool), LeaseError> {
        let seen = Instant::now();
        let expected = usize::try_from(info.state.messages).unwrap_or(usize::MAX);
        let mut messages: Vec<(StoredMessage, Duration)> = Vec::new();
        let mut from = info.state.first_seq.max(1);
        // Several at once, as long as none of them is in vain: mostly the sequences have no gaps.
        let mut window = 1_usize;
        loop {
            let now = window.min(expected.saturating_sub(messages.len())).max(1);
            let sequences: Vec<u64> = (0..now as u64).filter_map(|n| from.checked_add(n)).collect();
            let get = |seq: &u64| self.get(GetMessage::Next { seq: *seq, next_by_subj: ">" });
            let found = try_join_all(sequences.iter().map(get)).await?;
            let mut fresh = 0;
            for (asked, found) in sequences.into_iter().zip(found) {
                let Some(message) = found else { return Ok((messages, true)) };
                // A server that does not move on would keep us here for ever.
                if message.seq < asked {
                    return Err(self.endless());
                }
                // The first at or after one sequence is that at or after the next one too, if there is a gap.
                if message.seq >= from {
                    if messages.len() == most {
                        return Ok((messages, false));
                    }
                    // Zero: younger than the look at the stream.
                    let age = info.since(message.time).filter(|age| !age.is_zero());
                    let age = age.map_or(Duration::ZERO, |age| age + seen.elapsed());
                    let next = message.seq.checked_add(1);
                    messages.push((message, age));
                    let Some(next) = next else { return Ok((messages, true)) };
                    from = next;
                    fresh += 1;
                }
            }
            window = if fresh == now { (window * 2).min(WIDEST_WALK) } else { 1 };
        }
    }

    fn endless(&self) -> LeaseError {
        let context = format!("stream {}: the list of its messages does not end", self.name);
        LeaseError::new(LeaseErrorKind::Misconfigured, context)
    }

    pub(crate) async fn purge(&self) -> Result<u64, LeaseError> {
        let purged: Purged = self.api("PURGE", &()).await.map_err(|error| error::write(&self.name, error))?;
        Ok(purged.purged)
    }

    pub(crate) async fn delete(&self) -> Result<(), LeaseError> {
        let _: Done = self.api("DELETE", &()).await.map_err(|error| error::write(&self.name, error))?;
        Ok(())
    }

    /// Why nobody listens on the stream's subject: it does not exist, or it has no leader for now.
    pub(crate) async fn why_silent(&self, error: ApiError) -> Result<StreamInfo, LeaseError> {
        debug_assert_eq!(error.kind(), ApiErrorKind::Request(RequestErrorKind::NoResponders));
        match self.info().await {
            Err(other) if other.kind() != LeaseErrorKind::NotFound => Err(error::write(&self.name, error)),
            answer => answer,
        }
    }
}
