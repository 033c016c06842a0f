use std::num::NonZeroU8;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::{LeaseError, human};

use super::Units;
use crate::make::Wanted;
use crate::native::validate_ttl;
use crate::{GovernorConfig, GovernorName, Wire};

/// What a capacity is: the arguments of `create` and `ensure`.
///
/// ```
/// use sluicegate_governor::CapacityConfig;
///
/// let config = CapacityConfig::try_new("cosmos", 10_000, 1_000)?;
/// assert_eq!(config.units()?.leases().get(), 10);
/// # Ok::<(), sluicegate_core::LeaseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CapacityConfig {
    /// Its name: that of a native governor.
    pub name: GovernorName,
    /// Units a second in all.
    pub total: u64,
    /// Units a second of a lease.
    pub factor: u64,
    /// How long a lease lasts that is not renewed, in whole seconds: for so long the part of a process that died lies
    /// idle. Default 10 s.
    #[serde(with = "human", default = "CapacityConfig::default_ttl")]
    pub ttl: Duration,
    /// Copies in the cluster, 1 to 5. None: as it is, and 1 where it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<NonZeroU8>,
}

impl CapacityConfig {
    /// The time to live of a lease unless another is said.
    pub const DEFAULT_TTL: Duration = Duration::from_secs(10);

    const fn default_ttl() -> Duration {
        Self::DEFAULT_TTL
    }

    /// A capacity whose leases last 10 s, with the server's default of one replica.
    ///
    /// # Errors
    /// `Invalid`, naming field and problem.
    pub fn try_new(name: impl AsRef<str>, total: u64, factor: u64) -> Result<Self, LeaseError> {
        let name = GovernorName::try_new(name)?;
        let config = Self { name, total, factor, ttl: Self::DEFAULT_TTL, replicas: None };
        config.validate()?;
        Ok(config)
    }

    /// Another time to live of a lease.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// So many copies in the cluster.
    #[must_use]
    pub fn replicas(mut self, replicas: NonZeroU8) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Its total in parts.
    ///
    /// # Errors
    /// `Invalid`, with the [`UnitsError`](crate::UnitsError) as its source.
    pub fn units(&self) -> Result<Units, LeaseError> {
        Ok(Units::try_new(self.total, self.factor)?)
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// `Invalid`, naming field and problem.
    pub fn validate(&self) -> Result<(), LeaseError> {
        self.governor(self.units()?).validate()?;
        validate_ttl(self.ttl)
    }

    /// The native governor that it is.
    fn governor(&self, units: Units) -> GovernorConfig {
        GovernorConfig {
            name: self.name.clone(),
            wire: Wire::Native,
            limit: units.leases(),
            ttl: self.ttl,
            replicas: self.replicas,
            subject: None,
        }
    }

    /// The same, and what its slots are worth.
    pub(super) fn wanted(&self) -> Result<(GovernorConfig, Units), LeaseError> {
        self.validate()?;
        let units = self.units()?;
        Ok((self.governor(units), units))
    }
}

/// What the stream of a capacity shall be. `fresh`: there was none of that name, so nobody believes in its leases.
pub(super) fn stream((config, units): &(GovernorConfig, Units), fresh: bool) -> Wanted<'_> {
    Wanted { config, units: Some(*units), fresh }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<CapacityConfig, String> {
        let config: CapacityConfig = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn ten_seconds_are_meant_unless_others_are_said() {
        let config = read(r#"{"name":"cosmos","total":10000,"factor":1000}"#).unwrap();
        assert_eq!((config.ttl, config.units().unwrap().leases().get()), (CapacityConfig::DEFAULT_TTL, 10));
        let text = serde_json::to_string(&config.clone().ttl(Duration::from_secs(90))).unwrap();
        assert_eq!(read(&text).unwrap().ttl, Duration::from_secs(90));
    }

    #[test]
    fn refuses_what_cannot_be_meant_and_names_it() {
        for (json, named) in [
            (r#"{"name":"a.b","total":1,"factor":1}"#, "governor name"),
            (r#"{"name":"a","total":1,"factor":2}"#, "raise total, or lower factor"),
            (r#"{"name":"a","total":1,"factor":0}"#, "factor is 0"),
            (r#"{"name":"a","total":501,"factor":1}"#, "raise factor to 2"),
            (r#"{"name":"a","total":1,"factor":1,"ttl":"1500ms"}"#, "whole seconds"),
            (r#"{"name":"a","total":1,"factor":1,"replicas":6}"#, "replicas"),
            (r#"{"name":"a","total":1,"factor":1,"limit":1}"#, "limit"),
            (r#"{"name":"a","total":1}"#, "factor"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(named), "{json}: {error}");
        }
    }
}
