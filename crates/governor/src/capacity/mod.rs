//! A rate that processes share, as a native governor whose leases are parts of it.

mod units;

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{LeaseError, LeaseErrorKind, LeasePool};
use sluicegate_nats::Connection;

pub use self::units::Units;
use crate::{Filter, Force, GovernorAdmin, GovernorConfig, GovernorSummary, GovernorView, Wire};

/// What a capacity is: the arguments of `create` and `ensure`.
///
/// ```
/// use std::time::Duration;
/// use sluicegate_governor::{CapacityConfig, Units};
///
/// let config = CapacityConfig::try_new("store", Units::try_new(10_000, 500)?, Duration::from_secs(10))?;
/// assert_eq!(config.units().leases().get(), 20);
/// # Ok::<(), sluicegate_core::LeaseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityConfig {
    config: GovernorConfig,
    units: Units,
}

impl CapacityConfig {
    /// So many units, in leases that last so long unless they are renewed: whole seconds, to a year.
    ///
    /// # Errors
    /// `Invalid`, naming field and problem.
    pub fn try_new(name: impl AsRef<str>, units: Units, ttl: Duration) -> Result<Self, LeaseError> {
        let config = GovernorConfig::try_new(name, units.leases(), ttl)?.wire(Wire::Native).units(units);
        Ok(Self { config, units })
    }

    /// So many copies in the cluster, 1 to 5.
    #[must_use]
    pub fn replicas(mut self, replicas: NonZeroU8) -> Self {
        self.config = self.config.replicas(replicas);
        self
    }

    /// What it is worth.
    pub fn units(&self) -> Units {
        self.units
    }
}

/// A rate that processes share: `total` units per second, as leases of a native governor that are worth `factor` units
/// per second each. For those who look after it, and, with [`pool`](Self::pool) and [`units`](Self::units), for those
/// who spend it: a `SharedCapacity` of `sluicegate-batcher` takes both.
///
/// ```no_run
/// # async fn example(connection: &sluicegate_nats::Connection) -> Result<(), sluicegate_core::LeaseError> {
/// use sluicegate_governor::CapacityAdmin;
///
/// let store = CapacityAdmin::bind(connection, "store").await?;
/// let (pool, factor) = (store.pool()?, store.units().factor());
/// // SharedCapacity::builder(pool, holder).factor(factor)
/// # let _ = (pool, factor);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CapacityAdmin {
    governor: GovernorAdmin,
    units: Units,
}

impl CapacityAdmin {
    /// The capacity of that name. Changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Misconfigured` if it is a governor that is no capacity; `Invalid` for the name, `NotPermitted`,
    /// `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn bind(connection: &Connection, name: impl AsRef<str>) -> Result<Self, LeaseError> {
        let governor = GovernorAdmin::bind_on(connection, name.as_ref(), Wire::Native).await?;
        Self::over(governor)
    }

    /// Makes the capacity, or finds it exactly so. One that is made so is [fresh](Self::is_fresh): the caller says that
    /// there was none of that name a moment ago, which some process might still believe in.
    ///
    /// # Errors
    /// `Conflict` if there is one that differs, or a governor of that name: nothing is changed then. Else as
    /// [`GovernorAdmin::create`].
    pub async fn create(connection: &Connection, config: &CapacityConfig) -> Result<Self, LeaseError> {
        let fresh = GovernorConfig { fresh: true, ..config.config.clone() };
        Self::over(GovernorAdmin::create(connection, &fresh).await?)
    }

    /// Makes the capacity, or changes it to what is wanted; and whether it had to. Leases that are held stay held: a
    /// changed factor is refused while there are any, as with [`set_units`](Self::set_units).
    ///
    /// # Errors
    /// As [`create`](Self::create); `Conflict` for a changed factor while leases are held.
    pub async fn ensure(
        connection: &Connection,
        config: &CapacityConfig,
    ) -> Result<(Self, bool), LeaseError> {
        match Self::bind(connection, config.config.name.as_str()).await {
            Ok(capacity) => capacity.keeps_worth(config.units).await?,
            Err(error) if error.kind() == LeaseErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (governor, changed) = GovernorAdmin::ensure(connection, &config.config).await?;
        Ok((Self::over(governor)?, changed))
    }

    /// All capacities of the account, sorted by name.
    ///
    /// # Errors
    /// As [`GovernorAdmin::list`].
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn list(connection: &Connection) -> Result<Vec<(GovernorSummary, Units)>, LeaseError> {
        let all = GovernorAdmin::list(connection, &Filter::all()).await?;
        Ok(all.into_iter().filter_map(|summary| summary.units.map(|units| (summary, units))).collect())
    }

    fn over(governor: GovernorAdmin) -> Result<Self, LeaseError> {
        let Some(units) = governor.units() else {
            let name = governor.name();
            let context =
                format!("{name} is a native governor and no capacity: its leases are worth no units");
            return Err(LeaseError::new(LeaseErrorKind::Misconfigured, context));
        };
        Ok(Self { governor, units })
    }

    /// The governor that it is made of: what can be done with one can be done with it.
    pub fn governor(&self) -> &GovernorAdmin {
        &self.governor
    }

    /// What it is worth, as it was last read.
    pub fn units(&self) -> Units {
        self.units
    }

    /// Whoever made it said that its name was new, so it may be used from the beginning. One that `ensure` has made again
    /// is not: processes may believe in leases of the one before for one time to live.
    pub fn is_fresh(&self) -> bool {
        self.governor.is_fresh()
    }

    /// A handle of its pool, for those who spend it: the same one at each call.
    ///
    /// # Errors
    /// `Misconfigured`, naming the reason, if no worker could use it.
    pub fn pool(&self) -> Result<Arc<dyn LeasePool>, LeaseError> {
        self.governor.pool()
    }

    /// The capacity as it is now, who holds it, and what it is worth.
    ///
    /// # Errors
    /// As [`GovernorAdmin::view`]; `Misconfigured` if it is a capacity no longer.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn view(&self) -> Result<(GovernorView, Units), LeaseError> {
        let view = self.governor.view().await?;
        let units = Self::over(self.governor.clone())?.units;
        Ok((view, units))
    }

    /// Sets what it is worth. Leases that are held stay held; fewer leases evict nobody. Holders go on to multiply by
    /// the factor that they have read at their start, so another factor is refused while leases are held, unless it is
    /// forced.
    ///
    /// # Errors
    /// `Conflict` for another factor while leases are held, if it is not forced; else as [`GovernorAdmin::resize`].
    pub async fn set_units(&self, units: Units, force: Force) -> Result<Self, LeaseError> {
        if force == Force::No {
            self.keeps_worth(units).await?;
        }
        self.governor.set_units(units).await?;
        Self::over(self.governor.clone())
    }

    /// Refuses another factor while leases are held.
    async fn keeps_worth(&self, units: Units) -> Result<(), LeaseError> {
        let active = self.governor.summary().await?.active.unwrap_or(0);
        if active == 0 || units.factor() == self.units.factor() {
            return Ok(());
        }
        let context = format!(
            "factor {} → {}: {active} leases are held, and their holders go on to count the old one for each; wait for \
             their release, or force it",
            self.units.factor(),
            units.factor()
        );
        Err(LeaseError::new(LeaseErrorKind::Conflict, context))
    }
}
