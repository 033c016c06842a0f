use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sluicegate_core::HumanDuration;

use crate::GovernorConfig;

/// Metadata: what the stream is of (`governor`, `leases`, `capacity`).
pub(crate) const KIND: &str = "sluicegate.kind";
/// Metadata: which life of the stream this is.
pub(crate) const INCARNATION: &str = "sluicegate.incarnation";
/// Metadata of native governors: the time to live of a lease.
pub(crate) const TTL: &str = "sluicegate.ttl";
/// Metadata of capacities: units a second in all.
pub(crate) const TOTAL: &str = "sluicegate.total";
/// Metadata of capacities: units a second of a lease.
pub(crate) const FACTOR: &str = "sluicegate.factor";
/// Metadata of capacities: whoever made it said that its name is new, so nobody believes in leases of another one.
const FRESH: &str = "sluicegate.fresh";

/// The longest time for which a server remembers message ids unless it is told otherwise.
const LONGEST_WINDOW: Duration = Duration::from_secs(120);

/// For how long a stream of that maximum age remembers message ids, unless it was made with another window.
fn duplicate_window(max_age: Duration) -> Duration {
    LONGEST_WINDOW.min(max_age)
}

/// A stream's configuration as the server has it. Fields that we do not know survive a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StoredConfig(Map<String, Value>);

impl StoredConfig {
    /// The only subject, if there is exactly one.
    pub(crate) fn subject(&self) -> Option<&str> {
        match self.0.get("subjects")?.as_array()?.as_slice() {
            [one] => one.as_str(),
            _ => None,
        }
    }

    /// All its subjects.
    pub(crate) fn subjects(&self) -> Vec<&str> {
        let subjects = self.0.get("subjects").and_then(Value::as_array);
        subjects.into_iter().flatten().map(|subject| subject.as_str().unwrap_or_default()).collect()
    }

    pub(crate) fn set_subject(&mut self, subject: &str) {
        self.set("subjects", json!([subject]));
    }

    /// The number of slots; none if it is unlimited, or beyond counting.
    pub(crate) fn limit(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(u32::try_from(self.max_messages()?).ok()?)
    }

    /// How many messages it stores at most; none if that is unlimited.
    pub(crate) fn max_messages(&self) -> Option<u64> {
        self.integer("max_msgs").and_then(|most| u64::try_from(most).ok()).filter(|most| *most > 0)
    }

    /// How many copies there are of it.
    pub(crate) fn replicas(&self) -> u8 {
        self.integer("num_replicas").and_then(|count| u8::try_from(count).ok()).unwrap_or(1)
    }

    pub(crate) fn integer(&self, field: &str) -> Option<i64> {
        self.0.get(field)?.as_i64()
    }

