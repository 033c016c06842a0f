use std::collections::{BTreeMap, BTreeSet};

use futures::future::join;
use futures::{StreamExt, stream};
use serde_json::Value;
use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::Connection;

use super::view::GovernorSummary;
use crate::stream::Stream;
use crate::wire::{Page, PageRequest, StreamInfo};
use crate::{PoolOptions, Wire, error, protocol};

/// The subjects of governors, wherever they come from: the library's default, choria's, and native ones.
const SUBJECTS: [&str; 3] = ["$GOVERNOR.campaign.*", "*.governor.*", "$GOVERNOR2.>"];

/// How many streams are looked at one by one at the same time.
const AT_ONCE: usize = 16;

/// Which governors to list; `Default` is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Filter {
    collective: Option<String>,
    prefix: String,
}

impl Filter {
    /// All governors of the account, of either wire and whatever their subjects.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those of that collective of choria: with a subject `<collective>.governor.<NAME>`.
    pub fn collective(mut self, collective: impl Into<String>) -> Self {
        self.collective = Some(collective.into());
        self
    }

    /// Only those whose name begins so.
    pub fn names(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    fn subjects(&self) -> Result<Vec<String>, LeaseError> {
        let Some(collective) = &self.collective else {
            return Ok(SUBJECTS.map(str::to_owned).to_vec());
        };
        let bad = |c: char| matches!(c, '*' | '>') || c.is_whitespace() || c.is_control();
        if collective.is_empty() || collective.contains(bad) || collective.split('.').any(str::is_empty) {
            let context = format!("collective is {collective:?}: the beginning of a subject is needed");
            return Err(LeaseError::new(LeaseErrorKind::Invalid, context));
        }
        Ok(vec![format!("{collective}.governor.*")])
    }

    /// Name and wire of the governor that such a stream is, if it is one, and asked for.
    fn matches<'a>(&self, stream: &'a str) -> Option<(&'a str, Wire)> {
        let (name, wire) = match stream.strip_prefix("GOVERNOR_") {
            Some(name) => (name, Wire::Campaign),
            None => (stream.strip_prefix("GOVERNOR2_")?, Wire::Native),
        };
        (!name.is_empty() && name.starts_with(&self.prefix)).then_some((name, wire))
    }

    /// As `matches`, for a stream that was seen.
    fn summary(&self, info: &StreamInfo) -> Option<GovernorSummary> {
        let (name, wire) = self.matches(info.config.text("name")?)?;
        if let Some(collective) = &self.collective {
            let rest = info.config.subject()?.strip_prefix(collective.as_str())?;
            rest.strip_prefix(".governor.")?;
        }
        Some(GovernorSummary::new(name, protocol::of(wire), info))
    }
}

/// All governors that the filter lets through, sorted by name.
pub(super) async fn list(
    connection: &Connection,
    filter: &Filter,
) -> Result<Vec<GovernorSummary>, LeaseError> {
    let subjects = filter.subjects()?;
    let streams = Streams { connection, options: PoolOptions::default() };
    // Whole streams are all that is needed, where they may be listed and answer; the names tell of the others.
    let by_subject = filter.collective.as_ref().and(subjects.first()).map(String::as_str);
    let names = stream::iter(&subjects).map(|subject| streams.pages("NAMES", Some(subject)));
    let (names, listed) =
        join(names.buffered(SUBJECTS.len()).collect::<Vec<_>>(), streams.pages("LIST", by_subject)).await;

    let mut missing = BTreeSet::new();
    let mut found = BTreeMap::new();
    let mut denied = None;
    let mut answered = false;
    for answer in names {
        match answer {
            Ok(pages) => {
                answered = true;
                let names = pages.streams.into_iter().filter_map(|name| name.as_str().map(str::to_owned));
                missing.extend(names.chain(pages.missing));
            }
            Err(error) if error.kind() == LeaseErrorKind::NotPermitted => denied = Some(error),
            Err(error) => return Err(error),
        }
    }
    match listed {
        Ok(pages) => {
            answered = true;
            missing.extend(pages.missing);
            for value in pages.streams {
                let name = name_of(&value).map(str::to_owned);
                match serde_json::from_value::<StreamInfo>(value) {
                    Ok(info) => {
                        if let Some(summary) = filter.summary(&info) {
                            found.insert((summary.name.clone(), summary.wire), summary);
                        }
                        name.map(|name| missing.remove(&name));
                    }
                    Err(_) => missing.extend(name),
                }
            }
        }
        Err(error) if error.kind() == LeaseErrorKind::NotPermitted => {
            tracing::warn!(%error, "governors on unusual subjects are not listed");
            denied = Some(error);
        }
        Err(error) => return Err(error),
    }
    if let Some(denied) = denied
        && !answered
    {
        return Err(denied);
    }

    let missing = missing.iter().filter_map(|stream| filter.matches(stream).map(|which| (stream, which)));
    let looks = stream::iter(missing).map(|(stream, (name, wire))| streams.look(filter, stream, name, wire));
    let looked: Vec<_> = looks.buffered(AT_ONCE).collect().await;
    for summary in looked.into_iter().flatten() {
        found.insert((summary.name.clone(), summary.wire), summary);
    }
    Ok(found.into_values().collect())
}

struct Streams<'a> {
    connection: &'a Connection,
    options: PoolOptions,
}

#[derive(Default)]
struct Listed {
    streams: Vec<Value>,
    missing: Vec<String>,
}

impl Streams<'_> {
    async fn pages(&self, verb: &str, subject: Option<&str>) -> Result<Listed, LeaseError> {
        let mut listed = Listed::default();
        let mut known = BTreeSet::new();
        let mut offset: u64 = 0;
        loop {
            let request = PageRequest::new(offset, subject);
            let timeout = self.options.request_timeout;
            let answer = self.connection.api::<Page>(&format!("STREAM.{verb}"), &request, timeout).await;
            let page = answer.map_err(error::list)?;
            let total = page.total;
            let (streams, missing) = page.into_parts();
            let count = streams.len() + missing.len();
            let names = streams.iter().filter_map(name_of).chain(missing.iter().map(String::as_str));
            let news = names.filter(|name| known.insert((*name).to_owned())).count();
            listed.streams.extend(streams);
            listed.missing.extend(missing);
            offset = offset.saturating_add(count as u64);
            // An empty page before the end: streams were deleted in the meantime.
            if count == 0 || offset >= total {
                return Ok(listed);
            }
            // A server that does not move on would keep us here for ever.
            if news == 0 {
                let context = "the list of streams changes faster than it can be read, or does not end";
                return Err(LeaseError::new(LeaseErrorKind::Transient, context));
            }
        }
    }

    async fn look(&self, filter: &Filter, stream: &str, name: &str, wire: Wire) -> Option<GovernorSummary> {
        let handle = Stream::new(self.connection, stream.to_owned(), self.options.request_timeout);
        match handle.find().await {
            Ok(info) => filter.summary(&info?),
            Err(error) => {
                Some(GovernorSummary::unreachable(name, wire, stream.to_owned(), error.to_string()))
            }
        }
    }
}

/// The name of a stream, of which there may be no more than the name.
fn name_of(stream: &Value) -> Option<&str> {
    stream.as_str().or_else(|| stream.pointer("/config/name")?.as_str())
}
