//! A stream's messages as they are stored, in order and without gaps, over reconnects, restarts and new streams.

use std::time::Duration;

use futures::StreamExt;
use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::NatsEvent;
use sluicegate_nats::async_nats::{Client, HeaderMap, Message, StatusCode};
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout};

use crate::stream::Stream;
use crate::wire::StreamInfo;

/// How often the server says that it is still there. Longer than that twice without a word: asked anew.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The server forgets a consumer that nobody has listened to for so long.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// Pause before the next try, after a failure: so long at first, and that long in the end.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What is told of a stream.
#[derive(Debug)]
pub(super) enum Fed<'a> {
    /// The stream as it was just seen. Everything that it has, or had up to its last sequence, is told from here on.
    Anew(&'a StreamInfo),
    Stored(Entry<'a>),
    /// Everything that was stored has been told.
    Current,
    /// From now on messages may be stored that are not told.
    Stale,
}

/// A message, just stored or from before.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) sequence: u64,
    pub(super) subject: &'a str,
    /// By the server's clock.
    pub(super) time: OffsetDateTime,
    pub(super) arrived: Instant,
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) payload: &'a [u8],
}

impl Entry<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers?.get(name).map(|value| value.as_str())
    }
}

/// Tells what is stored, until that turns out to be of no use: the right to follow the stream is missing.
pub(super) async fn follow(stream: &Stream, tell: impl Fn(Fed<'_>)) -> LeaseError {
    let mut pause = PAUSES.0;
    loop {
        let ended = follow_once(stream, &tell).await;
        tell(Fed::Stale);
        match ended {
            Ok(()) => pause = PAUSES.0,
            Err(error) if error.kind() == LeaseErrorKind::NotPermitted => return error,
            Err(error) => {
                tracing::debug!(stream = &**stream.name(), %error, "cannot be followed now");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Until it has to be asked anew.
async fn follow_once(stream: &Stream, tell: &impl Fn(Fed<'_>)) -> Result<(), LeaseError> {
    let connection = stream.connection();
    let mut events = connection.events();
    connection.connected().await;
    let client = connection.client();
    let inbox = client.new_inbox();
    let mut messages = client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| LeaseError::new(LeaseErrorKind::Transient, "the client ended").with_source(error))?;
    let info = stream.info().await?;
    tell(Fed::Anew(&info));
    let made = stream.consume(&inbox, HEARTBEAT, FORGOTTEN).await?;
    if made.num_pending == 0 {
        tell(Fed::Current);
    }
    let mut last = 0;
    loop {
        let message = tokio::select! {
            biased;
            event = events.recv() => match event {
                // A subscription that is made anew is too late for what was sent in between.
                Ok(NatsEvent::Disconnected | NatsEvent::Reconnected | NatsEvent::ClientRebuilt)
                | Err(RecvError::Lagged(_)) => return Ok(()),
                // A client that was made elsewhere tells nothing: the heartbeats have to do.
                Err(RecvError::Closed) => timeout(HEARTBEAT * 2, messages.next()).await,
                Ok(_) => continue,
            },
            message = timeout(HEARTBEAT * 2, messages.next()) => message,
        };
        let Ok(Some(message)) = message else { return Ok(()) };
        let arrived = Instant::now();
        if let Some(status) = message.status {
            match heartbeat(&client, &message, status).await {
                Beat::Alive { last: told } if told.is_none_or(|told| told == last) => continue,
                _ => return Ok(()),
            }
        }
        let Some(place) = message.reply.as_deref().and_then(place) else { continue };
        if place.delivery != last + 1 {
            return Ok(());
        }
        last = place.delivery;
        tell(Fed::Stored(Entry {
            sequence: place.sequence,
            subject: &message.subject,
            time: place.time,
            arrived,
            headers: message.headers.as_ref(),
            payload: &message.payload,
        }));
        if place.pending == 0 {
            tell(Fed::Current);
        }
    }
}

enum Beat {
    /// The consumer is there, and has delivered so many messages.
    Alive {
        last: Option<u64>,
    },
    Ended,
}

async fn heartbeat(client: &Client, message: &Message, status: StatusCode) -> Beat {
    if status != StatusCode::IDLE_HEARTBEAT {
        return Beat::Ended;
    }
    let header = |name: &str| message.headers.as_ref()?.get(name).map(|value| value.as_str().to_owned());
    // Flow control: the server waits until we say that we have got so far.
    let stalled = header("Nats-Consumer-Stalled");
    if let Some(go_on) = message.reply.as_ref().map(ToString::to_string).or(stalled)
        && client.publish(go_on, Default::default()).await.is_err()
    {
        return Beat::Ended;
    }
    Beat::Alive { last: header("Nats-Last-Consumer").and_then(|last| last.parse().ok()) }
}

/// Where a message stands, as its reply subject says.
#[derive(Debug, PartialEq)]
struct Place {
    sequence: u64,
    delivery: u64,
    time: OffsetDateTime,
    pending: u64,
}

/// `$JS.ACK.<stream>.<consumer>.<tries>.<sequence>.<delivery>.<time>.<pending>`, in later versions with domain and
/// account before the stream and a token behind.
fn place(reply: &str) -> Option<Place> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let from = match tokens.len() {
        7 => 3,
        9.. => 5,
        _ => return None,
    };
    let number = |n: usize| tokens.get(from + n)?.parse::<u64>().ok();
    let nanos = i128::from(number(2)?);
    Some(Place {
        sequence: number(0)?,
        delivery: number(1)?,
        time: OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?,
        pending: number(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_read_in_both_forms() {
        let time = OffsetDateTime::from_unix_timestamp_nanos(1_795_309_080_033_843_000).unwrap();
        let expected = Some(Place { sequence: 7, delivery: 3, time, pending: 2 });
        assert_eq!(place("$JS.ACK.S.c.1.7.3.1795309080033843000.2"), expected);
        assert_eq!(place("$JS.ACK.hub.ACC.S.c.1.7.3.1795309080033843000.2.x1"), expected);
        assert_eq!(place("$JS.ACK._.ACC.S.c.1.7.3.1795309080033843000.2"), expected);
        for bad in ["", "$JS.ACK.", "$JS.ACK.S.c.1.7.3.x.2", "$JS.ACK.S.c.1.7.3.1.2.3", "$JS.FC.S.c.x"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
