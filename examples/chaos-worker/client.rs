//! Getting slots: by waiting, by asking once, and by asking and not waiting for the answer.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Holder, LeaseError, LeaseErrorKind, LeasePool, LeasePoolExt, Random, Request, Wait};
use sluicegate_governor::{Governor, GovernorError, GovernorErrorKind};
use sluicegate_testkit::check::{Event, Op, Phase};
use sluicegate_testkit::record::{Journal, Visitor};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::holding::{Hold, Slot, hold};
use crate::pool::{Journaled, failed, granted, outcome};
use crate::{Orders, Outcome};

/// Longest wait in line.
const AT_MOST: Duration = Duration::from_secs(60);

/// What all clients of a process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) orders: Orders,
    pub(crate) pool: Arc<Journaled>,
    pub(crate) governor: Governor,
    pub(crate) journal: Journal,
}

/// How a slot is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Waiting,
    Once,
    /// The attempt is dropped after that time.
    Dropped(Duration),
}

impl Shared {
    pub(crate) fn new(orders: Orders, pool: Arc<Journaled>, journal: Journal) -> Outcome<Self> {
        let holder = Holder::try_new(&orders.process)?;
        let governor = Governor::builder(Arc::clone(&pool), holder).max_wait(AT_MOST).build();
        Ok(Self { orders, pool, governor, journal })
    }

    fn holder(&self, c: u32) -> Result<Holder, LeaseError> {
        let text = format!("{}/{c}", self.orders.process);
        Holder::try_new(text).map_err(|error| LeaseError::new(LeaseErrorKind::Invalid, error.to_string()))
    }

    async fn lease(&self, c: u32, stop: &CancellationToken) -> Result<Option<Slot>, LeaseError> {
        let request = Request::new(self.holder(c)?);
        let wait = Wait::new().at_most(AT_MOST).cancelled_by(stop.clone());
        Ok(self.pool.acquire(&request, &wait).await?.map(Slot::Lease))
    }

    async fn permit(&self, c: u32) -> Result<Option<Slot>, LeaseError> {
        match self.governor.acquire_as(self.holder(c)?).await {
            Ok(permit) => Ok(Some(Slot::Permit(permit))),
            Err(error) if error.kind() == GovernorErrorKind::Timeout => Ok(None),
            Err(error) => Err(as_pools_say(&error)),
        }
    }

    async fn once(&self, c: u32) -> Result<Option<Slot>, LeaseError> {
        let request = Request::new(self.holder(c)?);
        Ok(self.pool.try_acquire(&request).await?.map(Slot::Lease))
    }

    /// Asks for a slot, and writes down that it did and what became of it.
    async fn written(
        &self,
        c: u32,
        how: How,
        ask: impl Future<Output = Result<Option<Slot>, LeaseError>>,
    ) -> Result<Option<Slot>, LeaseError> {
        let id = self.journal.call();
        let of = |event: Event| event.call(c, id);
        self.journal.write(Op::Acquire, Phase::Call, |event| {
            let mut event = of(event);
            // Only those who stand in line can starve.
            event.kind = (how != How::Waiting).then(|| "try".into());
            event
        });
        let answer = match how {
            How::Waiting | How::Once => ask.await,
            How::Dropped(after) => match timeout(after, ask).await {
                Ok(answer) => answer,
                Err(_) => {
                    self.journal.write(Op::Acquire, Phase::Unknown, of);
                    return Ok(None);
                }
            },
        };
        match &answer {
            Ok(Some(slot)) => self.journal.write(Op::Acquire, Phase::Done, |event| {
                let lease = slot.lease();
                let mut event = granted(of(event), &lease);
                event.tries = self.pool.tries.of(&lease);
                event
            }),
            Ok(None) => self.journal.write(Op::Acquire, Phase::Done, of),
            Err(error) => self.journal.write(Op::Acquire, outcome(error), |event| failed(of(event), error)),
        }
        answer
    }

