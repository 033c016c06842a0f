use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use serde::Deserialize;
use sluicegate_batcher::{Batch, BatchContext, Handler, Verdict, Verdicts};
use sluicegate_nats::{
    ApiErrorKind, Connection, Publish, PublishError, PublishErrorKind, RequestErrorKind, code,
};

use super::patience::Patience;
use crate::code::Code;
use crate::error::CliError;
use crate::failure;
use crate::pipe::halt::{Halt, Trouble};
use crate::pipe::item::Item;

/// Messages that a stream acknowledges, all of a batch at once; those with a key one after the other.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Connection,
    name: String,
    subject: String,
    timeout: Duration,
    patience: Patience,
    duplicates: Option<Arc<AtomicU64>>,
    halt: Arc<Halt>,
}

#[derive(Debug, Deserialize)]
struct Info {
    config: Config,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    subjects: Vec<String>,
}

impl Stream {
    /// Finds the stream, as far as this user may look, and the subject.
    pub(super) async fn open(
        connection: &Connection,
        name: &str,
        subject: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let info = connection.api::<Info>(&format!("STREAM.INFO.{name}"), &(), timeout).await;
        let subject = match (info, subject) {
            (Ok(info), subject) => choose(name, &info.config.subjects, subject)?,
            // Who may not look may publish all the same.
            (Err(error), Some(subject))
                if error.kind() == ApiErrorKind::Request(RequestErrorKind::NotPermitted) =>
            {
                subject.to_owned()
            }
            (Err(error), _) if error.err_code().is_some_and(code::is_stream_not_found) => {
                return Err(CliError::new(Code::NotFound, format!("stream {name} does not exist"))
                    .help("see those there are: nats stream ls")
                    .nats_code(error.err_code())
                    .caused_by(&error));
            }
            (Err(error), _) => return Err(failure::api(&format!("looking at stream {name}"), &error)),
        };
        Ok(Self {
            connection: connection.clone(),
            name: name.to_owned(),
            subject,
            timeout,
            patience: Patience::new(Duration::ZERO),
            duplicates: None,
            halt: Arc::default(),
        })
    }

    pub(super) fn telling(
        mut self,
        duplicates: Option<Arc<AtomicU64>>,
        longest: Duration,
        halt: Arc<Halt>,
    ) -> Self {
        (self.duplicates, self.patience, self.halt) = (duplicates, Patience::new(longest), halt);
        self
    }

    /// Those of one key, each after the one before is settled.
    async fn in_turn(&self, items: Vec<(usize, &Item)>) -> Vec<(usize, Verdict<(), Trouble>)> {
        let mut verdicts = Vec::with_capacity(items.len());
        let mut stuck = false;
        for (at, item) in items {
            let verdict = if stuck { Verdict::Skipped } else { self.publish(item).await };
            stuck |= match &verdict {
                Verdict::Failed(trouble) => trouble.is_passing(),
                Verdict::Throttled { .. } => true,
                _ => false,
            };
            verdicts.push((at, verdict));
        }
        verdicts
    }

    async fn publish(&self, item: &Item) -> Verdict<(), Trouble> {
        let mut publish = Publish::new(self.subject.clone(), item.data.clone())
            .expect_stream(self.name.clone())
            .timeout(self.timeout);
        if let Some(id) = &item.id {
            publish = publish.msg_id(id.to_string());
        }
        match self.connection.publish(publish).await {
            Ok(ack) => {
                self.patience.restore();
                if let Some(duplicates) = self.duplicates.as_ref().filter(|_| ack.duplicate) {
                    duplicates.fetch_add(1, Ordering::Relaxed);
                }
                Verdict::Done(())
            }
            Err(error) => self.refused(&error),
        }
    }

