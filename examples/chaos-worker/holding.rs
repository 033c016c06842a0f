//! Using a lease at the resource, for as long as it is ours.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Lease, LeasePool, LeasePoolExt, LossCause};
use sluicegate_testkit::check::{Op, Phase};
use sluicegate_testkit::record::{Journal, Visitor, at};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Outcome;
use crate::pool::Journaled;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) longest: Duration,
    /// Stops that long before the deadline.
    pub(crate) margin: Duration,
}

pub(crate) async fn hold(
    c: u32,
    lease: Lease,
    plan: Hold,
    pool: &Arc<Journaled>,
    journal: &Journal,
    visitor: &mut Visitor,
) -> Outcome {
    let renewable =
        plan.longest > lease.remaining() / 4 && pool.describe().await.is_ok_and(|pool| pool.renewable);
    let (current, _) = watch::channel(lease.clone());
    let kept = async { if renewable { pool.keep_renewed(&current).await } else { pool.lost(&lease).await } };
    let worked = work(&current, plan, kept, visitor).await?;
    if let Some(cause) = worked {
        journal.write(Op::Lost, Phase::Event, |event| {
            let mut event = event.call(c, 0).lease(lease.id().0, lease.token().0);
            event.text = Some(cause.to_string().into());
            event
        });
    }
    let newest = current.borrow().clone();
    visitor.leave(newest.id().0, newest.token().0).await?;
    give_back(&newest, pool).await;
    Ok(())
}

/// Why it stopped before it was done; `None`: it was done.
async fn work(
    current: &watch::Sender<Lease>,
    plan: Hold,
    kept: impl Future<Output = LossCause>,
    visitor: &mut Visitor,
) -> Outcome<Option<LossCause>> {
    let done = Instant::now() + plan.longest;
    let mut kept = pin!(kept);
    let show = |lease: &Lease| (lease.id().0, lease.token().0, at(lease.deadline()));
    let usable = |lease: &Lease| lease.deadline().checked_sub(plan.margin);
    let mut entered = false;
    loop {
        let lease = current.borrow().clone();
        let Some(until) = usable(&lease).filter(|until| Instant::now() < *until) else {
            return Ok(Some(LossCause::Expired));
        };
        let (id, token, deadline) = show(&lease);
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