    /// The maximum age; none if messages never expire.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.nanoseconds("max_age")
    }

    /// For how long message ids are remembered.
    pub(crate) fn duplicate_window(&self) -> Duration {
        let unset = || duplicate_window(self.max_age().unwrap_or(LONGEST_WINDOW));
        self.nanoseconds("duplicate_window").unwrap_or_else(unset)
    }

    fn nanoseconds(&self, field: &str) -> Option<Duration> {
        let nanos = self.0.get(field)?.as_u64()?;
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    pub(crate) fn flag(&self, field: &str) -> bool {
        self.0.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get(key)?.as_str()
    }

    pub(crate) fn set_metadata(&mut self, key: &str, value: &str) {
        let metadata = self.0.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(key.to_owned(), value.into());
        }
    }

    /// Whoever made this capacity said that its name is new.
    pub(crate) fn is_fresh(&self) -> bool {
        self.metadata(FRESH) == Some("true")
    }

    pub(crate) fn set_fresh(&mut self) {
        self.set_metadata(FRESH, "true");
    }

    pub(crate) fn set_limit(&mut self, limit: NonZeroU32) {
        self.set("max_msgs", limit.get().into());
    }

    /// Sets the maximum age, and lets a duplicate window that followed it follow on: one that is longer than the
    /// age would be refused.
    pub(crate) fn set_max_age(&mut self, age: Duration) {
        let before = self.max_age();
        let window = self.nanoseconds("duplicate_window");
        if window == before.map(duplicate_window) || window.is_some_and(|window| window > age) {
            self.set("duplicate_window", nanos(duplicate_window(age)));
        }
        self.set("max_age", nanos(age));
    }

    pub(crate) fn set_replicas(&mut self, replicas: NonZeroU8) {
        self.set("num_replicas", replicas.get().into());
    }

    fn set(&mut self, field: &str, value: Value) {
        self.0.insert(field.to_owned(), value);
    }

    /// What is named in `wanted` and is otherwise here; of the metadata each key by itself, as servers add to it.
    pub(crate) fn differences(&self, wanted: &StoredConfig) -> Differences {
        let mut differences = Vec::new();
        for (field, want) in &wanted.0 {
            let have = self.0.get(field);
            match want {
                Value::Object(keys) if field == "metadata" => {
                    let differing = keys.iter().filter_map(|(key, want)| {
                        let have = have.and_then(|have| have.get(key));
                        (have != Some(want)).then(|| Difference::new(key, have, want))
                    });
                    differences.extend(differing);
                }
                _ if same(have, want) => {}
                _ => differences.push(Difference::new(field, have, want)),
            }
        }
        differences.sort_by(|a, b| a.field.cmp(&b.field));
        Differences(differences)
    }

    /// With the other's fields in place of its own; of the metadata, with the other's keys.
    pub(crate) fn extend(&mut self, other: StoredConfig) {
        for (field, value) in other.0 {
            match (self.0.get_mut(&field), value) {
                (Some(Value::Object(have)), Value::Object(value)) => have.extend(value),
                (_, value) => self.set(&field, value),
            }
        }
    }

    /// These fields alone.
    pub(crate) fn only(&self, fields: &[&str]) -> StoredConfig {
        let wanted = self.0.iter().filter(|(field, _)| fields.contains(&field.as_str()));
        Self(wanted.map(|(field, value)| (field.clone(), value.clone())).collect())
    }

    /// These keys of the metadata alone.
    pub(crate) fn only_metadata(&self, keys: &[&str]) -> StoredConfig {
        let mut only = Self::default();
        for (key, value) in keys.iter().filter_map(|key| Some((key, self.metadata(key)?))) {
            only.set_metadata(key, value);
        }
        only
    }
}

/// Servers leave out what is off or empty, and add to what they know.
fn same(have: Option<&Value>, want: &Value) -> bool {
    match (have, want) {
        (None, want) => is_default(want),
        (Some(Value::Object(have)), Value::Object(want)) => {
            want.iter().all(|(key, value)| have.get(key) == Some(value))
        }
        (Some(have), want) => have == want,
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Fields in which a stream is not as it was asked for; displays as `limit 5 → 3, ttl 1m → 2m`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Differences(Vec<Difference>);

#[derive(Clone, Debug, PartialEq)]
struct Difference {
    field: String,
    have: Value,
    want: Value,
}

impl Difference {
    fn new(field: &str, have: Option<&Value>, want: &Value) -> Self {
        Self { field: field.to_owned(), have: have.cloned().unwrap_or(Value::Null), want: want.clone() }
    }
}

impl Differences {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those in other fields than these.
    pub(crate) fn without(&self, fields: &[&str]) -> Self {
        Self(
            self.0
                .iter()
                .filter(|difference| !fields.contains(&difference.field.as_str()))
                .cloned()
                .collect(),
        )
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Difference { field, have, want }) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{} {} → {}", label(field), Shown(field, have), Shown(field, want))?;
        }
        Ok(())
    }
}

/// The field's name in a governor's words.
fn label(field: &str) -> &str {
    match field {
        "max_msgs" => "limit",
        "max_age" | TTL => "ttl",
        TOTAL => "total",
        FACTOR => "factor",
        KIND => "kind",
        "num_replicas" => "replicas",
        "subjects" => "subject",
        other => other,
    }
}

