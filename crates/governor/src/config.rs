use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::{Ignore, LeaseError, LeaseErrorKind, Observer, human};

use crate::{GovernorEvent, GovernorName};

/// Longest time to live: beyond a year a number is a mistake.
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// The two ways of keeping the leases of a governor in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// As choria's Go package does it, with which such a governor can be shared. Leases cannot be renewed.
    #[default]
    Campaign,
    /// Leases that are renewed; only for sluicegate.
    Native,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Campaign => "campaign",
            Self::Native => "native",
        })
    }
}

/// Whether to do what takes something away from workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// Refuse, and say what it would take away.
    #[default]
    No,
    /// Do it.
    Yes,
}

/// What a governor is: the arguments of `create` and `ensure`.
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use sluicegate_governor::GovernorConfig;
///
/// let config = GovernorConfig::try_new("nightly", NonZeroU32::MIN, Duration::from_secs(3600))?;
/// assert_eq!(config.name.as_str(), "nightly");
/// # Ok::<(), sluicegate_core::LeaseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GovernorConfig {
    /// Its name.
    pub name: GovernorName,
    /// How [`GovernorAdmin`](crate::GovernorAdmin) makes it. A pool makes its own kind, whatever this says.
    #[serde(default)]
    pub wire: Wire,
    /// How many leases at most.
    pub limit: NonZeroU32,
    /// How long a lease lasts that is not renewed, from 100 ms (native: whole seconds) to a year.
    #[serde(with = "human")]
    pub ttl: Duration,
    /// Copies in the cluster, 1 to 5. None: as it is, and 1 where it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<NonZeroU8>,
    /// The subject of a campaign governor. None: as it is, and `$GOVERNOR.campaign.<NAME>` where it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl GovernorConfig {
    /// A governor on the default subject, with the server's default of one replica.
    ///
    /// # Errors
    /// `Invalid`, naming field and problem.
    pub fn try_new(name: impl AsRef<str>, limit: NonZeroU32, ttl: Duration) -> Result<Self, LeaseError> {
        let name = GovernorName::try_new(name)?;
        let config = Self { name, wire: Wire::Campaign, limit, ttl, replicas: None, subject: None };
        config.validate()?;
        Ok(config)
    }

    /// On that wire.
    #[must_use]
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// So many copies in the cluster.
    #[must_use]
    pub fn replicas(mut self, replicas: NonZeroU8) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Another subject than the default one, for example choria's `<collective>.governor.<NAME>`.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// `Invalid`, naming field and problem.
    pub fn validate(&self) -> Result<(), LeaseError> {
        validate_ttl(self.ttl)?;
        if let Some(replicas) = self.replicas {
            validate_replicas(replicas)?;
        }
        match &self.subject {
            Some(subject) => validate_subject(subject),
            None => Ok(()),
        }
    }
}

pub(crate) fn validate_ttl(ttl: Duration) -> Result<(), LeaseError> {
    if ttl < Duration::from_millis(100) || ttl > LONGEST_TTL {
        return Err(invalid(format!("ttl is {ttl:?}: 100 ms to 365 days are possible")));
    }
    Ok(())
}

pub(crate) fn validate_replicas(replicas: NonZeroU8) -> Result<(), LeaseError> {
    if replicas.get() > 5 {
        return Err(invalid(format!("replicas is {replicas}: 1 to 5 are possible")));
    }
    Ok(())
}

pub(crate) fn validate_subject(subject: &str) -> Result<(), LeaseError> {
    let bad = |token: &str| {
        token.is_empty()
            || token.contains(|c: char| matches!(c, '*' | '>') || c.is_whitespace() || c.is_control())
    };
    if subject.len() > 255 || subject.split('.').any(bad) {
        return Err(invalid(format!(
            "subject is {subject:?}: one literal subject is needed, without wildcards"
        )));
    }
    Ok(())
}

fn invalid(context: String) -> LeaseError {
    LeaseError::new(LeaseErrorKind::Invalid, context)
}

