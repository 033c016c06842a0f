//! Getting leases: by waiting, by asking once, and by asking and not waiting for the answer.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Holder, Lease, LeaseError, LeasePool, LeasePoolExt, Random, Request, Wait};
use sluicegate_testkit::check::{Event, Op, Phase};
use sluicegate_testkit::record::{Journal, Visitor};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::holding::{Hold, hold};
use crate::pool::{Journaled, failed, granted, outcome};
use crate::{Orders, Outcome};

#[derive(Debug)]
pub(crate) struct Client {
    c: u32,
    orders: Arc<Orders>,
    pool: Arc<Journaled>,
    journal: Journal,
    visitor: Visitor,
    random: Random,
    leases: u64,
}

fn request(orders: &Orders, c: u32) -> Outcome<Request> {
    Ok(Request::new(Holder::try_new(format!("{}/{c}", orders.process))?))
}

impl Client {
    pub(crate) async fn connect(
        c: u32,
        orders: &Arc<Orders>,
        pool: &Arc<Journaled>,
        journal: &Journal,
    ) -> Outcome<Self> {
        let visitor = Visitor::connect(orders.resource, &orders.process, c).await?;
        let request = request(orders, c)?;
        let mut random = Random::of(request.holder());
        random = Random::seeded(random.next_u64() ^ orders.seed);
        let (orders, pool, journal) = (Arc::clone(orders), Arc::clone(pool), journal.clone());
        Ok(Self { c, orders, pool, journal, visitor, random, leases: 0 })
    }

    /// Works until it is told to stop, or the resource is gone: then so is the run.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let got = match self.random.below(100) {
                0..10 if !self.orders.only_waits => self.once().await,
                10..20 if !self.orders.only_waits => self.abandoned().await,
                _ => self.wait(&stop).await,
            };
            match got {
                Ok(Some(lease)) => {
                    if self.use_up(lease).await.is_err() {
                        return;
                    }
                }
                Ok(None) => sleep(Duration::from_millis(1 + self.random.below(20))).await,
                Err(_) => sleep(Duration::from_millis(50 + self.random.below(200))).await,
            }
        }
    }

    async fn wait(&self, stop: &CancellationToken) -> Result<Option<Lease>, LeaseError> {
        let wait = Wait::new().at_most(Duration::from_secs(60)).cancelled_by(stop.clone());
        let asked = async |request: &Request| self.pool.acquire(request, &wait).await;
        written(&self.orders, self.c, &self.pool, &self.journal, How::Waiting, asked).await
    }

    async fn once(&self) -> Result<Option<Lease>, LeaseError> {
        let asked = async |request: &Request| self.pool.try_acquire(request).await;
        written(&self.orders, self.c, &self.pool, &self.journal, How::Once, asked).await
    }

    /// Drops the attempt, more often before it was sent, answered or heard of than after.
    async fn abandoned(&mut self) -> Result<Option<Lease>, LeaseError> {
        let micros = [50, 100, 200, 500, 1_000, 5_000][usize::try_from(self.random.below(6)).unwrap_or(0)];
        abandoned(&self.orders, self.c, &self.pool, &self.journal, Duration::from_micros(micros)).await
    }

    async fn use_up(&mut self, lease: Lease) -> Outcome {
        self.leases += 1;
        let every = self.orders.to_the_end;
        let longest = match self.random.below(20) {
            _ if every > 0 && self.leases.is_multiple_of(every) => self.orders.ttl() * 3,
            0 => Duration::from_millis(self.orders.hold_ms * 20),
            _ => Duration::from_millis(self.random.below(self.orders.hold_ms + 1)),
        };
        let plan = Hold { longest, margin: (self.orders.ttl() / 10).min(Duration::from_secs(1)) };
        hold(self.c, lease, plan, &self.pool, &self.journal, &mut self.visitor).await
    }
}

/// How a lease is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Waiting,
    Once,
    /// The attempt is dropped after that time.
    Dropped(Duration),
}

/// Asks for a lease, and writes down that it did and what became of it.
async fn written(
    orders: &Orders,
    c: u32,
    pool: &Journaled,
    journal: &Journal,
    how: How,
    ask: impl AsyncFnOnce(&Request) -> Result<Option<Lease>, LeaseError>,
) -> Result<Option<Lease>, LeaseError> {
    let Ok(request) = request(orders, c) else { return Ok(None) };
    let id = journal.call();
    let of = |event: Event| event.call(c, id);
    journal.write(Op::Acquire, Phase::Call, |event| {
        let mut event = of(event);
        // Only those who stand in line can starve.
        event.kind = (how != How::Waiting).then(|| "try".into());
        event
    });
    let answer = match how {
        How::Waiting | How::Once => ask(&request).await,
        How::Dropped(after) => match timeout(after, ask(&request)).await {
            Ok(answer) => answer,
            Err(_) => {
                journal.write(Op::Acquire, Phase::Unknown, of);
                return Ok(None);
            }
        },
    };
    match &answer {
        Ok(Some(lease)) => journal.write(Op::Acquire, Phase::Done, |event| {
            let mut event = granted(of(event), lease);
            event.tries = pool.tries.of(lease);
            event
        }),
        Ok(None) => journal.write(Op::Acquire, Phase::Done, of),
        Err(error) => journal.write(Op::Acquire, outcome(error), |event| failed(of(event), error)),
    }
    answer
}

async fn abandoned(
    orders: &Orders,
    c: u32,
    pool: &Journaled,
    journal: &Journal,
    after: Duration,
) -> Result<Option<Lease>, LeaseError> {
    let asked = async |request: &Request| pool.try_acquire(request).await;
    written(orders, c, pool, journal, How::Dropped(after), asked).await
}

/// Many attempts at once, that are all dropped; what was granted in time is given back.
pub(crate) async fn storm(attempts: u32, orders: Arc<Orders>, pool: Arc<Journaled>, journal: Journal) {
    let id = journal.call();
    let of = |event: Event| event.call(0, id).fault("storm", &orders.process);
    journal.write(Op::Fault, Phase::Call, of);
    let mut asking = JoinSet::new();
    for n in 0..attempts {
        let (orders, pool, journal) = (Arc::clone(&orders), Arc::clone(&pool), journal.clone());
        asking.spawn(async move {
            let after = Duration::from_micros([50, 100, 200, 1_000][n as usize % 4]);
            let got = abandoned(&orders, 1_000 + n, &pool, &journal, after).await;
            match got {
                Ok(Some(lease)) => drop(pool.release(&lease).await),
                Ok(None) => return true,
                Err(_) => {}
            }
            false
        });
    }
    let dropped = asking.join_all().await.into_iter().filter(|dropped| *dropped).count();
    if dropped > 0 {
        journal.write(Op::Fault, Phase::Done, of);
    }
    journal.write(Op::Fault, Phase::Event, of);
}

/// Takes a lease when all is over, and keeps it: the one that is to be found in the end.
pub(crate) async fn keep_one(orders: &Orders, pool: &Journaled, journal: &Journal) -> Outcome {
    let wait = Wait::new().at_most(Duration::from_secs(60));
    let asked = async |request: &Request| pool.acquire(request, &wait).await;
    written(orders, 999, pool, journal, How::Waiting, asked).await?;
    Ok(())
}