struct Shown<'a>(&'a str, &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (_, Value::Null) => f.write_str("not set"),
            ("max_msgs", value) if value.as_i64().is_some_and(|limit| limit <= 0) => f.write_str("unlimited"),
            ("max_age" | "duplicate_window", value) => match value.as_u64() {
                Some(0) => f.write_str("never expires"),
                Some(nanos) => HumanDuration(Duration::from_nanos(nanos)).fmt(f),
                None => value.fmt(f),
            },
            ("subjects", Value::Array(subjects)) => {
                let subjects: Vec<&str> = subjects.iter().filter_map(Value::as_str).collect();
                f.write_str(&subjects.join(" "))
            }
            (_, Value::String(text)) => f.write_str(text),
            (_, value) => value.fmt(f),
        }
    }
}

fn nanos(duration: Duration) -> Value {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).into()
}

/// A new campaign stream: choria's, field by field, with a seed for its sequence (where there is one) and a name for
/// its incarnation on top.
pub(crate) fn campaign_config(config: &GovernorConfig, seed: Option<u64>, incarnation: &str) -> StoredConfig {
    let name = &config.name;
    let subject = config.subject.clone().unwrap_or_else(|| name.campaign_subject());
    fields(json!({
        "name": name.campaign_stream(),
        "description": format!("Concurrency Governor {name}"),
        "subjects": [subject],
        "retention": "limits",
        "max_consumers": -1,
        "max_msgs": config.limit,
        "max_bytes": -1,
        "max_age": nanos(config.ttl),
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "discard": "new",
        "storage": "file",
        "num_replicas": replicas(config),
        "sealed": false,
        "deny_delete": false,
        "deny_purge": false,
        "allow_rollup_hdrs": false,
        "allow_direct": false,
        "mirror_direct": false,
        "consumer_limits": {},
        "first_seq": seed.unwrap_or(0),
        "metadata": { KIND: "governor", INCARNATION: incarnation },
    }))
}

/// A new native stream. Nobody else's, so it is kept small and read at its leader.
pub(crate) fn native_config(config: &GovernorConfig, seed: Option<u64>, incarnation: &str) -> StoredConfig {
    let name = &config.name;
    fields(json!({
        "name": name.native_stream(),
        "description": format!("sluicegate leases of {name}"),
        "subjects": [format!("{}>", name.native_prefix())],
        "retention": "limits",
        "max_consumers": 64,
        "max_msgs": config.limit,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": 1,
        "max_msg_size": 8192,
        "discard": "new",
        "storage": "file",
        "num_replicas": replicas(config),
        "allow_direct": false,
        "allow_msg_ttl": true,
        "allow_atomic": true,
        "first_seq": seed.unwrap_or(0),
        "metadata": {
            KIND: "leases",
            INCARNATION: incarnation,
            TTL: HumanDuration(config.ttl).to_string(),
        },
    }))
}

/// A new stream of tickets for a native governor's queue, with as many copies as that has.
pub(crate) fn tickets_config(stream: &str, prefix: &str, leases: &StoredConfig) -> StoredConfig {
    let replicas = leases.0.get("num_replicas").cloned().unwrap_or_else(|| 1.into());
    fields(json!({
        "name": stream,
        "description": format!("sluicegate waiters of {}", leases.text("name").unwrap_or_default()),
        "subjects": [format!("{prefix}>")],
        "retention": "limits",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": 1,
        "max_msg_size": 1024,
        "discard": "old",
        "storage": "file",
        "num_replicas": replicas,
        "allow_direct": false,
        "allow_msg_ttl": true,
        "metadata": { KIND: "waiters" },
    }))
}

fn replicas(config: &GovernorConfig) -> u8 {
    config.replicas.map_or(1, NonZeroU8::get)
}

