use std::num::NonZeroU8;
use std::time::Duration;

use sluicegate_core::{LeaseError, LeaseErrorKind};

use super::Units;
use crate::Force;
use crate::config::validate_replicas;
use crate::native::{PROTOCOL, validate_ttl};
use crate::wire::{StoredConfig, StreamInfo};

/// What shall be another in a capacity; what is none stays as it is. `Default` changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct CapacityEdit {
    /// Units a second in all. Fewer leases than are held evict nobody: there is no new one until enough are released.
    pub total: Option<u64>,
    /// Units a second of a lease. Holders multiply by the one that they read when they began.
    pub factor: Option<u64>,
    /// How long a lease lasts that is not renewed, in whole seconds: from the next grant or renewal on.
    pub ttl: Option<Duration>,
    /// Copies in the cluster, 1 to 5.
    pub replicas: Option<NonZeroU8>,
}

impl CapacityEdit {
    /// Checks what needs no look at the capacity.
    pub(crate) fn validate(&self) -> Result<(), LeaseError> {
        self.ttl.map_or(Ok(()), validate_ttl)?;
        self.replicas.map_or(Ok(()), validate_replicas)
    }

    /// Changes the configuration of the stream that was just seen, and tells its units if they were to be changed.
    pub(crate) fn apply(
        &self,
        info: &StreamInfo,
        config: &mut StoredConfig,
        force: Force,
    ) -> Result<Option<Units>, LeaseError> {
        let units = self.units(Units::read(config))?;
        if let Some(units) = units {
            units.keeps_held(info, force)?;
            units.write(config);
        }
        if let Some(ttl) = self.ttl {
            (PROTOCOL.set_ttl)(config, ttl);
        }
        if let Some(replicas) = self.replicas {
            config.set_replicas(replicas);
        }
        Ok(units)
    }

    fn units(&self, have: Option<Units>) -> Result<Option<Units>, LeaseError> {
        if self.total.is_none() && self.factor.is_none() {
            return Ok(None);
        }
        let total = self.total.or(have.map(|have| have.total()));
        let factor = self.factor.or(have.map(|have| have.factor()));
        match total.zip(factor) {
            Some((total, factor)) => Ok(Some(Units::try_new(total, factor)?)),
            None => {
                let context = "the capacity does not say its total and factor: set both";
                Err(LeaseError::new(LeaseErrorKind::Invalid, context))
            }
        }
    }
}