/// How a pool's handle talks to the server; `Default` is right for nearly everybody.
#[derive(Clone, Debug)]
#[must_use]
pub struct PoolOptions {
    pub(crate) request_timeout: Duration,
    pub(crate) resolve_for: Duration,
    pub(crate) advisories: bool,
    pub(crate) observer: Arc<dyn Observer<GovernorEvent>>,
    pub(crate) tickets: bool,
    /// The component that choria's events name.
    pub(crate) lifecycle: Option<Arc<str>>,
}

impl PoolOptions {
    /// Longest wait for the answer to one try of a request. Default 2 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long a call resolves an unknown outcome before it reports `Unknown`; the pool then goes on by itself.
    /// Default 15 s, which outlasts an election.
    pub fn resolve_for(mut self, time: Duration) -> Self {
        self.resolve_for = time;
        self
    }

    /// Whether to listen to what the server tells of calls of its API, while somebody waits or awaits the loss of a
    /// lease: it shows releases and evictions by other programs. That is one message for each call in the account.
    /// Default: yes, where permitted.
    pub fn advisories(mut self, listen: bool) -> Self {
        self.advisories = listen;
        self
    }

    /// First come, first served, also between processes; for native pools, and only if all of its users have it on.
    ///
    /// Each process that waits has a ticket, a message that it renews every 1.5 s, on a stream of its own
    /// (`GOVERNOR2Q_<NAME>`), and follows that stream. One that dies stands in the way for 5 s at most, and until then
    /// delays each slot by 250 ms. Without the rights for it the pool goes on without order. Default: off.
    pub fn tickets(mut self, tickets: bool) -> Self {
        self.tickets = tickets;
        self
    }

    /// Who is told what happens. Default: nobody.
    pub fn observer(mut self, observer: impl Observer<GovernorEvent>) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Publishes choria's lifecycle events in the name of that component: grants, releases, waits in vain and
    /// evictions by this handle, as [`LifecycleEvent`](crate::LifecycleEvent). They are messages that nobody confirms.
    /// Default: none.
    ///
    /// Needs the right to publish to `choria.lifecycle.event.governor.<component>`. Characters that cannot stand there
    /// become `_`.
    pub fn lifecycle_events(mut self, component: impl AsRef<str>) -> Self {
        let refused = |c: char| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control();
        let component = component.as_ref().replace(refused, "_");
        self.lifecycle = Some(component).filter(|component| !component.is_empty()).map(Into::into);
        self
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(2),
            resolve_for: Duration::from_secs(15),
            advisories: true,
            tickets: false,
            observer: Arc::new(Ignore),
            lifecycle: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<GovernorConfig, String> {
        let config: GovernorConfig = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn reads_and_writes_kebab_case_with_human_durations() {
        let config = read(r#"{"name":"nightly","limit":3,"ttl":"1h30m","replicas":3}"#).unwrap();
        assert_eq!((config.limit.get(), config.ttl), (3, Duration::from_secs(5400)));
        assert_eq!(config.replicas.map(NonZeroU8::get), Some(3));
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(read(&text).unwrap(), config, "{text}");
        assert!(!text.contains("subject"), "what was not said is not written: {text}");
    }

    #[test]
    fn refuses_what_cannot_be_meant_and_names_it() {
        for (json, named) in [
            (r#"{"name":"a.b","limit":1,"ttl":"1s"}"#, "governor name"),
            (r#"{"name":"a","limit":0,"ttl":"1s"}"#, "nonzero"),
            (r#"{"name":"a","limit":1,"ttl":"1"}"#, "name the unit"),
            (r#"{"name":"a","limit":1,"ttl":"10ms"}"#, "ttl"),
            (r#"{"name":"a","limit":1,"ttl":"400d"}"#, "ttl"),
            (r#"{"name":"a","limit":1,"ttl":"1s","replicas":6}"#, "replicas"),
            (r#"{"name":"a","limit":1,"ttl":"1s","subject":"a.*"}"#, "subject"),
            (r#"{"name":"a","limit":1,"ttl":"1s","subject":"a..b"}"#, "subject"),
            (r#"{"name":"a","limit":1,"ttl":"1s","limits":2}"#, "limits"),
            (r#"{"name":"a","limit":1}"#, "ttl"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(named), "{json}: {error}");
        }
    }
}