fn fields(value: Value) -> StoredConfig {
    match value {
        Value::Object(map) => StoredConfig(map),
        _ => StoredConfig(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GovernorConfig {
        let limit = NonZeroU32::new(10).unwrap();
        GovernorConfig::try_new("T", limit, Duration::from_secs(60)).unwrap()
    }

    fn stored(json: &str) -> StoredConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_campaign_stream_is_chorias_field_by_field() {
        let ours =
            serde_json::to_value(campaign_config(&config(), Some(1_795_309_080_033_843), "nonce")).unwrap();
        let choria = json!({
            "name": "GOVERNOR_T", "description": "Concurrency Governor T", "subjects": ["$GOVERNOR.campaign.T"],
            "retention": "limits", "max_consumers": -1, "max_msgs": 10, "max_bytes": -1,
            "max_age": 60_000_000_000_u64, "max_msgs_per_subject": -1, "max_msg_size": -1, "discard": "new",
            "storage": "file", "num_replicas": 1, "sealed": false, "deny_delete": false, "deny_purge": false,
            "allow_rollup_hdrs": false, "allow_direct": false, "mirror_direct": false, "consumer_limits": {},
        });
        let (ours, choria) = (ours.as_object().unwrap(), choria.as_object().unwrap());
        for (field, value) in choria {
            assert_eq!(ours.get(field), Some(value), "{field}");
        }
        let on_top: Vec<_> = ours.keys().filter(|field| !choria.contains_key(*field)).collect();
        assert_eq!(on_top, ["first_seq", "metadata"]);
    }

    #[test]
    fn fields_that_we_do_not_know_survive() {
        let mut config = stored(r#"{"max_msgs":5,"placement":{"tags":["ssd"]},"future":[1,{"a":null}]}"#);
        config.set_limit(NonZeroU32::new(7).unwrap());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            stored(&text),
            stored(r#"{"future":[1,{"a":null}],"max_msgs":7,"placement":{"tags":["ssd"]}}"#)
        );
    }

    #[test]
    fn the_window_follows_the_age_as_far_as_it_did_before() {
        let second = 1_000_000_000_u64;
        for (window, age, new_age, expected) in
            [(60, 60, 10, 10), (60, 60, 300, 120), (120, 300, 60, 60), (30, 300, 600, 30), (30, 300, 10, 10)]
        {
            let json = format!(r#"{{"duplicate_window":{},"max_age":{}}}"#, window * second, age * second);
            let mut config = stored(&json);
            config.set_max_age(Duration::from_secs(new_age));
            let set = config.nanoseconds("duplicate_window").unwrap().as_secs();
            assert_eq!(set, expected, "window {window} s, age {age} → {new_age} s");
            assert_eq!(config.max_age(), Some(Duration::from_secs(new_age)));
        }
    }

    #[test]
    fn the_window_is_read_where_it_is_set() {
        assert_eq!(
            stored(r#"{"duplicate_window":2000000000,"max_age":9000000000}"#).duplicate_window().as_secs(),
            2
        );
        assert_eq!(stored(r#"{"max_age":9000000000}"#).duplicate_window().as_secs(), 9);
        assert_eq!(stored(r#"{"max_age":0}"#).duplicate_window().as_secs(), 120);
    }

    #[test]
    fn differences_are_told_in_a_governors_words() {
        let have =
            stored(r#"{"max_msgs":-1,"max_age":60000000000,"subjects":["a"],"discard":"new","future":1}"#);
        let want = stored(
            r#"{"max_msgs":3,"max_age":120000000000,"subjects":["b"],"discard":"new","sealed":false}"#,
        );
        let differences = have.differences(&want);
        assert_eq!(differences.to_string(), "ttl 1m → 2m, limit unlimited → 3, subject a → b");
        assert_eq!(differences.without(&["max_age", "subjects"]).to_string(), "limit unlimited → 3");
        assert!(want.differences(&want).is_empty());
    }

    #[test]
    fn what_a_server_dropped_is_a_difference() {
        let wanted = native_config(&config(), Some(1), "nonce");
        let mut returned = wanted.clone();
        returned.set_metadata("_nats.level", "3");
        assert!(returned.differences(&wanted).is_empty(), "a server adds to the metadata");
        returned.0.remove("allow_msg_ttl");
        assert_eq!(returned.differences(&wanted).to_string(), "allow_msg_ttl not set → true");
    }

    #[test]
    fn unlimited_and_many_subjects_are_no_limit_and_no_subject() {
        let odd = stored(r#"{"max_msgs":-1,"max_age":0,"subjects":["a","b"]}"#);
        assert_eq!((odd.limit(), odd.max_age(), odd.subject()), (None, None, None));
        assert_eq!(stored("{}").limit(), None);
        assert_eq!(stored(r#"{"max_msgs":4294967296}"#).limit(), None, "more than anybody counts");
    }
}
