//! What a campaign governor's stream has to be like, and what it says.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{FencingToken, HeldLease, Holder, LeaseError, LeaseErrorKind, LeaseId};

use super::CampaignPool;
use crate::config::validate_ttl;
use crate::pool::Facts;
use crate::protocol::Protocol;
use crate::wire::{StoredConfig, StoredMessage, campaign_config};
use crate::{GovernorName, Wire};

pub(crate) static PROTOCOL: Protocol = Protocol {
    wire: Wire::Campaign,
    stream: GovernorName::campaign_stream,
    check: |config, _| config.validate(),
    fresh: campaign_config,
    essential: &["max_msgs", "max_age", "discard", "retention", "storage"],
    changeable: &["max_msgs", "max_age", "num_replicas"],
    ttl_field: "max_age",
    ttl: StoredConfig::max_age,
    set_ttl: StoredConfig::set_max_age,
    check_ttl: validate_ttl,
    read: facts,
    held,
    pool: |handle| Arc::new(CampaignPool(handle)),
    renewable: false,
    ttl_applies_to_held: true,
    expiry_grain: Duration::from_millis(250),
};

fn held(messages: &[(StoredMessage, Duration)]) -> Vec<HeldLease> {
    let leases = messages.iter().map(|(message, age)| {
        let holder = Holder::from_wire(&message.data);
        HeldLease::new(LeaseId(message.seq), FencingToken(message.seq), holder, *age)
    });
    leases.collect()
}

fn facts(config: &StoredConfig) -> Result<Facts, LeaseError> {
    let stream = config.text("name").unwrap_or_default();
    let misconfigured = |problem: &str| {
        Err(LeaseError::new(
            LeaseErrorKind::Misconfigured,
            format!("stream {stream} cannot be used as a governor: {problem}"),
        ))
    };
    let Some(subject) = config.subject() else { return misconfigured("it has not exactly one subject") };
    let Some(limit) = config.limit() else { return misconfigured("it has no limit; set one with `ensure`") };
    let Some(ttl) = config.max_age() else {
        return misconfigured("its leases never expire; set a ttl with `ensure`");
    };
    if config.text("discard") != Some("new") {
        return misconfigured(
            "it drops the oldest lease where it should refuse a new one (discard is not `new`)",
        );
    }
    if config.text("retention") != Some("limits") {
        return misconfigured("its retention is not `limits`");
    }
    if config.flag("sealed") || config.flag("deny_delete") {
        return misconfigured("leases cannot be released (sealed or deny_delete)");
    }
    Ok(Facts {
        subject: subject.to_owned(),
        limit: Some(limit),
        ttl,
        window: config.duplicate_window(),
        weighted: false,
    })
}
