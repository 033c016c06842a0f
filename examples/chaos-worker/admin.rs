//! What operators do, at the worst time.

use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_core::{LeaseError, Random};
use sluicegate_governor::{Force, GovernorAdmin};
use sluicegate_testkit::check::{Event, Op, Phase};
use sluicegate_testkit::record::Journal;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Orders;
use crate::pool::{failed, outcome};

pub(crate) async fn run(governor: GovernorAdmin, orders: Orders, journal: Journal, stop: CancellationToken) {
    let mut admin = Admin { governor, journal, random: Random::seeded(orders.seed) };
    let (base, most) = (orders.limit, orders.limit.get() + 3);
    let nanos = |ttl: Duration| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
    while stop
        .run_until_cancelled(sleep(Duration::from_millis(500 + admin.random.below(2_500))))
        .await
        .is_some()
    {
        match admin.random.below(10) {
            0..5 => {
                let limit = u32::try_from(admin.random.below(u64::from(most))).unwrap_or(0) + 1;
                admin.resize(NonZeroU32::new(limit).unwrap_or(base)).await;
            }
            5..8 => admin.evict().await,
            8 => {
                let ttl = [orders.ttl(), orders.ttl() / 2][usize::from(admin.random.below(2) == 1)];
                admin
                    .written(
                        Op::SetTtl,
                        |mut event| {
                            event.ttl = Some(nanos(ttl));
                            event
                        },
                        async |governor| governor.set_ttl(ttl, Force::Yes).await,
                    )
                    .await;
            }
            _ => {
                admin
                    .written(Op::Reset, |event| event, async |governor| governor.reset().await.map(drop))
                    .await
            }
        }
    }
    admin.resize(base).await;
}

#[derive(Debug)]
struct Admin {
    governor: GovernorAdmin,
    journal: Journal,
    random: Random,
}

impl Admin {
    /// Until it is known to be done: repeating changes nothing.
    async fn written(
        &self,
        op: Op,
        complete: impl Fn(Event) -> Event,
        change: impl AsyncFn(&GovernorAdmin) -> Result<(), LeaseError>,
    ) {
        loop {
            let id = self.journal.call();
            let of = |event: Event| complete(event.call(0, id));
            self.journal.write(op, Phase::Call, of);
            match change(&self.governor).await {
                Ok(()) => return self.journal.write(op, Phase::Done, of),
                Err(error) => self.journal.write(op, outcome(&error), |event| failed(of(event), &error)),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn resize(&self, limit: NonZeroU32) {
        let complete = |mut event: Event| {
            event.limit = Some(u64::from(limit.get()));
            event
        };
        self.written(Op::Resize, complete, async |governor| governor.resize(limit).await).await;
    }

    async fn evict(&mut self) {
        let Ok(view) = self.governor.view().await else { return };
        let Some(held) = view.holders.first() else { return };
        let id = held.id;
        let complete = |event: Event| event.lease(id.0, id.0);
        self.written(Op::Evict, complete, async |governor| governor.evict(id).await.map(drop)).await;
    }
}
