use std::fmt;

use crate::wire::StreamInfo;
use crate::{GovernorKind, Units, Wire, native};

/// Sequences from here on are times in microseconds: 2001, long before there were governors.
const SEEDED: u64 = 1_000_000_000_000_000;

/// What is wrong with a governor, or with what is shown of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// It has no limit: everybody gets a slot. Older tools write this by mistake.
    Unlimited,
    /// Its limit is larger than workers can count.
    LimitTooLarge(u64),
    /// Its leases never expire: a worker that dies keeps its slot for ever.
    NeverExpires,
    /// Its metadata does not say how long a lease lasts (native).
    NoTtl,
    /// Its messages cannot have a time to live (native).
    NoMessageTtl,
    /// It has not exactly one subject, but that many; or the only one is not of the kind that this wire needs.
    Subjects(usize),
    /// When it is full it drops the oldest lease instead of refusing a new one.
    DropsOldest,
    /// Its messages are removed by other rules than a governor's.
    Retention(String),
    /// Leases cannot be released: the stream is sealed or denies deletion.
    CannotRelease,
    /// It is also bounded by that field, and then refuses leases although slots are free.
    AlsoBounded(&'static str),
    /// It is kept in memory: a restart of the server frees all slots.
    InMemory,
    /// Tokens start anew when it is deleted and made again.
    Unseeded,
    /// More is held than its limit: it was lowered, and nobody is evicted for that.
    OverLimit,
    /// Its metadata does not say total and factor (capacities): no batcher can take a part of it.
    NoUnits,
    /// Its total in parts of its factor would make another number of leases than its limit (capacities).
    UnitsDiffer(u32),
    /// Who holds the slots cannot be read.
    HoldersHidden(String),
    /// Only the oldest leases are shown, that many of them.
    HoldersCut(usize),
    /// It exists, but could not be looked at.
    Unreachable(String),
}

impl Warning {
    /// Workers refuse to use such a governor.
    pub fn stops_workers(&self) -> bool {
        matches!(
            self,
            Self::Unlimited
                | Self::LimitTooLarge(_)
                | Self::NeverExpires
                | Self::NoTtl
                | Self::NoMessageTtl
                | Self::Subjects(_)
                | Self::DropsOldest
                | Self::Retention(_)
                | Self::CannotRelease
        )
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited: set a limit"),
            Self::LimitTooLarge(limit) => write!(f, "the limit {limit} is larger than workers can count"),
            Self::NeverExpires => f.write_str("leases never expire: set a ttl"),
            Self::NoTtl => f.write_str("the ttl is not known: set one"),
            Self::NoMessageTtl => f.write_str("messages cannot have a time to live (allow_msg_ttl is off)"),
            Self::Subjects(1) => f.write_str("the subject is not one of leases"),
            Self::Subjects(count) => write!(f, "{count} subjects where there must be one"),
            Self::DropsOldest => f.write_str("drops the oldest lease when it is full (discard is not `new`)"),
            Self::Retention(retention) => write!(f, "retention is {retention:?} instead of limits"),
            Self::CannotRelease => f.write_str("leases cannot be released (sealed or deny_delete)"),
            Self::AlsoBounded(field) => {
                write!(f, "bounded by {field} too: leases are refused although slots are free")
            }
            Self::InMemory => f.write_str("kept in memory: a restart of the server frees all slots"),
            Self::Unseeded => f.write_str("unseeded: tokens start anew when it is deleted and made again"),
            Self::OverLimit => f.write_str("more is held than the limit allows"),
            Self::NoUnits => f.write_str("what a lease is worth is not known: set total and factor"),
            Self::UnitsDiffer(leases) => {
                write!(f, "total and factor make {leases} leases, and there is another number: set the total")
            }
            Self::HoldersHidden(why) => write!(f, "holders cannot be read: {why}"),
            Self::HoldersCut(shown) => write!(f, "only the {shown} oldest leases are shown"),
            Self::Unreachable(why) => write!(f, "cannot be looked at: {why}"),
        }
    }
}

/// The sequence of that stream began with the time in microseconds.
pub(super) fn seeded(info: &StreamInfo) -> bool {
    let configured = info.config.integer("first_seq").and_then(|first| u64::try_from(first).ok());
    configured.unwrap_or_default().max(info.state.last_seq) >= SEEDED
}

