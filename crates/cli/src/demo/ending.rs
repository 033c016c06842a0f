//! What there is to see once everybody has gone home.

use std::time::Duration;

use sluicegate_core::{LeaseError, LeasePool};
use tokio::time::{Instant, sleep};

use super::check::Check;
use super::narrator::Narrator;
use super::patience::{PATIENCE, insist};
use super::shop::Shop;
use super::story::{CAPACITY, internal};
use super::world::{PAYMENT_SLOTS, World};
use crate::error::CliError;
use crate::failure;

/// How much later than its time to live a slot may be seen to be free.
const LATE: Duration = Duration::from_secs(5);

/// What the story says of itself, to be compared with what is seen.
pub(super) struct Ending {
    /// Orders there should be.
    pub(super) orders: u64,
    /// Orders that the publisher was told are stored.
    pub(super) acked: u64,
    /// Workers that the autoscaler says are left.
    pub(super) left: u64,
    /// The story was cut short.
    pub(super) interrupted: bool,
}

impl Ending {
    /// Every check, also where one of them cannot be measured.
    pub(super) async fn measure(&self, world: &dyn World, shop: &Shop, narrator: &Narrator) -> Vec<Check> {
        let measured = |outcome: Result<u64, CliError>| {
            outcome.inspect_err(|error| narrator.line(&format!("    not measured: {error}"))).ok()
        };
        let stored = measured(world.stored().await);
        let agreed = stored.is_none_or(|stored| stored == self.acked);
        if !agreed {
            narrator.line(&format!("    {} orders acked, which is not what the stream stored", self.acked));
        }
        let rows = measured(world.store().rows().await.map_err(internal));
        let consumer = measured(world.has_consumer().await.map(u64::from));
        let held = measured(held(world, shop).await);
        let left = shop.workers.inside().max(self.left);
        let (orders, cut) = (self.orders, self.interrupted);
        vec![
            Check::exactly("orders published and acked", orders, stored, cut).and(agreed),
            Check::exactly("orders stored exactly once", orders, rows, cut),
            Check::at_most("payment calls at one time", PAYMENT_SLOTS.into(), shop.payment.most(), cut),
            Check::at_most(
                "units in the worst second",
                CAPACITY + CAPACITY / 50,
                world.store().meter().worst_second(),
                cut,
            ),
            Check::exactly("consumer still there", 1, consumer, false),
            Check::exactly("workers left, slots held", 0, held.map(|held| left + held), false),
        ]
    }
}

async fn held(world: &dyn World, shop: &Shop) -> Result<u64, CliError> {
    let capacity = world.capacity().await?;
    let mut sum = 0;
    for pool in [&**shop.slots.pool(), &*capacity] {
        let held = slots_held(pool).await;
        sum += held.map_err(|error| failure::lease("counting the slots held", &error))?;
    }
    Ok(sum)
}

/// Slots still held, once those whose release is under way, or was lost, have had the time to go.
async fn slots_held(pool: &dyn LeasePool) -> Result<u64, LeaseError> {
    let again = |error: &LeaseError| error.is_transient();
    let ttl = insist(Instant::now() + PATIENCE, again, || pool.describe()).await?.ttl;
    let give_up = Instant::now() + ttl + LATE;
    loop {
        let held = insist(give_up, again, || pool.held()).await?.len() as u64;
        if held == 0 || Instant::now() >= give_up {
            return Ok(held);
        }
        sleep(Duration::from_millis(100)).await;
    }
}
