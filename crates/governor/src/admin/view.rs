use std::time::{Duration, SystemTime};

use sluicegate_core::HeldLease;

use super::warning::{Warning, seeded, warnings};
use crate::protocol::Protocol;
use crate::wire::StreamInfo;
use crate::{GovernorKind, GovernorName, Units, Wire};

/// A governor as it is in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GovernorSummary {
    /// Its name. Somebody else may have chosen it: escape it before it is shown.
    pub name: String,
    /// How its leases are kept.
    pub wire: Wire,
    /// The name of its stream.
    pub stream: String,
    /// Where workers campaign; none if there is not exactly one subject.
    pub subject: Option<String>,
    /// How many leases at most; none if there is no limit.
    pub limit: Option<u64>,
    /// How long a lease lasts; none if for ever, or if that is not known.
    pub ttl: Option<Duration>,
    /// Copies in the cluster.
    pub replicas: u8,
    /// Slots taken now; none if it could not be looked at.
    pub active: Option<u64>,
    /// When a slot was last taken; none if never.
    pub last_active: Option<SystemTime>,
    /// Age of the oldest lease, or, where leases are renewed, time since the renewal that is longest ago.
    pub oldest: Option<Duration>,
    /// What its slots are; none if it could not be looked at.
    pub kind: Option<GovernorKind>,
    /// What a capacity is made of; none if it is no capacity, or does not say.
    pub units: Option<Units>,
    /// What is wrong with it.
    pub warnings: Vec<Warning>,
}

/// A governor and its leases.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GovernorView {
    /// Its name.
    pub name: GovernorName,
    /// How its leases are kept.
    pub wire: Wire,
    /// The name of its stream.
    pub stream: String,
    /// Where workers campaign; none if there is not exactly one subject.
    pub subject: Option<String>,
    /// How many leases at most; none if there is no limit.
    pub limit: Option<u64>,
    /// How long a lease lasts; none if for ever, or if that is not known.
    pub ttl: Option<Duration>,
    /// Copies in the cluster.
    pub replicas: u8,
    /// When the stream was made, as the server says.
    pub created: SystemTime,
    /// The server's clock as it answered, to which all ages are counted; none if it does not tell.
    pub now: Option<SystemTime>,
    /// Slots taken now.
    pub active: u64,
    /// When a slot was last taken; none if never.
    pub last_active: Option<SystemTime>,
    /// Age of the oldest lease, or, where leases are renewed, time since the renewal that is longest ago.
    pub oldest: Option<Duration>,
    /// Its tokens grow even when it is deleted and made anew.
    pub seeded: bool,
    /// What its slots are.
    pub kind: GovernorKind,
    /// What a capacity is made of; none if it is no capacity, or does not say.
    pub units: Option<Units>,
    /// What is wrong with it, or with what is shown here.
    pub warnings: Vec<Warning>,
    /// Who holds it, oldest first; those in excess of [`MOST_HOLDERS`](Self::MOST_HOLDERS) are left out, with a
    /// warning.
    pub holders: Vec<HeldLease>,
}

impl GovernorView {
    /// How many holders are shown at most.
    pub const MOST_HOLDERS: usize = 10_000;

    pub(super) fn new(name: GovernorName, protocol: &Protocol, info: &StreamInfo) -> Self {
        let summary = GovernorSummary::new(name.as_str(), protocol, info);
        Self {
            name,
            wire: summary.wire,
            stream: summary.stream,
            subject: summary.subject,
            limit: summary.limit,
            ttl: summary.ttl,
            replicas: summary.replicas,
            created: info.created.into(),
            now: info.now().map(SystemTime::from),
            active: info.state.messages,
            last_active: summary.last_active,
            oldest: summary.oldest,
            seeded: seeded(info),
            kind: GovernorKind::of(&info.config),
            units: summary.units,
            warnings: summary.warnings,
            holders: Vec::new(),
        }
    }
}

impl GovernorSummary {
    pub(super) fn new(name: &str, protocol: &Protocol, info: &StreamInfo) -> Self {
        Self {
            name: name.to_owned(),
            wire: protocol.wire,
            stream: info.config.text("name").unwrap_or_default().to_owned(),
            subject: info.config.subject().map(str::to_owned),
            limit: info.config.max_messages(),
            ttl: (protocol.ttl)(&info.config),
            replicas: info.config.replicas(),
            active: Some(info.state.messages),
            last_active: info.last_active().map(SystemTime::from),
            oldest: info.age_of_first(),
            kind: Some(GovernorKind::of(&info.config)),
            units: Units::read(&info.config),
            warnings: warnings(protocol.wire, info),
        }
    }

    /// One that exists, and of which no more is known.
    pub(super) fn unreachable(name: &str, wire: Wire, stream: String, why: String) -> Self {
        Self {
            name: name.to_owned(),
            wire,
            stream,
            subject: None,
            limit: None,
            ttl: None,
            replicas: 0,
            active: None,
            last_active: None,
            oldest: None,
            kind: None,
            units: None,
            warnings: vec![Warning::Unreachable(why)],
        }
    }
}