/// What is wrong with a governor of that wire.
pub(super) fn warnings(wire: Wire, info: &StreamInfo) -> Vec<Warning> {
    let config = &info.config;
    let mut warnings = Vec::new();
    let mut warn = |when: bool, warning: Warning| {
        if when {
            warnings.push(warning);
        }
    };
    let limit = config.max_messages();
    warn(limit.is_none(), Warning::Unlimited);
    if let Some(limit) = limit {
        warn(u32::try_from(limit).is_err(), Warning::LimitTooLarge(limit));
        warn(info.state.messages > limit, Warning::OverLimit);
    }
    let subjects = config.subjects();
    match wire {
        Wire::Campaign => {
            warn(subjects.len() != 1, Warning::Subjects(subjects.len()));
            warn(config.max_age().is_none(), Warning::NeverExpires);
            let retention = config.text("retention").unwrap_or_default();
            warn(retention != "limits", Warning::Retention(retention.to_owned()));
            // Of native streams it bounds the messages of one lease, which is one.
            warn(config.integer("max_msgs_per_subject").is_some_and(|most| most > 0), {
                Warning::AlsoBounded("max_msgs_per_subject")
            });
        }
        Wire::Native => {
            let right = matches!(subjects.as_slice(), [one] if one.ends_with('>'));
            warn(!right, Warning::Subjects(subjects.len()));
            warn(!config.flag("allow_msg_ttl"), Warning::NoMessageTtl);
            let ttl = (native::PROTOCOL.ttl)(config);
            warn(ttl.is_none_or(|ttl| native::validate_ttl(ttl).is_err()), Warning::NoTtl);
        }
    }
    if GovernorKind::of(config) == GovernorKind::Capacity {
        match Units::read(config).map(|units| units.leases()) {
            None => warn(true, Warning::NoUnits),
            Some(leases) => warn(config.limit() != Some(leases), Warning::UnitsDiffer(leases.get())),
        }
    }
    warn(config.text("discard") != Some("new"), Warning::DropsOldest);
    warn(config.flag("sealed") || config.flag("deny_delete"), Warning::CannotRelease);
    warn(config.integer("max_bytes").is_some_and(|most| most > 0), Warning::AlsoBounded("max_bytes"));
    warn(config.text("storage") == Some("memory"), Warning::InMemory);
    warn(!seeded(info), Warning::Unseeded);
    warnings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol;

    fn info(config: &Value) -> StreamInfo {
        let text = format!(
            r#"{{"config":{config},"created":"2026-11-22T00:49:00Z","state":{{"messages":1,"last_seq":1795309080033843}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn usual(wire: Wire) -> Value {
        let (subject, age) = match wire {
            Wire::Campaign => ("$GOVERNOR.campaign.T", 60_000_000_000_u64),
            Wire::Native => ("$GOVERNOR2.T.>", 0),
        };
        json!({
            "subjects": [subject], "retention": "limits", "max_msgs": 2, "max_age": age, "discard": "new",
            "storage": "file", "num_replicas": 1, "allow_msg_ttl": wire == Wire::Native,
            "metadata": {"sluicegate.ttl": "1m"},
        })
    }

    /// Changes of fields as somebody may make them with other tools.
    fn odd() -> impl Strategy<Value = (&'static str, Value)> {
        prop_oneof![
            (
                Just("max_msgs"),
                prop_oneof![Just(json!(-1)), Just(json!(0)), Just(json!(1_u64 << 33)), Just(json!(1))]
            ),
            (Just("max_age"), prop_oneof![Just(json!(0)), Just(json!(1_000_000_000_u64))]),
            (Just("discard"), prop_oneof![Just(json!("old")), Just(json!("new"))]),
            (Just("retention"), prop_oneof![Just(json!("workqueue")), Just(json!("interest"))]),
            (Just("subjects"), prop_oneof![Just(json!([])), Just(json!(["a", "b"])), Just(json!(["a.>"]))]),
            (Just("sealed"), any::<bool>().prop_map(Value::from)),
            (Just("deny_delete"), any::<bool>().prop_map(Value::from)),
            (Just("allow_msg_ttl"), any::<bool>().prop_map(Value::from)),
            (
                Just("metadata"),
                prop_oneof![Just(json!({})), Just(json!({"sluicegate.ttl": "1500ms"})), Just(Value::Null)]
            ),
            (Just("max_bytes"), prop_oneof![Just(json!(-1)), Just(json!(100))]),
            (Just("storage"), Just(json!("memory"))),
        ]
    }

    proptest! {
        #[test]
        fn whatever_stops_workers_is_shown_and_nothing_else_is_said_to(
            native in any::<bool>(),
            changes in proptest::collection::vec(odd(), 0..4),
        ) {
            let wire = if native { Wire::Native } else { Wire::Campaign };
            let mut config = usual(wire);
            for (field, value) in changes {
                config[field] = value;
            }
            let info = info(&config);
            let refused = (protocol::of(wire).read)(&info.config).is_err();
            let warnings = warnings(wire, &info);
            prop_assert_eq!(warnings.iter().any(Warning::stops_workers), refused, "{:?} of {}", warnings, config);
        }
    }

    #[test]
    fn a_proper_governor_has_no_warning() {
        for wire in [Wire::Campaign, Wire::Native] {
            assert_eq!(warnings(wire, &info(&usual(wire))), []);
        }
    }

    #[test]
    fn a_capacity_that_does_not_say_what_it_is_made_of_has_a_warning() {
        let capacity = |total: &str| {
            let mut config = usual(Wire::Native);
            config["metadata"]["sluicegate.kind"] = json!("capacity");
            config["metadata"]["sluicegate.total"] = json!(total);
            config["metadata"]["sluicegate.factor"] = json!("10");
            warnings(Wire::Native, &info(&config))
        };
        assert_eq!(capacity("25"), []);
        assert_eq!(capacity("30"), [Warning::UnitsDiffer(3)]);
        assert_eq!(capacity("many"), [Warning::NoUnits]);
    }

    #[test]
    fn every_warning_says_what_it_is_about() {
        for (warning, said) in [
            (Warning::Unlimited, "set a limit"),
            (Warning::NeverExpires, "set a ttl"),
            (Warning::Subjects(3), "3 subjects"),
            (Warning::Retention("work\u{1b}".to_owned()), "\\u{1b}"),
            (Warning::AlsoBounded("max_bytes"), "max_bytes"),
            (Warning::HoldersCut(10), "10"),
        ] {
            assert!(warning.to_string().contains(said), "{warning}");
        }
    }
}