    /// Many attempts at once, that are all dropped; what was granted in time is given back.
    pub(crate) async fn storm(self: Arc<Self>, attempts: u32) {
        let id = self.journal.call();
        let of = |event: Event| event.call(0, id).fault("storm", &self.orders.process);
        self.journal.write(Op::Fault, Phase::Call, of);
        let mut asking = JoinSet::new();
        for n in 0..attempts {
            let shared = Arc::clone(&self);
            asking.spawn(async move {
                let how = How::Dropped(Duration::from_micros([50, 100, 200, 1_000][n as usize % 4]));
                match shared.written(1_000 + n, how, shared.once(1_000 + n)).await {
                    Ok(Some(slot)) => drop(shared.pool.release(&slot.lease()).await),
                    Ok(None) => return true,
                    Err(_) => {}
                }
                false
            });
        }
        if asking.join_all().await.contains(&true) {
            self.journal.write(Op::Fault, Phase::Done, of);
        }
        self.journal.write(Op::Fault, Phase::Event, of);
    }

    /// Takes a lease when all is over, and keeps it: the one that is to be found in the end.
    pub(crate) async fn keep_one(&self) -> Outcome {
        let never = CancellationToken::new();
        self.written(999, How::Waiting, self.lease(999, &never)).await?;
        Ok(())
    }
}

/// The pool's own kinds say what may have happened.
fn as_pools_say(error: &GovernorError) -> LeaseError {
    let kind = match error.kind() {
        GovernorErrorKind::Pool(kind) => kind,
        GovernorErrorKind::Overloaded => LeaseErrorKind::Transient,
        _ => LeaseErrorKind::Closed,
    };
    LeaseError::new(kind, error.to_string())
}

#[derive(Debug)]
pub(crate) struct Client {
    c: u32,
    shared: Arc<Shared>,
    visitor: Visitor,
    random: Random,
    slots: u64,
}

impl Client {
    pub(crate) async fn connect(c: u32, shared: &Arc<Shared>) -> Outcome<Self> {
        let visitor = Visitor::connect(shared.orders.resource, &shared.orders.process, c).await?;
        let salt = Random::of(&shared.holder(c)?).next_u64();
        let random = Random::seeded(salt ^ shared.orders.seed);
        Ok(Self { c, shared: Arc::clone(shared), visitor, random, slots: 0 })
    }

    /// Works until it is told to stop, or the resource is gone: then so is the run.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.ask(&stop).await {
                Ok(Some(slot)) => {
                    if self.use_up(slot).await.is_err() {
                        return;
                    }
                }
                Ok(None) => sleep(Duration::from_millis(1 + self.random.below(20))).await,
                Err(_) => sleep(Duration::from_millis(50 + self.random.below(200))).await,
            }
        }
    }

    /// Every other client uses the pool as it is, the others a governor over it.
    async fn ask(&mut self, stop: &CancellationToken) -> Result<Option<Slot>, LeaseError> {
        let (c, shared) = (self.c, Arc::clone(&self.shared));
        let bare = c.is_multiple_of(2);
        match self.random.below(100) {
            0..10 if !shared.orders.only_waits => shared.written(c, How::Once, shared.once(c)).await,
            10..20 if !shared.orders.only_waits => {
                // More often before it was sent, answered or heard of than after.
                let micros = [50, 100, 200, 500, 1_000, 5_000][self.random.below(6) as usize];
                let how = How::Dropped(Duration::from_micros(micros));
                if bare {
                    shared.written(c, how, shared.once(c)).await
                } else {
                    shared.written(c, how, shared.permit(c)).await
                }
            }
            _ if bare => shared.written(c, How::Waiting, shared.lease(c, stop)).await,
            _ => shared.written(c, How::Waiting, shared.permit(c)).await,
        }
    }

    async fn use_up(&mut self, slot: Slot) -> Outcome {
        self.slots += 1;
        let orders = &self.shared.orders;
        let every = orders.to_the_end;
        let longest = match self.random.below(20) {
            _ if every > 0 && self.slots.is_multiple_of(every) => orders.ttl() * 3,
            0 => Duration::from_millis(orders.hold_ms * 20),
            _ => Duration::from_millis(self.random.below(orders.hold_ms + 1)),
        };
        let margin = (orders.ttl() / 10).min(Duration::from_secs(1));
        let plan = Hold { longest, margin, drops: self.random.below(4) == 0 };
        hold(self.c, slot, plan, &self.shared.pool, &self.shared.journal, &mut self.visitor).await
    }
}
