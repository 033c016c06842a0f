use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use sluicegate_nats::async_nats::Subject;
use sluicegate_nats::async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use sluicegate_nats::code;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::api::{self, failure, is_missing};
use super::config::Storage;
use super::link::Link;
use super::names::{checked, escape};
use super::{JetStreamConfig, StreamMap};
use crate::{Channel, Cluster, ErrorKind, StreamError};

/// The streams behind the channels.
#[derive(Debug)]
pub(super) struct Streams {
    config: JetStreamConfig,
    stream_prefix: String,
    subject_prefix: String,
    known: Mutex<HashMap<Channel, Arc<Resolved>>>,
}

/// A channel on the server.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) stream: String,
    pub(super) subject: Subject,
    /// A consumer that somebody else made.
    pub(super) bound: Option<String>,
    /// Whether the stream may hold other subjects too.
    pub(super) foreign: bool,
    pub(super) duplicate_window: Duration,
}

/// What `STREAM.INFO` says, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: Config,
    pub(super) created: String,
    pub(super) state: StreamState,
    /// The server's clock.
    #[serde(default)]
    ts: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamState {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

impl StreamInfo {
    pub(super) fn server_time(&self) -> Option<SystemTime> {
        let time = OffsetDateTime::parse(self.ts.as_deref()?, &Rfc3339).ok()?;
        Some(time.into())
    }
}

impl Streams {
    pub(super) fn new(cluster: &Cluster, config: JetStreamConfig) -> Self {
        let stream_prefix = config.stream_prefix.clone().unwrap_or_else(|| cluster.as_str().to_owned());
        let subject_prefix = config.subject_prefix.clone().unwrap_or_else(|| format!("{cluster}."));
        Self { config, stream_prefix, subject_prefix, known: Mutex::default() }
    }

    /// A channel that was resolved before.
    pub(super) fn known(&self, channel: &Channel) -> Option<Arc<Resolved>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    /// Finds the channel's stream, and makes it if that is wanted.
    pub(super) async fn resolve(&self, link: &Link, channel: &Channel) -> Result<Arc<Resolved>, StreamError> {
        if let Some(known) = self.known(channel) {
            return Ok(known);
        }
        let map = self.config.channels.get(channel.as_str()).unwrap_or(&StreamMap::Own);
        let resolved = Arc::new(match map {
            StreamMap::Own => self.own(link, channel).await?,
            StreamMap::Existing { stream, subject, consumer } => {
                let info = info(link, stream).await.map_err(|error| {
                    failure(&format!("channel {channel:?} is mapped to stream {stream:?}"), error)
                })?;
                Resolved {
                    stream: stream.clone(),
                    subject: subject.as_str().into(),
                    bound: consumer.clone(),
                    foreign: true,
                    duplicate_window: info.config.duplicate_window,
                }
            }
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(known.entry(channel.clone()).or_insert(resolved)))
    }

    async fn own(&self, link: &Link, channel: &Channel) -> Result<Resolved, StreamError> {
        let stream = checked(format!("{}_{}", escape(&self.stream_prefix), escape(channel.as_str())))?;
        let subject = format!("{}{channel}", self.subject_prefix);
        let wanted = self.wanted(&stream, &subject, channel);
        let what = format!("stream {stream:?} of channel {channel:?}");
        let found = match info(link, &stream).await {
            Err(error) if is_missing(&error) && self.config.auto_create => {
                create(link, &wanted).await.map_err(|error| failure(&what, error))?
            }
            other => other.map_err(|error| failure(&what, error))?,
        };
        if let Some(difference) = difference(&wanted, &found.config) {
            let context = format!(
                "{what} exists with {difference}: change the configuration, or map the channel to it as an \
                 existing stream"
            );
            return Err(StreamError::new(ErrorKind::Conflict, context));
        }
        let duplicate_window = found.config.duplicate_window;
        Ok(Resolved { stream, subject: subject.into(), bound: None, foreign: false, duplicate_window })
    }

    fn wanted(&self, stream: &str, subject: &str, channel: &Channel) -> Config {
        let metadata = BTreeMap::from([
            ("sluicegate.kind".to_owned(), "channel".to_owned()),
            ("sluicegate.channel".to_owned(), channel.to_string()),
        ]);
        Config {
            name: stream.to_owned(),
            subjects: vec![subject.to_owned()],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_messages: i64::try_from(self.config.max_messages.get()).unwrap_or(i64::MAX),
            max_bytes: i64::try_from(self.config.max_bytes.get()).unwrap_or(i64::MAX),
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_message_size: -1,
            storage: match self.config.storage {
                Storage::File => StorageType::File,
                Storage::Memory => StorageType::Memory,
            },
            num_replicas: usize::from(self.config.replicas.get()),
            duplicate_window: self.config.duplicate_window,
            allow_direct: true,
            metadata: metadata.into_iter().collect(),
            ..Config::default()
        }
    }
}

pub(super) async fn info(link: &Link, stream: &str) -> Result<StreamInfo, sluicegate_nats::ApiError> {
    api::call(link, &format!("STREAM.INFO.{stream}"), &()).await
}

async fn create(link: &Link, wanted: &Config) -> Result<StreamInfo, sluicegate_nats::ApiError> {
    match api::call(link, &format!("STREAM.CREATE.{}", wanted.name), wanted).await {
        // Somebody was faster, with another configuration: the caller says what differs.
        Err(error) if error.err_code() == Some(code::STREAM_NAME_EXISTS) => info(link, &wanted.name).await,
        other => other,
    }
}

/// What of that which we care for is not as wanted.
fn difference(wanted: &Config, found: &Config) -> Option<String> {
    let mut all = Vec::new();
    let mut compare = |field: &str, wanted: String, found: String| {
        if wanted != found {
            all.push(format!("{field} {found} instead of {wanted}"));
        }
    };
    compare("subjects", format!("{:?}", wanted.subjects), format!("{:?}", found.subjects));
    compare("retention", format!("{:?}", wanted.retention), format!("{:?}", found.retention));
    compare("discard", format!("{:?}", wanted.discard), format!("{:?}", found.discard));
    compare("storage", format!("{:?}", wanted.storage), format!("{:?}", found.storage));
    compare("max_msgs", wanted.max_messages.to_string(), found.max_messages.to_string());
    compare("max_bytes", wanted.max_bytes.to_string(), found.max_bytes.to_string());
    compare("num_replicas", wanted.num_replicas.to_string(), found.num_replicas.to_string());
    let windows = [wanted, found].map(|config| format!("{:?}", config.duplicate_window));
    let [wanted, found] = windows;
    compare("duplicate_window", wanted, found);
    (!all.is_empty()).then(|| all.join(", "))
}
