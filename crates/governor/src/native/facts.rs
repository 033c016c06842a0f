//! What a native governor's stream has to be like, and what it says.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{HumanDuration, LeaseError, LeaseErrorKind};

use super::NativePool;
use super::held::group;
use crate::config::LONGEST_TTL;
use crate::pool::Facts;
use crate::protocol::Protocol;
use crate::wire::{FACTOR, StoredConfig, TOTAL, TTL, native_config};
use crate::{GovernorConfig, GovernorName, Wire, make};

pub(crate) static PROTOCOL: Protocol = Protocol {
    wire: Wire::Native,
    stream: GovernorName::native_stream,
    check,
    fresh: native_config,
    essential: &[
        "subjects",
        "max_msgs",
        "max_age",
        "discard",
        "retention",
        "max_msgs_per_subject",
        "allow_msg_ttl",
    ],
    changeable: &["max_msgs", TTL, TOTAL, FACTOR, "num_replicas"],
    ttl_field: "metadata",
    ttl: ttl_of,
    set_ttl: |config, ttl| config.set_metadata(TTL, &HumanDuration(ttl).to_string()),
    check_ttl: |ttl| crate::config::validate_ttl(ttl).and_then(|()| validate_ttl(ttl)),
    read,
    held: |messages| group(messages).into_iter().map(|found| found.lease).collect(),
    pool: |handle| Arc::new(NativePool::over(handle)),
    renewable: true,
    ttl_applies_to_held: false,
    expiry_grain: Duration::from_millis(10),
};

fn check(config: &GovernorConfig, version: &str) -> Result<(), LeaseError> {
    config.validate()?;
    validate_ttl(config.ttl)?;
    if config.subject.is_some() {
        let context = "native governors have subjects of their own: leave `subject` out";
        return Err(LeaseError::new(LeaseErrorKind::Invalid, context));
    }
    if !make::is_2_11(version) {
        let context = format!("native governors need nats-server 2.11 or later, this is {version}");
        return Err(LeaseError::new(LeaseErrorKind::Unsupported, context));
    }
    Ok(())
}

/// Servers count these times in seconds.
pub(crate) fn validate_ttl(ttl: Duration) -> Result<(), LeaseError> {
    if ttl.as_secs() == 0 || ttl.subsec_nanos() > 0 || ttl > LONGEST_TTL {
        let context =
            format!("ttl is {ttl:?}: native leases last whole seconds, at least one, at most a year");
        return Err(LeaseError::new(LeaseErrorKind::Invalid, context));
    }
    Ok(())
}

fn ttl_of(config: &StoredConfig) -> Option<Duration> {
    config.metadata(TTL)?.parse::<HumanDuration>().ok().map(Duration::from)
}

fn read(config: &StoredConfig) -> Result<Facts, LeaseError> {
    let stream = config.text("name").unwrap_or_default();
    let misconfigured = |problem: &str| {
        Err(LeaseError::new(
            LeaseErrorKind::Misconfigured,
            format!("stream {stream} cannot be used as a native governor: {problem}"),
        ))
    };
    let Some(prefix) = config.subject().and_then(|subject| subject.strip_suffix('>')) else {
        return misconfigured("it has not exactly one subject that ends in `>`");
    };
    let Some(limit) = config.limit() else { return misconfigured("it has no limit; set one with `ensure`") };
    let Some(ttl) = ttl_of(config).filter(|ttl| validate_ttl(*ttl).is_ok()) else {
        return misconfigured("its metadata does not say the ttl; set one with `ensure`");
    };
    if !config.flag("allow_msg_ttl") {
        return misconfigured("its messages have no time to live (allow_msg_ttl is off)");
    }
    if config.text("discard") != Some("new") {
        return misconfigured(
            "it drops the oldest lease where it should refuse a new one (discard is not `new`)",
        );
    }
    if config.flag("sealed") || config.flag("deny_delete") {
        return misconfigured("leases cannot be released (sealed or deny_delete)");
    }
    Ok(Facts {
        subject: prefix.to_owned(),
        limit: Some(limit),
        ttl,
        window: config.duplicate_window(),
        // Several slots are released by a purge.
        weighted: config.flag("allow_atomic") && !config.flag("deny_purge"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_seconds_can_be_kept() {
        for (millis, fits) in [(0, false), (999, false), (1000, true), (1500, false), (60_000, true)] {
            assert_eq!(validate_ttl(Duration::from_millis(millis)).is_ok(), fits, "{millis} ms");
        }
    }
}
