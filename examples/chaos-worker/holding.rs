//! Using a slot at the resource, for as long as it is ours.

use std::pin::pin;
use std::time::Duration;

use sluicegate_core::{Lease, LeasePool, LeasePoolExt, LossCause};
use sluicegate_governor::Permit;
use sluicegate_testkit::check::{Op, Phase};
use sluicegate_testkit::record::{Journal, Visitor, at};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Outcome;
use crate::pool::Journaled;

/// What was got: a bare lease of the pool, or a permit of a governor over it.
#[derive(Debug)]
pub(crate) enum Slot {
    Lease(Lease),
    Permit(Permit),
}

impl Slot {
    pub(crate) fn lease(&self) -> Lease {
        match self {
            Self::Lease(lease) => lease.clone(),
            Self::Permit(permit) => permit.lease(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) longest: Duration,
    /// A bare lease is used until that long before its deadline; a permit has a margin of its own.
    pub(crate) margin: Duration,
    /// The permit is not released but dropped.
    pub(crate) drops: bool,
}

pub(crate) async fn hold(
    c: u32,
    slot: Slot,
    plan: Hold,
    pool: &Journaled,
    journal: &Journal,
    visitor: &mut Visitor,
) -> Outcome {
    let first = slot.lease();
    let (lost, newest) = match slot {
        Slot::Lease(lease) => {
            let renewable = plan.longest > lease.remaining() / 4
                && pool.describe().await.is_ok_and(|pool| pool.renewable);
            let (current, _) = watch::channel(lease.clone());
            let kept =
                async { if renewable { pool.keep_renewed(&current).await } else { pool.lost(&lease).await } };
            let usable = || {
                let lease = current.borrow().clone();
                let until = lease.deadline().checked_sub(plan.margin);
                (lease, until.unwrap_or_else(Instant::now))
            };
            let lost = work(usable, plan, kept, visitor).await?;
            (lost, Slot::Lease(current.borrow().clone()))
        }
        Slot::Permit(permit) => {
            let usable = || (permit.lease(), permit.deadline());
            let lost = work(usable, plan, permit.lost(), visitor).await?;
            (lost, Slot::Permit(permit))
        }
    };
    if let Some(cause) = lost {
        journal.write(Op::Lost, Phase::Event, |event| {
            let mut event = event.call(c, 0).lease(first.id().0, first.token().0);
            event.text = Some(cause.to_string().into());
            event
        });
    }
    visitor.leave(first.id().0, newest.lease().token().0).await?;
    match newest {
        Slot::Lease(lease) => give_back(&lease, pool).await,
        Slot::Permit(permit) if plan.drops => drop(permit),
        // What could not be released is dropped with the error: that goes on in the background.
        Slot::Permit(permit) => drop(permit.release().await),
    }
    Ok(())
}

/// Why it stopped before it was done; `None`: it was done. `usable` is the newest lease, and until when it may be used.
async fn work(
    usable: impl Fn() -> (Lease, Instant),
    plan: Hold,
    kept: impl Future<Output = LossCause>,
    visitor: &mut Visitor,
) -> Outcome<Option<LossCause>> {
    let done = Instant::now() + plan.longest;
    let mut kept = pin!(kept);
    let mut entered = false;
    loop {
        let (lease, until) = usable();
        if Instant::now() >= until {
            return Ok(Some(LossCause::Expired));
        }
        let (id, token, deadline) = (lease.id().0, lease.token().0, at(lease.deadline()));
        let admitted = if entered {
            visitor.touch(id, token, deadline).await?
        } else {
            visitor.enter(id, token, deadline).await?
        };
        entered = true;
        if !admitted {
            return Ok(Some(LossCause::Gone));
        }
        if Instant::now() >= done {
            return Ok(None);
        }
        let pause = (plan.longest / 3).clamp(Duration::from_millis(1), Duration::from_millis(200));
        let next = (Instant::now() + pause).min(done).min(until);
        tokio::select! {
            biased;
            cause = &mut kept => return Ok(Some(cause)),
            () = sleep_until(next) => {}
        }
    }
}

/// Gives the slot back, for as long as it is ours to give.
async fn give_back(lease: &Lease, pool: &Journaled) {
    loop {
        match pool.release(lease).await {
            Err(error) if (error.is_transient() || error.is_unknown()) && !lease.remaining().is_zero() => {
                sleep(Duration::from_millis(100)).await;
            }
            _ => return,
        }
    }
}
