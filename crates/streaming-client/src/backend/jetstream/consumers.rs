//! Positions on the server.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_nats::ApiError;
use sluicegate_nats::async_nats::jetstream::consumer::{
    AckPolicy, Config, DeliverPolicy, Info, IntoConsumerConfig, pull,
};
use time::OffsetDateTime;

use super::api::{self, failure, is_missing};
use super::link::Link;
use super::names;
use super::streams::{Resolved, StreamInfo, StreamState, info};
use crate::subscribe::Wanted;
use crate::{ClientId, ErrorKind, Start, StreamError};

/// How long a position without a durable name lives when nobody pulls from it.
const INACTIVE: Duration = Duration::from_secs(300);

/// A shared position lets each member have its own bound; this one is for all of them.
const SHARED_ACK_PENDING: i64 = 65_536;

/// A position that a subscription reads from.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) stream: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// What the server said of it.
    pub(super) info: Info,
    /// What it is made with, where we may make it.
    config: Option<Box<Config>>,
    /// The first message it reads, if that was known when it was asked for.
    pub(super) start: Option<u64>,
    /// Which stream it was, if one of the same name is made anew.
    created: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody else's; never made, changed or deleted.
    Bound,
    /// This subscription's alone, and gone with it.
    Plain,
    /// Ours, and perhaps others' too.
    Named,
}

/// What looking for a lost position found.
#[derive(Debug)]
pub(super) enum Found {
    /// It is there.
    Same,
    /// It was made anew and goes on there; `None`: where it was first asked to start.
    Remade(Option<u64>),
    /// It was made anew on a stream that was made anew: sequences begin again.
    Reset,
}

#[derive(Serialize)]
struct CreateRequest<'a> {
    stream_name: &'a str,
    config: &'a Config,
    action: &'static str,
}

#[derive(Deserialize)]
struct Deleted {}

/// Finds the position, and makes it where it is ours to make.
pub(super) async fn ensure(
    link: &Link,
    client: &ClientId,
    resolved: &Resolved,
    wanted: &Wanted,
) -> Result<Position, StreamError> {
    let stream = &resolved.stream;
    if let Some(bound) = &resolved.bound {
        let what = format!(
            "consumer {bound:?} of stream {stream:?}, to which channel {:?} is bound",
            wanted.channel
        );
        let found = look(link, stream, bound).await.map_err(|error| failure(&what, error))?;
        let config = &found.config;
        if config.deliver_subject.is_some() || config.ack_policy != AckPolicy::Explicit {
            let context = format!("{what}: needs pull delivery and explicit acknowledgement");
            return Err(StreamError::new(ErrorKind::Conflict, context));
        }
        return Ok(Position {
            stream: stream.clone(),
            name: bound.clone(),
            kind: Kind::Bound,
            info: found,
            config: None,
            start: None,
            created: String::new(),
        });
    }
    let (name, kind) = match names::consumer(client, wanted)? {
        Some(name) => (name, Kind::Named),
        None => (format!("p_{}", names::escape(ClientId::random().as_str())), Kind::Plain),
    };
    let what = format!("consumer {name:?} of stream {stream:?}");
    let stream_info =
        info(link, stream).await.map_err(|error| failure(&format!("stream {stream:?}"), error))?;
    let config = config(&name, kind, client, resolved, wanted, &stream_info);
    let found = match look(link, stream, &name).await {
        Err(error) if is_missing(&error) => create(link, stream, &config, "create").await,
        Ok(found)
            if config.ack_wait != found.config.ack_wait
                || config.max_ack_pending != found.config.max_ack_pending =>
        {
            update(link, stream, &name, &config).await
        }
        other => other,
    };
    let found = found.map_err(|error| failure(&what, error))?;
    Ok(Position {
        stream: stream.clone(),
        name,
        kind,
        info: found,
        config: Some(Box::new(config)),
        start: first_read(wanted.start, resolved.foreign, &stream_info.state),
        created: stream_info.created,
    })
}

/// Looks for a position that went silent, and makes it anew where it is ours to make; `from`: where it is to go on.
pub(super) async fn find_again(
    link: &Link,
    position: &Position,
    from: Option<u64>,
) -> Result<Found, StreamError> {
    let Position { stream, name, .. } = position;
    let what = format!("consumer {name:?} of stream {stream:?}");
    match look(link, stream, name).await {
        Ok(_) => return Ok(Found::Same),
        Err(error) if is_missing(&error) && position.config.is_some() => {}
        Err(error) => return Err(failure(&what, error)),
    }
    let Some(config) = &position.config else { return Ok(Found::Same) };
    let mut config = (**config).clone();
    let stream_info =
        info(link, stream).await.map_err(|error| failure(&format!("stream {stream:?}"), error))?;
    let reset = stream_info.created != position.created;
    if reset {
        config.deliver_policy = DeliverPolicy::All;
    } else if let Some(start_sequence) = from {
        config.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence };
    }
    create(link, stream, &config, "").await.map_err(|error| failure(&what, error))?;
    Ok(if reset { Found::Reset } else { Found::Remade(from) })
}

