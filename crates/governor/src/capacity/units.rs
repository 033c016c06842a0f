use std::fmt;
use std::num::NonZeroU32;

use sluicegate_core::{LeaseError, LeaseErrorKind};

use crate::Force;
use crate::wire::{FACTOR, KIND, StoredConfig, StreamInfo, TOTAL};

/// What the metadata of a capacity's stream says that it is of.
const CAPACITY: &str = "capacity";

/// What the slots of a governor are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GovernorKind {
    /// Places for those who work at the same time.
    #[default]
    Governor,
    /// Parts of a rate; [`CapacityAdmin`](crate::CapacityAdmin) looks after it.
    Capacity,
}

impl GovernorKind {
    pub(crate) fn of(config: &StoredConfig) -> Self {
        match config.metadata(KIND) {
            Some(CAPACITY) => Self::Capacity,
            _ => Self::Governor,
        }
    }
}

impl fmt::Display for GovernorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governor => "governor",
            Self::Capacity => CAPACITY,
        })
    }
}

/// A rate in parts of the same size: `total` units a second as ⌊total / factor⌋ leases of `factor` units a second.
///
/// Rounded down, so that all leases together are never worth more than the total.
///
/// ```
/// use sluicegate_governor::Units;
///
/// let units = Units::try_new(10_050, 1_000)?;
/// assert_eq!((units.leases().get(), units.unused()), (10, 50));
/// # Ok::<(), sluicegate_governor::UnitsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Units {
    total: u64,
    factor: u64,
    leases: NonZeroU32,
}

/// Why a rate cannot be had in such parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitsError {
    /// A lease would be worth nothing.
    #[error("factor is 0: a lease has to be worth something")]
    NoFactor,
    /// There would be no lease.
    #[error(
        "total {total} is less than factor {factor}, so there would be no lease: raise total, or lower factor"
    )]
    BelowFactor {
        /// Units a second in all.
        total: u64,
        /// Units a second of a lease.
        factor: u64,
    },
    /// There would be more than [`Units::MOST_LEASES`].
    #[error(
        "total {total} in parts of {factor} makes {} leases, and {} is the most: raise factor to {least} or more",
        total / factor,
        Units::MOST_LEASES
    )]
    TooMany {
        /// Units a second in all.
        total: u64,
        /// Units a second of a lease.
        factor: u64,
        /// The smallest factor by which there would not be too many.
        least: u64,
    },
}

impl Units {
    /// Most leases of a capacity: each is renewed three times in its time to live.
    pub const MOST_LEASES: u32 = 500;

    /// A total in parts of a factor, both in units a second.
    ///
    /// # Errors
    /// See [`UnitsError`].
    pub fn try_new(total: u64, factor: u64) -> Result<Self, UnitsError> {
        let Some(leases) = total.checked_div(factor) else { return Err(UnitsError::NoFactor) };
        // The smallest by which total / factor < MOST_LEASES + 1.
        let least = total / u64::from(Self::MOST_LEASES + 1) + 1;
        match u32::try_from(leases).ok().filter(|leases| *leases <= Self::MOST_LEASES).map(NonZeroU32::new) {
            Some(Some(leases)) => Ok(Self { total, factor, leases }),
            Some(None) => Err(UnitsError::BelowFactor { total, factor }),
            None => Err(UnitsError::TooMany { total, factor, least }),
        }
    }

    /// Units a second in all, as it was said; those that make no whole lease are [`unused`](Self::unused).
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Units a second of a lease.
    pub fn factor(&self) -> u64 {
        self.factor
    }

    /// How many leases there are of it.
    pub fn leases(&self) -> NonZeroU32 {
        self.leases
    }

    /// Units a second of all leases.
    pub fn usable(&self) -> u64 {
        self.worth(u64::from(self.leases.get()))
    }

    /// Units a second that make no whole lease, and that nobody gets: 0 where factor divides total.
    pub fn unused(&self) -> u64 {
        self.total - self.usable()
    }

    /// Units a second of so many leases.
    pub fn worth(&self, leases: u64) -> u64 {
        leases.saturating_mul(self.factor)
    }

    /// What a stream says, whether or not it would be made so today.
    pub(crate) fn read(config: &StoredConfig) -> Option<Self> {
        let number = |key| config.metadata(key).and_then(|text| text.parse::<u64>().ok());
        let (total, factor) = (number(TOTAL)?, number(FACTOR)?);
        let leases = NonZeroU32::new(u32::try_from(total.checked_div(factor)?).ok()?)?;
        (GovernorKind::of(config) == GovernorKind::Capacity).then_some(Self { total, factor, leases })
    }

    /// Has a stream say so, and keep as many leases.
    pub(crate) fn write(&self, config: &mut StoredConfig) {
        config.set_metadata(KIND, CAPACITY);
        config.set_metadata(TOTAL, &self.total.to_string());
        config.set_metadata(FACTOR, &self.factor.to_string());
        config.set_limit(self.leases);
    }

