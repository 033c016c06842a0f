//! Sizes and rates, as NATS users type them.

use std::fmt;
use std::str::FromStr;

/// Bytes. Suffixes are powers of 1024 whatever their case: `K`, `KB` and `KiB` are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size: write for example `1MB`, `64K` or `4096`");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let shift = match suffix.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(wrong()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| format!("`{text}` is larger than any memory"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")];
        let whole = |shift: u32| self.0 > 0 && self.0.trailing_zeros() >= shift;
        match units.iter().find(|(shift, _)| whole(*shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Units a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerSecond(pub(crate) u64);

impl FromStr for PerSecond {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate: write for example `500/s` or `6000/m`");
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(wrong()),
        };
        match number / seconds {
            0 => Err(format!("`{text}` is less than one a second, which is the least there is")),
            _ if !number.is_multiple_of(seconds) => Err(format!(
                "`{text}` is no whole number a second: write for example `{}/s`",
                number / seconds
            )),
            rate => Ok(Self(rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_whatever_the_case() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4_096),
            ("1k", 1 << 10),
            ("1KB", 1 << 10),
            ("64 MiB", 64 << 20),
            ("2g", 2 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MB", "1.5MB", "-1", "1X", "99999999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!((Size(1 << 20).to_string(), Size(1_000).to_string()), ("1MB".into(), "1000B".into()));
    }

    #[test]
    fn rates_are_whole_numbers_a_second() {
        assert_eq!("500/s".parse(), Ok(PerSecond(500)));
        assert_eq!("6000/m".parse(), Ok(PerSecond(100)));
        assert!("30/m".parse::<PerSecond>().unwrap_err().contains("less than one"));
        assert!("90/m".parse::<PerSecond>().unwrap_err().contains("1/s"));
        for text in ["", "500", "x/s", "5/d", "0/s"] {
            assert!(text.parse::<PerSecond>().is_err(), "{text}");
        }
    }
}