    fn refused(&self, error: &PublishError) -> Verdict<(), Trouble> {
        let full = |err_code| code::is_out_of_room(err_code, error.description()) && !error.is_unknown();
        Verdict::Failed(match error.kind() {
            PublishErrorKind::Server { err_code, .. } if full(err_code) => {
                let error =
                    Trouble::passing(format!("stream {} is full: {}", self.name, error.description()));
                return Verdict::Throttled { retry_after: Some(self.patience.pause()), error };
            }
            PublishErrorKind::NotPermitted
            | PublishErrorKind::StreamNotFound
            | PublishErrorKind::Server { err_code: code::STREAM_NOT_MATCH, .. } => {
                Trouble::fatal(&self.halt, failure::refused_publish(&self.name, error))
            }
            PublishErrorKind::Server { err_code, .. } if code::is_jetstream_missing(err_code) => {
                Trouble::fatal(&self.halt, failure::refused_publish(&self.name, error))
            }
            PublishErrorKind::Server { err_code, .. }
                if code::is_transient_api(err_code)
                    || code::is_out_of_resources(err_code)
                    || err_code == code::STORE_FAILED
                    || error.is_unknown() =>
            {
                Trouble::passing(error.to_string())
            }
            PublishErrorKind::Server { .. } | PublishErrorKind::TooLarge | PublishErrorKind::Invalid => {
                Trouble::lasting(error.to_string())
            }
            _ => Trouble::passing(error.to_string()),
        })
    }
}

#[async_trait]
impl Handler<Item, (), Trouble> for Stream {
    async fn handle(&self, batch: &mut Batch<Item>, _: &BatchContext) -> Verdicts<(), Trouble> {
        let mut turns: Vec<Vec<(usize, &Item)>> = Vec::new();
        let mut turn_of: HashMap<u64, usize> = HashMap::new();
        for (at, item) in batch.iter().enumerate() {
            let turn = item.key.map(|key| *turn_of.entry(key).or_insert(turns.len()));
            match turn.and_then(|turn| turns.get_mut(turn)) {
                Some(turn) => turn.push((at, item)),
                None => turns.push(vec![(at, item)]),
            }
        }
        let settled = join_all(turns.into_iter().map(|turn| self.in_turn(turn))).await;
        let mut verdicts: Vec<_> = settled.into_iter().flatten().collect();
        verdicts.sort_by_key(|(at, _)| *at);
        verdicts.into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>().into()
    }
}

/// The subject that was asked for, if the stream has it; else the only one that it has.
fn choose(name: &str, subjects: &[String], wanted: Option<&str>) -> Result<String, CliError> {
    let those = subjects.join(", ");
    match (wanted, subjects) {
        (Some(wanted), _) if subjects.iter().any(|subject| covers(subject, wanted)) => Ok(wanted.to_owned()),
        (Some(wanted), _) => {
            let message = format!("stream {name} does not listen on `{wanted}`");
            Err(CliError::new(Code::NotFound, message).help(format!("it listens on: {those}")))
        }
        (None, [only]) if !only.split('.').any(|token| token == "*" || token == ">") => Ok(only.clone()),
        (None, _) => {
            let message = format!("stream {name} has more than one subject, or none: {those}");
            Err(CliError::new(Code::Usage, message).help(format!("name one: --to stream:{name}/SUBJECT")))
        }
    }
}

/// Whether a subject of a stream, which may have wildcards, takes that subject.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for token in pattern.split('.') {
        match (token, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_subjects() {
        for (pattern, subject, covered) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.>", "a.b.c", true),
            (">", "a", true),
            ("a.b", "a.c", false),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.>", "a", false),
            ("a", "a.b", false),
        ] {
            assert_eq!(covers(pattern, subject), covered, "{pattern} {subject}");
        }
    }

    #[test]
    fn a_subject_is_named_or_the_only_one() {
        let subjects = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(choose("S", &subjects(&["a"]), None).unwrap(), "a");
        assert_eq!(choose("S", &subjects(&["a.>", "b"]), Some("a.x")).unwrap(), "a.x");
        for listening in [&["a.*"][..], &["a", "b"], &[]] {
            assert_eq!(choose("S", &subjects(listening), None).unwrap_err().code(), Code::Usage);
        }
        assert_eq!(choose("S", &subjects(&["a"]), Some("b")).unwrap_err().code(), Code::NotFound);
    }
}
