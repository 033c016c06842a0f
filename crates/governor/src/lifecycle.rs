use std::fmt;

use serde::{Deserialize, Serialize};
use sluicegate_core::{Holder, LeaseId};
use time::OffsetDateTime;

use crate::pool::Pool;

/// What such an event says of itself.
const PROTOCOL: &str = "io.choria.lifecycle.v1.governor";
/// What older ones say.
const OLD_PROTOCOL: &str = "choria:lifecycle:governor:1";

/// One of choria's lifecycle events of governors, as its tools publish and show them.
///
/// Pools publish them when [`PoolOptions::lifecycle_events`](crate::PoolOptions::lifecycle_events) says so.
///
/// ```
/// use sluicegate_governor::{LifecycleEvent, LifecycleKind};
///
/// let seen = br#"{"protocol":"io.choria.lifecycle.v1.governor","id":"bd57d0ea","identity":"web03",
///     "component":"CLI","timestamp":1625587110,"governor":"PUPPET","sequence":10,"event_type":"enter"}"#;
/// let event = LifecycleEvent::parse(seen)?;
/// assert_eq!((event.kind, event.governor.as_str(), event.sequence), (LifecycleKind::Enter, "PUPPET", 10));
/// assert_eq!(event.to_string(), "[governor] web03: obtained slot 10 on PUPPET");
/// # Ok::<(), sluicegate_governor::LifecycleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LifecycleEvent {
    /// Unique.
    pub id: String,
    /// Who it is about: the holder. Whoever published it chose it: `Display` escapes it.
    pub identity: String,
    /// What published it.
    pub component: String,
    /// When, in seconds since 1970.
    pub timestamp: i64,
    /// The name of the governor.
    pub governor: String,
    /// Which lease; 0 if there is none.
    pub sequence: u64,
    /// What happened.
    pub kind: LifecycleKind,
}

/// What happened to a lease, in choria's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LifecycleKind {
    /// A slot was got.
    Enter,
    /// A slot was given back.
    Exit,
    /// Somebody waited for a slot in vain.
    #[serde(rename = "timeouts")]
    Timeout,
    /// An operator ended a lease.
    #[serde(rename = "eviction")]
    Eviction,
}

/// Why some bytes are no [`LifecycleEvent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// Not the JSON of such an event.
    #[error("no lifecycle event: {0}")]
    Unreadable(String),
    /// Another kind of event.
    #[error("invalid protocol {0:?}")]
    Protocol(String),
    /// It does not say which governor.
    #[error("governor name is not set")]
    NoGovernor,
}

#[derive(Serialize, Deserialize)]
struct Json {
    protocol: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    identity: String,
    #[serde(default)]
    component: String,
    #[serde(default)]
    timestamp: i64,
    #[serde(default)]
    governor: String,
    #[serde(default)]
    sequence: u64,
    event_type: LifecycleKind,
}

/// As much as is needed to know whether to read on.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    protocol: String,
}

impl LifecycleEvent {
    /// Where events of all governors and components are published.
    pub const SUBJECTS: &'static str = "choria.lifecycle.event.governor.>";

    /// Reads an event of today's or of the older protocol.
    ///
    /// # Errors
    /// See [`LifecycleError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LifecycleError> {
        let unreadable = |error: serde_json::Error| LifecycleError::Unreadable(error.to_string());
        let Head { protocol } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if protocol != PROTOCOL && protocol != OLD_PROTOCOL {
            return Err(LifecycleError::Protocol(protocol));
        }
        let json: Json = serde_json::from_slice(bytes).map_err(unreadable)?;
        if json.governor.is_empty() {
            return Err(LifecycleError::NoGovernor);
        }
        Ok(Self {
            id: json.id,
            identity: json.identity,
            component: json.component,
            timestamp: json.timestamp,
            governor: json.governor,
            sequence: json.sequence,
            kind: json.event_type,
        })
    }

    /// Where it is published.
    pub fn subject(&self) -> String {
        format!("choria.lifecycle.event.governor.{}", self.component)
    }

    fn into_json(self) -> Json {
        Json {
            protocol: PROTOCOL.to_owned(),
            id: self.id,
            identity: self.identity,
            component: self.component,
            timestamp: self.timestamp,
            governor: self.governor,
            sequence: self.sequence,
            event_type: self.kind,
        }
    }
}

/// As choria's tools show it.
impl fmt::Display for LifecycleEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| Holder::from_wire(text.as_bytes());
        let (who, governor) = (shown(&self.identity), shown(&self.governor));
        write!(f, "[governor] {who}: ")?;
        let slot = self.sequence;
        match (self.kind, slot) {
            (LifecycleKind::Enter, 0) => write!(f, "obtained slot on {governor}"),
            (LifecycleKind::Enter, _) => write!(f, "obtained slot {slot} on {governor}"),
            (LifecycleKind::Exit, 0) => write!(f, "vacated {governor}"),
            (LifecycleKind::Exit, _) => write!(f, "vacated slot {slot} on {governor}"),
            (LifecycleKind::Timeout, _) => write!(f, "failed to obtain a slot on {governor}"),
            (LifecycleKind::Eviction, 0) => write!(f, "evicted from {governor}"),
            (LifecycleKind::Eviction, _) => write!(f, "evicted from slot {slot} on {governor}"),
        }
    }
}