    /// Refuses another factor while leases are held, unless it is forced.
    pub(crate) fn keeps_held(&self, info: &StreamInfo, force: Force) -> Result<(), LeaseError> {
        let (have, held) = (Self::read(&info.config), info.state.messages);
        let Some(have) = have.filter(|have| have.factor != self.factor && held > 0) else { return Ok(()) };
        if force == Force::Yes {
            return Ok(());
        }
        let context = format!(
            "factor {} → {} while {held} of {} leases are held: their holders go on spending {} units a second for \
             each, as they read when they began, so all together may spend more than the total, or less, until they \
             have begun anew; stop them first, or force it",
            have.factor, self.factor, have.leases, have.factor
        );
        Err(LeaseError::new(LeaseErrorKind::Conflict, context))
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} units a second in {} leases of {}", self.total, self.leases, self.factor)
    }
}

impl From<UnitsError> for LeaseError {
    fn from(error: UnitsError) -> Self {
        LeaseError::new(LeaseErrorKind::Invalid, error.to_string()).with_source(error)
    }
}

/// Changes the number of slots; the total of a capacity follows, so that a lease stays worth what it is.
pub(crate) fn set_limit(config: &mut StoredConfig, limit: NonZeroU32) {
    let changed = config.limit() != Some(limit);
    config.set_limit(limit);
    if let Some(units) = Units::read(config).filter(|units| changed && units.leases != limit) {
        config.set_metadata(TOTAL, &units.worth(u64::from(limit.get())).to_string());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(kind: &str, total: &str, factor: &str, limit: u32) -> StoredConfig {
        let json = serde_json::json!({
            "max_msgs": limit, "metadata": { KIND: kind, TOTAL: total, FACTOR: factor, "team": "nights" },
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_makes_no_lease_or_too_many_is_refused_with_what_would_do() {
        let units = |total, factor| Units::try_new(total, factor);
        assert_eq!(units(10, 0), Err(UnitsError::NoFactor));
        assert_eq!(units(50, 100), Err(UnitsError::BelowFactor { total: 50, factor: 100 }));
        assert_eq!(units(0, 1), Err(UnitsError::BelowFactor { total: 0, factor: 1 }));
        assert_eq!(units(10_000, 10), Err(UnitsError::TooMany { total: 10_000, factor: 10, least: 20 }));
        assert!(units(u64::MAX, 1).unwrap_err().to_string().contains("leases, and 500 is the most"));
        assert_eq!(units(500, 1).unwrap().leases().get(), 500);
    }

    proptest! {
        #[test]
        fn leases_are_never_worth_more_than_the_total(total in any::<u64>(), factor in any::<u64>()) {
            match Units::try_new(total, factor) {
                Ok(units) => {
                    prop_assert!(units.usable() <= total && units.unused() < factor);
                    prop_assert!(units.leases().get() <= Units::MOST_LEASES);
                }
                Err(UnitsError::TooMany { least, .. }) => {
                    prop_assert!(Units::try_new(total, least).is_ok());
                    prop_assert!(Units::try_new(total, least - 1).is_err());
                }
                Err(_) => prop_assert!(total < factor || factor == 0),
            }
        }

        #[test]
        fn what_is_written_is_read(total in 1..1_000_000_u64, factor in 1..1_000_000_u64) {
            let Ok(units) = Units::try_new(total, factor) else { return Ok(()) };
            let mut config = StoredConfig::default();
            units.write(&mut config);
            prop_assert_eq!(Units::read(&config), Some(units));
            prop_assert_eq!(config.limit(), Some(units.leases()));
        }
    }

    #[test]
    fn only_a_capacity_has_parts() {
        assert!(Units::read(&stored("capacity", "100", "10", 10)).is_some());
        assert!(Units::read(&stored("capacity", "100000", "10", 10)).is_some(), "however many");
        for (kind, total, factor) in [
            ("leases", "100", "10"),
            ("capacity", "", "10"),
            ("capacity", "100", "0"),
            ("capacity", "1", "2"),
        ] {
            assert_eq!(Units::read(&stored(kind, total, factor, 10)), None, "{kind} {total} {factor}");
        }
        assert_eq!(GovernorKind::of(&stored("capacity", "", "", 1)), GovernorKind::Capacity);
        assert_eq!(GovernorKind::of(&StoredConfig::default()), GovernorKind::Governor);
    }

    #[test]
    fn the_total_follows_the_number_of_leases() {
        let mut config = stored("capacity", "105", "10", 10);
        set_limit(&mut config, NonZeroU32::new(10).unwrap());
        assert_eq!(config.metadata(TOTAL), Some("105"), "nothing has changed");
        set_limit(&mut config, NonZeroU32::new(7).unwrap());
        assert_eq!((config.limit().unwrap().get(), config.metadata(TOTAL)), (7, Some("70")));
        assert_eq!((config.metadata(FACTOR), config.metadata("team")), (Some("10"), Some("nights")));
    }
}
