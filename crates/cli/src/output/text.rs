//! Numbers, times and names, as people and as programs read them.

use std::fmt::Write;
use std::time::Duration;

use sluicegate_core::HumanDuration;
use time::OffsetDateTime;

/// `1,234,567`, for people.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `4m17s`, `2d3h`, `42s`, `250ms`: the two largest units, for people.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |large: u64, l: &str, small: u64, s: &str| match small {
        0 => format!("{large}{l}"),
        _ => format!("{large}{l}{small}{s}"),
    };
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => pair(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => pair(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// `1h30m`: all of it, as it can be typed again.
pub(crate) fn exact(duration: Duration) -> String {
    HumanDuration(duration).to_string().replace(' ', "")
}

/// `0:42`, `12:05`, `1:02:03`: a clock that runs.
pub(crate) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3_600, seconds % 3_600 / 60, seconds % 60),
    }
}

/// Seconds with as many decimals as there are, nine at most: for programs.
pub(crate) fn seconds(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The same duration without what is smaller than a millisecond.
pub(crate) fn millis(duration: Duration) -> Duration {
    Duration::new(duration.as_secs(), duration.subsec_millis() * 1_000_000)
}

/// Seconds with milliseconds: for records.
pub(crate) fn record_seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// RFC 3339, UTC, milliseconds.
pub(crate) fn timestamp(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond()
    )
}

/// The text without anything that a terminal would obey: control characters and those that turn the direction of
/// writing. What others wrote (names, subjects, errors that repeat them) is never shown otherwise.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            // Writing to a string does not fail.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_digits_by_three() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (20_000, "20,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn durations_for_people_have_two_units() {
        for (millis, text) in [
            (0, "0ms"),
            (250, "250ms"),
            (1_900, "1s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (257_104, "4m17s"),
            (3_600_000, "1h"),
            (3_905_000, "1h5m"),
            (86_400_000, "1d"),
            (180_000_000, "2d2h"),
        ] {
            assert_eq!(age(Duration::from_millis(millis)), text);
        }
        assert_eq!(exact(Duration::from_millis(5_400_500)), "1h30m500ms");
        assert_eq!(clock(Duration::from_secs(42)), "0:42");
        assert_eq!(clock(Duration::from_secs(3_723)), "1:02:03");
    }

    #[test]
    fn durations_for_programs_are_seconds() {
        for (nanos, text) in
            [(0, "0"), (1, "0.000000001"), (257_104_000_000, "257.104"), (100_000_000_000, "100")]
        {
            assert_eq!(seconds(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn times_are_utc_milliseconds() {
        let time = OffsetDateTime::from_unix_timestamp_nanos(1_795_306_142_466_003_454).unwrap();
        assert_eq!(timestamp(time), "2026-11-22T00:09:02.466Z");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(escape("a\x1b[2J\u{202e}b\u{9b}\tc"), "a\\u{1b}[2J\\u{202e}b\\u{9b}\\tc");
        assert_eq!(escape("größe 12"), "größe 12");
    }
}
