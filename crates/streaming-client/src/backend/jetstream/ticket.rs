use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sluicegate_core::later;
use sluicegate_nats::async_nats::Subject;
use sluicegate_nats::{RequestError, RequestErrorKind};
use tokio::time::Instant;

use super::link::Link;
use super::slots::{Slots, expiry};
use crate::subscribe::Settle;
use crate::{ErrorKind, StreamError};

/// Where word about one delivery goes.
pub(crate) struct Ticket {
    pub(super) link: Arc<Link>,
    pub(super) slots: Arc<Slots>,
    pub(super) reply: Subject,
    pub(super) sequence: u64,
}

/// What the reply subject of a delivery tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) delivered: u32,
    pub(super) sequence: u64,
    pub(super) timestamp: SystemTime,
}

impl Ticket {
    pub(crate) async fn settle(&self, how: Settle<'_>, patience: Duration) -> Result<(), StreamError> {
        let deadline = later(Instant::now(), patience);
        match how {
            Settle::Ack => self.send(Bytes::from_static(b"+ACK"), deadline).await?,
            Settle::Confirmed => self.confirm(patience).await?,
            Settle::Nak(delay) if delay.is_zero() => self.send(nak(), deadline).await?,
            Settle::Nak(delay) => {
                let word = format!("-NAK {{\"delay\": {}}}", delay.as_nanos());
                self.send(word.into(), deadline).await?;
            }
            Settle::Term(reason) => {
                let reason = reason.replace(char::is_control, " ");
                let word = format!("+TERM {reason}");
                self.send(word.trim_end().to_owned().into(), deadline).await?;
            }
        }
        match how {
            Settle::Nak(_) => self.slots.give_back(self.sequence),
            _ => self.slots.settle(self.sequence),
        }
        Ok(())
    }

    pub(crate) async fn in_progress(&self, ack_wait: Duration) -> Result<(), StreamError> {
        let now = Instant::now();
        self.send(Bytes::from_static(b"+WPI"), later(now, ack_wait / 3)).await?;
        self.slots.extend(self.sequence, expiry(now, ack_wait));
        Ok(())
    }

    async fn send(&self, word: Bytes, deadline: Instant) -> Result<(), StreamError> {
        self.link.publish(&self.reply, word, deadline).await
    }

    async fn confirm(&self, patience: Duration) -> Result<(), StreamError> {
        let word = Bytes::from_static(b"+ACK");
        match self.link.connection().request(&self.reply, None, word, patience).await {
            Ok(_) => Ok(()),
            // The position is gone. It was ours alone, will be made anew, and copies of what was settled here do not
            // get past the slots.
            Err(error) if error.kind() == RequestErrorKind::NoResponders && self.slots.remembers() => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }
}

pub(super) fn nak() -> Bytes {
    Bytes::from_static(b"-NAK")
}

fn failure(error: RequestError) -> StreamError {
    let kind = match error.kind() {
        RequestErrorKind::TimedOut => ErrorKind::Timeout,
        RequestErrorKind::NotPermitted => ErrorKind::NotPermitted,
        RequestErrorKind::NoResponders => ErrorKind::NotFound,
        RequestErrorKind::NotConnected => ErrorKind::NotConnected,
        _ => ErrorKind::Closed,
    };
    StreamError::new(kind, format!("acknowledgement: {error}")).with_source(error)
}

impl Facts {
    /// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<nanoseconds>.<pending>`, also
    /// with domain and account hash before and anything after it. Bytes from anywhere: `None` if it is not that.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let skip = if rest.split('.').count() >= 9 { 4 } else { 2 };
        let mut tokens = rest.split('.').skip(skip);
        let delivered: u64 = tokens.next()?.parse().ok()?;
        let sequence: u64 = tokens.next()?.parse().ok()?;
        let _consumer_sequence: u64 = tokens.next()?.parse().ok()?;
        let nanos: u64 = tokens.next()?.parse().ok()?;
        let _pending: u64 = tokens.next()?.parse().ok()?;
        if delivered == 0 || sequence == 0 {
            return None;
        }
        Some(Self {
            delivered: u32::try_from(delivered).unwrap_or(u32::MAX),
            sequence,
            timestamp: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let old = Facts::parse("$JS.ACK.events.durable.3.100.7.1790230470084404000.42").unwrap();
        assert_eq!((old.delivered, old.sequence), (3, 100));
        let new = Facts::parse("$JS.ACK._.hash.events.durable.3.100.7.1790230470084404000.42.token").unwrap();
        assert_eq!(new, old);
        assert_eq!(Facts::parse("$JS.ACK.d.hash.s.c.1.2.3.4.5").unwrap().sequence, 2);
        for bad in
            ["", "$JS.ACK.", "_INBOX.x", "$JS.ACK.s.c.0.1.1.1.1", "$JS.ACK.s.c.1.0.1.1.1", "$JS.ACK.s.c.1.1"]
        {
            assert_eq!(Facts::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_reply_panics(text in "(\\$JS\\.ACK\\.)?[a-z0-9._-]{0,80}") {
            let _ = Facts::parse(&text);
        }
    }
}
