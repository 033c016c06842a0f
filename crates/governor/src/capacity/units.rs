use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use sluicegate_core::{LeaseError, LeaseErrorKind};

/// What the leases of a capacity are worth: `total` units per second, as ⌊total / factor⌋ leases of `factor` units per
/// second each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Units {
    total: u64,
    factor: u64,
    leases: NonZeroU32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    total: u64,
    factor: u64,
}

impl Units {
    /// How many leases there may be: each is renewed every third of its time to live.
    pub const MOST_LEASES: u32 = 500;

    /// That many units per second together, so many for each lease.
    ///
    /// # Errors
    /// `Invalid`, naming the field and what would do: a factor of zero, a total below the factor, or more than
    /// [`MOST_LEASES`](Self::MOST_LEASES).
    pub fn try_new(total: u64, factor: u64) -> Result<Self, LeaseError> {
        let invalid = |context: String| Err(LeaseError::new(LeaseErrorKind::Invalid, context));
        let Some(leases) = total.checked_div(factor) else {
            return invalid("factor is 0: a lease has to be worth something".to_owned());
        };
        if leases > u64::from(Self::MOST_LEASES) {
            let least = total.div_ceil(u64::from(Self::MOST_LEASES) + 1).max(factor + 1);
            return invalid(format!(
                "factor {factor} makes {leases} leases of a total of {total}: {} are possible, so use a factor of {} \
                 or more",
                Self::MOST_LEASES,
                Self::fitting(total, least),
            ));
        }
        match u32::try_from(leases).ok().and_then(NonZeroU32::new) {
            Some(leases) => Ok(Self { total, factor, leases }),
            None => invalid(format!("total {total} is below the factor {factor}: there would be no lease")),
        }
    }

    /// The smallest factor, from there on, with which there are few enough leases.
    fn fitting(total: u64, from: u64) -> u64 {
        (from..).find(|factor| total / factor <= u64::from(Self::MOST_LEASES)).unwrap_or(total)
    }

    /// Units per second, as they were asked for.
    pub fn total(self) -> u64 {
        self.total
    }

    /// Units per second that one lease is worth.
    pub fn factor(self) -> u64 {
        self.factor
    }

    /// How many leases there are.
    pub fn leases(self) -> NonZeroU32 {
        self.leases
    }

    /// Units per second that no lease stands for, as the total is no multiple of the factor.
    pub fn unused(self) -> u64 {
        self.total % self.factor
    }
}

impl TryFrom<Raw> for Units {
    type Error = LeaseError;

    fn try_from(raw: Raw) -> Result<Self, LeaseError> {
        Self::try_new(raw.total, raw.factor)
    }
}

impl From<Units> for Raw {
    fn from(units: Units) -> Self {
        Self { total: units.total, factor: units.factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_rounded_down() {
        let units = Units::try_new(10_050, 1_000).unwrap();
        assert_eq!((units.leases().get(), units.unused()), (10, 50));
        assert_eq!(Units::try_new(500, 1).unwrap().leases().get(), 500);
    }

    #[test]
    fn what_cannot_be_is_named_with_what_would_do() {
        for (total, factor, text) in [
            (10, 0, "factor is 0"),
            (10, 11, "total 10 is below the factor 11"),
            (501, 1, "use a factor of 2 or more"),
            (1_000_000, 7, "use a factor of 1997 or more"),
        ] {
            let error = Units::try_new(total, factor).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(Units::try_new(1_000_000, 1_997).is_ok() && Units::try_new(1_000_000, 1_996).is_err());
    }
}
