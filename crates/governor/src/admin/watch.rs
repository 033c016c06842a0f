//! What changes in a governor, as somebody sees it who may only look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use sluicegate_core::{HeldLease, LeaseError, LeaseId};
use sluicegate_nats::async_nats::Subscriber;
use tokio::time::{Instant, sleep};

use super::{GovernorAdmin, GovernorView};
use crate::Units;
use crate::listener::Revocation;

/// A lease that is gone so shortly before its end has expired: ages are as old as the answers that they came with.
const NEARLY: Duration = Duration::from_millis(50);
/// How long the note of an eviction may take longer than the eviction.
const LATE: Duration = Duration::from_millis(100);

/// Something that changed in a governor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The limit is another one; none: unlimited.
    Resized {
        /// It was that.
        from: Option<u64>,
        /// It is that.
        to: Option<u64>,
    },
    /// A capacity has as many leases as before, and total or factor is another one.
    Divided {
        /// They were that; none: its metadata did not say.
        from: Option<Units>,
        /// They are that.
        to: Option<Units>,
    },
    /// Somebody got a slot.
    Acquired(HeldLease),
    /// A lease ended before its time, and nobody said that it was evicted: by its holder, or by somebody who uses
    /// another tool.
    Released(HeldLease),
    /// A lease ended with its time to live.
    Expired(HeldLease),
    /// An operator ended a lease, or all of them.
    Evicted(HeldLease),
}

/// A governor that is looked at again and again; made by [`GovernorAdmin::watch`].
#[derive(Debug)]
pub struct GovernorWatch {
    governor: GovernorAdmin,
    every: Duration,
    seen: GovernorView,
    revocations: Option<Subscriber>,
    revoked: Revoked,
}

/// Whose end was announced.
#[derive(Debug, Default)]
struct Revoked {
    leases: BTreeSet<u64>,
    all: bool,
}

impl GovernorAdmin {
    /// Watches what changes, by a look every so often. Leases that come and go between two looks are not seen.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn watch(&self, every: Duration) -> Result<GovernorWatch, LeaseError> {
        let mut watch = GovernorWatch {
            seen: self.view().await?,
            governor: self.clone(),
            every,
            revocations: None,
            revoked: Revoked::default(),
        };
        watch.listen().await;
        Ok(watch)
    }
}

impl GovernorWatch {
    /// The governor as it was last seen.
    pub fn view(&self) -> &GovernorView {
        &self.seen
    }

    /// Waits for the next look, and tells what is different from the one before: often nothing.
    ///
    /// # Errors
    /// As [`GovernorAdmin::view`]. After a transient one the next call compares with what was last seen.
    ///
    /// # Cancel safety
    /// Safe: what a dropped call did not tell the next one does.
    pub async fn changes(&mut self) -> Result<Vec<Change>, LeaseError> {
        sleep(self.every).await;
        self.listen().await;
        let begun = Instant::now();
        let view = self.governor.view().await?;
        // The leases are read one by one, after the clock.
        let took = begun.elapsed();
        self.hear();
        let lost = |revoked: &Revoked| gone(&self.seen, &view).any(|lease| !revoked.names(lease.id));
        if self.revocations.is_some() && lost(&self.revoked) {
            sleep(LATE).await;
            self.hear();
        }
        let changes = changes(&self.seen, &view, took, &self.revoked);
        self.seen = view;
        self.revoked = Revoked::default();
        Ok(changes)
    }

    /// Listens for evictions, where that is possible.
    async fn listen(&mut self) {
        if self.revocations.is_none() {
            let client = self.governor.connection().client();
            self.revocations = client.subscribe(Revocation::subject(self.governor.name())).await.ok();
        }
    }

    /// Takes notice of the evictions that were announced so far.
    fn hear(&mut self) {
        let Some(subscriber) = &mut self.revocations else { return };
        loop {
            match subscriber.next().now_or_never() {
                Some(Some(message)) => {
                    if let Some(revocation) = Revocation::read(&message.payload, &self.seen.stream) {
                        self.revoked.leases.extend(revocation.seq);
                        self.revoked.all |= revocation.all;
                    }
                }
                Some(None) => {
                    // The client was replaced.
                    self.revocations = None;
                    return;
                }
                None => return,
            }
        }
    }
}

impl Revoked {
    fn names(&self, id: LeaseId) -> bool {
        self.all || self.leases.contains(&id.0)
    }
}

/// Leases of `before` that are not in `after`.
fn gone<'a>(before: &'a GovernorView, after: &GovernorView) -> impl Iterator<Item = &'a HeldLease> + use<'a> {
    let has: BTreeSet<LeaseId> = after.holders.iter().map(|lease| lease.id).collect();
    before.holders.iter().filter(move |lease| !has.contains(&lease.id))
}

fn changes(before: &GovernorView, after: &GovernorView, took: Duration, revoked: &Revoked) -> Vec<Change> {
    let passed = after.now.zip(before.now).and_then(|(after, before)| after.duration_since(before).ok());
    let mut changes = Vec::new();
    if before.limit != after.limit {
        changes.push(Change::Resized { from: before.limit, to: after.limit });
    } else if before.units != after.units {
        changes.push(Change::Divided { from: before.units, to: after.units });
    }
    for lease in gone(before, after) {
        let mut lease = lease.clone();
        lease.age += passed.unwrap_or_default();
        changes.push(match after.ttl {
            _ if revoked.names(lease.id) => Change::Evicted(lease),
            Some(ttl) if lease.age + took + NEARLY >= ttl => Change::Expired(lease),
            _ => Change::Released(lease),
        });
    }
    let had: BTreeMap<LeaseId, &HeldLease> = before.holders.iter().map(|lease| (lease.id, lease)).collect();
    let new = after.holders.iter().filter(|lease| !had.contains_key(&lease.id));
    changes.extend(new.cloned().map(Change::Acquired));
    changes
}
