use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::time::Instant;

/// A [`Duration`] that reads and prints as people type it: `250ms`, `1h30m`, `1.5s`, `2d`, `1w`, `0`.
///
/// A bare number is refused, as nobody can tell its unit, and so are months (`M`) and years (`y`), as nobody can
/// tell their length.
///
/// ```
/// use std::time::Duration;
/// use sluicegate_core::HumanDuration;
///
/// let ttl: HumanDuration = "1h30m".parse()?;
/// assert_eq!(Duration::from(ttl), Duration::from_secs(5400));
/// assert_eq!("1.5s".parse::<HumanDuration>()?.to_string(), "1s 500ms");
/// assert!("90".parse::<HumanDuration>().unwrap_err().to_string().contains("90s"));
/// # Ok::<(), sluicegate_core::ParseDurationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

/// `instant + duration`, or the far future where clocks end before it: "never" is a natural setting, and
/// `Duration::MAX` its natural value.
pub fn later(instant: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    instant.checked_add(duration).unwrap_or_else(|| instant + FAR)
}

/// Why a text is no duration; `Display` shows the text and what would have been one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no duration: {problem}")]
pub struct ParseDurationError {
    text: String,
    problem: String,
}

impl FromStr for HumanDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem: String| Err(ParseDurationError { text: text.to_owned(), problem });
        let trimmed = text.trim();
        if trimmed == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if trimmed.is_empty() {
            return fail("write for example `250ms`, `90s` or `1h30m`".to_owned());
        }
        if trimmed.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return fail(format!("name the unit, for example `{trimmed}s` or `{trimmed}ms`"));
        }
        let units = trimmed.split(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace());
        for unit in units.filter(|u| !u.is_empty()) {
            if unit == "M" || unit.starts_with("mon") || unit.starts_with('y') {
                return fail(format!("`{unit}` has no fixed length, use `d` or `w`"));
            }
        }
        match humantime::parse_duration(trimmed) {
            Ok(duration) => Ok(Self(duration)),
            Err(error) => fail(error.to_string()),
        }
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days are the largest unit: humantime would go on to months, which are refused when read back.
        const DAY: u64 = 86_400;
        let days = self.0.as_secs() / DAY;
        let rest = self.0 - Duration::from_secs(days * DAY);
        match (days, rest.is_zero()) {
            (0, _) => humantime::format_duration(rest).fmt(f),
            (_, true) => write!(f, "{days}d"),
            (_, false) => write!(f, "{days}d {}", humantime::format_duration(rest)),
        }
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// `#[serde(with = "human")]` for fields of type [`Duration`].
pub mod human {
    use super::{Deserialize, Deserializer, Duration, HumanDuration, Serialize, Serializer};

    /// Writes `"1h 30m"`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        HumanDuration(*duration).serialize(serializer)
    }

    /// Reads what [`HumanDuration`] reads.
    ///
    /// # Errors
    /// Texts that are no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        HumanDuration::deserialize(deserializer).map(Duration::from)
    }
}

/// `#[serde(with = "human_option")]` for fields of type `Option<Duration>`.
pub mod human_option {
    use super::{Deserialize, Deserializer, Duration, HumanDuration, Serialize, Serializer};

    /// Writes `"1h 30m"` or nothing.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(HumanDuration).serialize(serializer)
    }

    /// Reads what [`HumanDuration`] reads, or nothing.
    ///
    /// # Errors
    /// Texts that are no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<HumanDuration>::deserialize(deserializer)?.map(Duration::from))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_type() {
        for (text, millis) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("0", 0),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(text.parse(), Ok(HumanDuration(Duration::from_millis(millis))), "{text}");
        }
    }

    #[test]
    fn refuses_what_has_no_length() {
        for text in ["90", "1.5", "2M", "1y", "3months", "", "soon", "-1s", "1y2d"] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos in 0u64..) {
            let duration = HumanDuration(Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse::<HumanDuration>().unwrap(), duration);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<HumanDuration>();
        }
    }
}