pub(super) async fn delete(link: &Link, position: &Position) {
    let verb = format!("CONSUMER.DELETE.{}.{}", position.stream, position.name);
    let deleted: Result<Deleted, _> = link.connection().api(&verb, &(), Duration::from_secs(2)).await;
    if let Err(error) = deleted {
        // It goes by itself after a while, or stays until somebody unsubscribes.
        tracing::debug!(target: "sluicegate::stream", consumer = position.name, %error, "not deleted");
    }
}

async fn look(link: &Link, stream: &str, name: &str) -> Result<Info, ApiError> {
    api::call(link, &format!("CONSUMER.INFO.{stream}.{name}"), &()).await
}

async fn create(link: &Link, stream: &str, config: &Config, action: &'static str) -> Result<Info, ApiError> {
    let name = config.name.as_deref().unwrap_or_default();
    let request = CreateRequest { stream_name: stream, config, action };
    match api::call(link, &format!("CONSUMER.CREATE.{stream}.{name}"), &request).await {
        // A repeated try finds its own work, or another member was faster.
        Err(error) if error.err_code().is_some() => match look(link, stream, name).await {
            Ok(found) => Ok(found),
            Err(_) => Err(error),
        },
        other => other,
    }
}

/// Takes over ack wait and bound, and nothing else: where a position started cannot be changed.
async fn update(link: &Link, stream: &str, name: &str, ours: &Config) -> Result<Info, ApiError> {
    let mut config = look(link, stream, name).await?.config;
    config.name = Some(name.to_owned());
    config.ack_wait = ours.ack_wait;
    config.max_ack_pending = ours.max_ack_pending;
    create(link, stream, &config, "update").await
}

fn config(
    name: &str,
    kind: Kind,
    client: &ClientId,
    resolved: &Resolved,
    wanted: &Wanted,
    stream: &StreamInfo,
) -> Config {
    let durable = wanted.durable.is_some();
    let mut metadata = vec![("sluicegate.kind", "subscription".to_owned())];
    metadata.push(("sluicegate.channel", wanted.channel.to_string()));
    metadata.push(("sluicegate.client-id", client.to_string()));
    metadata.extend(wanted.durable.as_ref().map(|durable| ("sluicegate.durable", durable.to_string())));
    metadata.extend(wanted.queue.as_ref().map(|queue| ("sluicegate.queue", queue.to_string())));
    let config = pull::Config {
        name: Some(name.to_owned()),
        durable_name: durable.then(|| name.to_owned()),
        deliver_policy: deliver_policy(wanted.start, stream),
        ack_policy: AckPolicy::Explicit,
        ack_wait: wanted.ack_wait,
        max_deliver: -1,
        max_ack_pending: match wanted.queue {
            None => i64::from(wanted.max_in_flight),
            Some(_) => SHARED_ACK_PENDING,
        },
        filter_subject: if resolved.foreign { resolved.subject.to_string() } else { String::new() },
        inactive_threshold: if durable { Duration::ZERO } else { INACTIVE },
        memory_storage: kind == Kind::Plain,
        num_replicas: usize::from(kind == Kind::Plain),
        metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        ..pull::Config::default()
    };
    config.into_consumer_config()
}

/// Where a start that is relative to the stream's end lies now: made anew later, it would skip what came meanwhile.
fn first_read(start: Start, foreign: bool, state: &StreamState) -> Option<u64> {
    match start {
        Start::New => Some(state.last_seq + 1),
        // Which message of a foreign stream is the last of its subject, the stream does not tell.
        Start::LastReceived if !foreign => Some(state.last_seq.max(1)),
        _ => None,
    }
}

fn deliver_policy(start: Start, stream: &StreamInfo) -> DeliverPolicy {
    match start {
        Start::New => DeliverPolicy::New,
        Start::LastReceived => DeliverPolicy::Last,
        Start::First => DeliverPolicy::All,
        Start::Sequence(sequence) => {
            let (first, next) = (stream.state.first_seq.max(1), stream.state.last_seq + 1);
            DeliverPolicy::ByStartSequence { start_sequence: sequence.clamp(first.min(next), next) }
        }
        Start::Time(time) => DeliverPolicy::ByStartTime { start_time: OffsetDateTime::from(time) },
        Start::Ago(ago) => match stream.server_time().and_then(|now| now.checked_sub(ago)) {
            Some(time) => DeliverPolicy::ByStartTime { start_time: OffsetDateTime::from(time) },
            None => DeliverPolicy::All,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_at_the_end_is_remembered_as_a_number() {
        let state = StreamState { first_seq: 3, last_seq: 7 };
        assert_eq!(first_read(Start::New, true, &state), Some(8));
        assert_eq!(first_read(Start::LastReceived, false, &state), Some(7));
        assert_eq!(first_read(Start::LastReceived, true, &state), None);
        assert_eq!(first_read(Start::First, false, &state), None, "it says so itself");
        let empty = StreamState { first_seq: 0, last_seq: 0 };
        assert_eq!(first_read(Start::New, false, &empty), Some(1));
        assert_eq!(first_read(Start::LastReceived, false, &empty), Some(1));
    }
}
