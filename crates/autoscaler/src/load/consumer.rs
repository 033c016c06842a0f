use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use sluicegate_nats::{ApiError, ApiErrorKind, Connection, RequestErrorKind, code};

use super::probe::Probe;
use super::{Load, LoadSource};
use crate::{ScalerError, ScalerErrorKind};

/// How long the server may take to answer; shorter than the scaler's own request timeout, so that the error says
/// who was silent.
const TIMEOUT: Duration = Duration::from_millis(1_900);

/// The load of a durable pull consumer, as its own leader tells it.
///
/// Costs one request a look, whatever the message rate, and takes part in nothing: it does not consume, count as a
/// delivery or acknowledge. While nobody works it parks a *probe*: a pull that no message fits into, which the server
/// answers as soon as it could deliver something, a redelivery that falls due included.
///
/// Rights: publish `$JS.API.CONSUMER.INFO.<stream>.<consumer>`, and for the probe
/// `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`. Whoever may probe may also consume: where that is too much, use
/// [`polling`](Self::polling).
#[derive(Debug)]
pub struct ConsumerLoad {
    connection: Connection,
    name: String,
    verb: String,
    probe: Option<Probe>,
}

impl ConsumerLoad {
    /// Attaches to a consumer that exists.
    ///
    /// # Errors
    /// `NotDurable` if the server may remove the consumer while nobody pulls: on a stream with interest retention
    /// the messages would go with it. `Configuration` if it pushes, or does not ask for explicit acknowledgements.
    /// `NotFound`, `NotPermitted` (naming the subject), `Unavailable`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn bind(connection: &Connection, stream: &str, consumer: &str) -> Result<Self, ScalerError> {
        for (field, name) in [("stream", stream), ("consumer", consumer)] {
            let special = |c: char| c.is_whitespace() || matches!(c, '.' | '*' | '>');
            if name.is_empty() || name.contains(special) {
                return Err(ScalerError::configuration(field, format!("`{name}` is no name")));
            }
        }
        let verb = format!("CONSUMER.INFO.{stream}.{consumer}");
        let name = format!("{stream}.{consumer}");
        let info = ask(connection, &name, &verb).await?;
        info.config.check(&name)?;
        let probe = Probe::new(connection.clone(), stream, consumer, info.config.max_expires());
        Ok(Self { connection: connection.clone(), name, verb, probe: Some(probe) })
    }

    /// Without the probe: an idle consumer is asked once a second instead.
    #[must_use]
    pub fn polling(mut self) -> Self {
        self.probe = None;
        self
    }
}

#[async_trait]
impl LoadSource for ConsumerLoad {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self) -> Result<Load, ScalerError> {
        Ok(ask(&self.connection, &self.name, &self.verb).await?.load())
    }

    async fn wake(&self, _mark: u64) {
        match &self.probe {
            Some(probe) => probe.answered().await,
            None => std::future::pending().await,
        }
    }

    fn wakes(&self) -> bool {
        self.probe.as_ref().is_some_and(Probe::works)
    }
}

async fn ask(connection: &Connection, name: &str, verb: &str) -> Result<Info, ScalerError> {
    connection.api(verb, &(), TIMEOUT).await.map_err(|error| classify(name, error))
}

fn classify(name: &str, error: ApiError) -> ScalerError {
    let (kind, context) = match error.kind() {
        ApiErrorKind::Server { err_code, .. } if code::is_not_found(err_code) => {
            (ScalerErrorKind::NotFound, format!("consumer `{name}` or its stream does not exist: create it"))
        }
        ApiErrorKind::Request(RequestErrorKind::NotPermitted) => (
            ScalerErrorKind::NotPermitted,
            format!("consumer `{name}`: the server denies `{}`, grant it", error.subject()),
        ),
        _ => (ScalerErrorKind::Unavailable, format!("consumer `{name}` cannot be observed now")),
    };
    ScalerError::new(kind, context).with_source(error)
}

/// What is read of an answer to CONSUMER.INFO; servers leave out what is zero.
#[derive(Debug, Deserialize)]
struct Info {
    created: String,
    config: ConsumerConfig,
    delivered: Position,
    num_ack_pending: u64,
    num_pending: u64,
    num_waiting: u64,
    #[serde(default)]
    paused: bool,
    /// In nanoseconds.
    #[serde(default)]
    pause_remaining: u64,
}

