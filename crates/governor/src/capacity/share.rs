use std::collections::BTreeMap;
use std::time::Duration;

use sluicegate_core::Holder;

use crate::GovernorView;

/// What one holder has of a governor: of a capacity, its part of the rate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapacityShare {
    /// Who, as written by the holder: hostile until escaped (`Display` does).
    pub holder: Holder,
    /// Leases held.
    pub leases: u64,
    /// Units a second that they are worth; none if it is no capacity, or does not say.
    pub units: Option<u64>,
    /// Age of the oldest of them, or, of those that were renewed, time since the renewal that is longest ago.
    pub oldest: Duration,
}

impl GovernorView {
    /// The leases by holder, those with the most first.
    pub fn shares(&self) -> Vec<CapacityShare> {
        let mut held: BTreeMap<&[u8], CapacityShare> = BTreeMap::new();
        for lease in &self.holders {
            let share = held.entry(lease.holder.as_bytes()).or_insert_with(|| CapacityShare {
                holder: lease.holder.clone(),
                leases: 0,
                units: None,
                oldest: Duration::ZERO,
            });
            share.leases += u64::from(lease.weight.get());
            share.units = self.units.map(|units| units.worth(share.leases));
            share.oldest = share.oldest.max(lease.age);
        }
        // Stable: among those with as many, by name.
        let mut shares: Vec<_> = held.into_values().collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.leases));
        shares
    }

    /// Units a second that all leases that are held are worth; none if it is no capacity, or does not say.
    pub fn held_units(&self) -> Option<u64> {
        self.units.map(|units| units.worth(self.active))
    }
}