/// Publishes an event, if the pool's options say so. Best effort: it is left out when the connection has no room for
/// it at once.
pub(crate) fn announce(pool: &Pool, kind: LifecycleKind, lease: Option<LeaseId>, who: &Holder) {
    let Some(component) = &pool.options.lifecycle else { return };
    let event = LifecycleEvent {
        id: nuid::next().as_str().to_owned(),
        identity: String::from_utf8_lossy(who.as_bytes()).into_owned(),
        component: component.to_string(),
        timestamp: OffsetDateTime::now_utc().unix_timestamp(),
        governor: pool.wire.name_of(pool.stream.name()).to_owned(),
        sequence: lease.map_or(0, |lease| lease.0),
        kind,
    };
    let subject = event.subject();
    let Ok(json) = serde_json::to_vec(&event.into_json()) else { return };
    pool.stream.publish(subject, json.into());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: LifecycleKind, sequence: u64) -> LifecycleEvent {
        LifecycleEvent {
            id: "id".to_owned(),
            identity: "ginkgo.example.net".to_owned(),
            component: "ginkgo".to_owned(),
            timestamp: 1_625_587_110,
            governor: "PUPPET".to_owned(),
            sequence,
            kind,
        }
    }

    #[test]
    fn is_written_as_choria_writes_it() {
        let json = serde_json::to_value(event(LifecycleKind::Enter, 10).into_json()).unwrap();
        assert_eq!(
            json,
            json!({
                "protocol": "io.choria.lifecycle.v1.governor", "id": "id", "identity": "ginkgo.example.net",
                "component": "ginkgo", "timestamp": 1_625_587_110, "governor": "PUPPET", "sequence": 10,
                "event_type": "enter",
            })
        );
        for (kind, text) in [
            (LifecycleKind::Exit, "exit"),
            (LifecycleKind::Timeout, "timeouts"),
            (LifecycleKind::Eviction, "eviction"),
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), text);
        }
        assert_eq!(event(LifecycleKind::Exit, 1).subject(), "choria.lifecycle.event.governor.ginkgo");
    }

    #[test]
    fn both_protocols_are_read_and_no_other() {
        for protocol in [PROTOCOL, OLD_PROTOCOL] {
            let json = format!(
                r#"{{"protocol":"{protocol}","id":"bd57d0ea","component":"ginkgo","timestamp":1625587110,"governor":"PUPPET","event_type":"enter","sequence":10,"more":1}}"#
            );
            let read = LifecycleEvent::parse(json.as_bytes()).unwrap();
            assert_eq!(
                (read.component.as_str(), read.kind, read.sequence),
                ("ginkgo", LifecycleKind::Enter, 10)
            );
        }
        assert_eq!(
            LifecycleEvent::parse(br#"{"protocol":"x"}"#),
            Err(LifecycleError::Protocol("x".to_owned()))
        );
        assert_eq!(
            LifecycleEvent::parse(
                br#"{"protocol":"io.choria.lifecycle.v1.startup","event_type":"enter","governor":"G"}"#
            )
            .unwrap_err()
            .to_string(),
            "invalid protocol \"io.choria.lifecycle.v1.startup\""
        );
    }

    #[test]
    fn the_governors_name_and_a_known_type_are_mandatory() {
        let nameless = format!(r#"{{"protocol":"{PROTOCOL}","event_type":"enter"}}"#);
        assert_eq!(LifecycleEvent::parse(nameless.as_bytes()), Err(LifecycleError::NoGovernor));
        for odd in [
            format!(r#"{{"protocol":"{PROTOCOL}","governor":"G"}}"#),
            format!(r#"{{"protocol":"{PROTOCOL}","governor":"G","event_type":"leave"}}"#),
            "{".to_owned(),
            String::new(),
        ] {
            assert!(
                matches!(LifecycleEvent::parse(odd.as_bytes()), Err(LifecycleError::Unreadable(_))),
                "{odd}"
            );
        }
    }

    #[test]
    fn is_shown_as_choria_shows_it() {
        for (kind, sequence, text) in [
            (LifecycleKind::Enter, 10, "obtained slot 10 on PUPPET"),
            (LifecycleKind::Exit, 10, "vacated slot 10 on PUPPET"),
            (LifecycleKind::Timeout, 0, "failed to obtain a slot on PUPPET"),
            (LifecycleKind::Eviction, 10, "evicted from slot 10 on PUPPET"),
            (LifecycleKind::Enter, 0, "obtained slot on PUPPET"),
            (LifecycleKind::Exit, 0, "vacated PUPPET"),
            (LifecycleKind::Eviction, 0, "evicted from PUPPET"),
        ] {
            let shown = event(kind, sequence).to_string();
            assert_eq!(shown, format!("[governor] ginkgo.example.net: {text}"));
        }
        let mut hostile = event(LifecycleKind::Exit, 0);
        hostile.identity = "\u{1b}[2J".to_owned();
        assert_eq!(hostile.to_string(), "[governor] \\u{1b}[2J: vacated PUPPET");
    }
}