#[derive(Debug, Deserialize)]
struct Position {
    consumer_seq: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConsumerConfig {
    durable_name: String,
    deliver_subject: String,
    ack_policy: String,
    /// In nanoseconds.
    inactive_threshold: u64,
    max_ack_pending: i64,
    max_waiting: i64,
    /// In nanoseconds.
    max_expires: u64,
}

impl Info {
    fn load(&self) -> Load {
        let mut epoch = DefaultHasher::new();
        self.created.hash(&mut epoch);
        let limit = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
        Load {
            pending: self.num_pending,
            ack_pending: self.num_ack_pending,
            delivered: self.delivered.consumer_seq,
            waiting: Some(self.num_waiting),
            max_ack_pending: limit(self.config.max_ack_pending),
            max_waiting: limit(self.config.max_waiting),
            paused: self.paused.then(|| Duration::from_nanos(self.pause_remaining)),
            epoch: epoch.finish(),
            age: Duration::ZERO,
        }
    }
}

impl ConsumerConfig {
    /// Refuses what would lose messages, or could not be scaled.
    fn check(&self, name: &str) -> Result<(), ScalerError> {
        if !self.deliver_subject.is_empty() {
            let problem = format!("`{name}` pushes: only a pull consumer shares its work between instances");
            return Err(ScalerError::configuration("consumer", problem));
        }
        if self.ack_policy != "explicit" {
            let policy = &self.ack_policy;
            let problem =
                format!("`{name}` has ack policy `{policy}`: what is in hand shows with `explicit` only");
            return Err(ScalerError::configuration("consumer", problem));
        }
        if self.durable_name.is_empty() {
            let problem = format!("consumer `{name}` is removed while nobody pulls: give it a durable name");
            return Err(ScalerError::new(ScalerErrorKind::NotDurable, problem));
        }
        if self.inactive_threshold > 0 {
            let after = Duration::from_nanos(self.inactive_threshold);
            let problem = format!(
                "consumer `{name}` is removed after {after:?} without a pull: unset inactive_threshold"
            );
            return Err(ScalerError::new(ScalerErrorKind::NotDurable, problem));
        }
        Ok(())
    }

    fn max_expires(&self) -> Option<Duration> {
        (self.max_expires > 0).then(|| Duration::from_nanos(self.max_expires))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(config: &str) -> Info {
        let json = format!(
            r#"{{"type":"x","stream_name":"S","name":"C","created":"2026-01-01T00:00:00Z","config":{config},
                "delivered":{{"consumer_seq":7,"stream_seq":9}},"ack_floor":{{"consumer_seq":1,"stream_seq":1}},
                "num_ack_pending":2,"num_redelivered":1,"num_waiting":3,"num_pending":40,"paused":true,
                "pause_remaining":1500000000}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn reads_what_servers_write() {
        let load =
            info(r#"{"durable_name":"C","ack_policy":"explicit","max_ack_pending":1000,"max_waiting":-1}"#)
                .load();
        let counters = (load.pending, load.ack_pending, load.delivered, load.waiting);
        assert_eq!(counters, (40, 2, 7, Some(3)));
        assert_eq!((load.max_ack_pending, load.max_waiting), (Some(1000), None));
        assert_eq!(load.paused, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn refuses_what_would_lose_messages_or_cannot_be_scaled() {
        use ScalerErrorKind::{Configuration, NotDurable};
        for (config, kind) in [
            (r#"{"ack_policy":"explicit"}"#, Some(NotDurable)),
            (
                r#"{"durable_name":"C","ack_policy":"explicit","inactive_threshold":5000000000}"#,
                Some(NotDurable),
            ),
            (r#"{"durable_name":"C","ack_policy":"all"}"#, Some(Configuration)),
            (r#"{"durable_name":"C","ack_policy":"explicit","deliver_subject":"x"}"#, Some(Configuration)),
            (r#"{"durable_name":"C","ack_policy":"explicit"}"#, None),
        ] {
            let refused = info(config).config.check("S.C").err().map(|error| error.kind());
            assert_eq!(refused, kind, "{config}");
        }
    }
}
