mod ask;
mod keeper;
mod lend;
mod look;

use std::collections::HashMap;
use std::mem;
use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_core::{FencingToken, Lease, LeaseError, LeaseId, LossCause, PoolDescription, Random, later};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use self::ask::Gate;
use self::keeper::Fate;
use self::lend::Lending;
use self::look::Outlook;
use super::learning::{Learning, Standing};
use super::share::Division;
use super::terms::{Inner, Terms};
use super::{Driver, LeasedShare, Rate};
use crate::BatcherEvent;

/// How long the end of a batcher waits for leases to be given back; those that are not expire.
const PARTING: Duration = Duration::from_secs(2);

/// The leases of one process, and everything under way about them.
pub(super) struct Holdings<'a> {
    inner: &'a Inner,
    driver: Driver,
    terms: Terms,
    /// What is in the grant, oldest first.
    held: Vec<Held>,
    /// Leases that are used only if another look shows the same pool.
    unproven: Vec<Lease>,
    /// What has left the grant and is on its way back to the pool.
    leaving: Vec<Lease>,
    tasks: JoinSet<News>,
    /// Attempts under way, and the largest token that was known when they were made.
    asking: HashMap<Id, FencingToken>,
    gate: Gate,
    outlook: Outlook,
    lending: Lending,
    learning: Learning,
    surplus_since: Option<Instant>,
    /// What the observer was told last: wanted units and leases.
    told: (u64, usize),
    random: Random,
}

struct Held {
    lease: Lease,
    from: Instant,
    keeper: AbortHandle,
}

/// What tasks bring.
enum News {
    Described(Result<PoolDescription, LeaseError>),
    /// How many processes hold leases, this one among them.
    Counted(Result<usize, LeaseError>),
    Asked(Result<Option<Lease>, LeaseError>),
    Freed(NonZeroU32),
    Kept(LeaseId, Fate),
    /// Why a lease that could not be renewed is gone.
    Explained(LeaseId, LossCause),
    Left(LeaseId),
}

/// The earliest of some instants.
#[derive(Default)]
struct Wake(Option<Instant>);

impl Wake {
    fn at(&mut self, at: Option<Instant>) {
        self.0 = match (self.0, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl<'a> Holdings<'a> {
    pub(super) fn new(inner: &'a Inner, driver: Driver) -> Self {
        let mut this = Self {
            inner,
            driver,
            terms: *inner.terms.borrow(),
            held: Vec::new(),
            unproven: Vec::new(),
            leaving: Vec::new(),
            tasks: JoinSet::new(),
            asking: HashMap::new(),
            gate: Gate::default(),
            outlook: Outlook::default(),
            lending: Lending::default(),
            learning: Learning::new(inner.fresh),
            surplus_since: None,
            told: (0, 0),
            random: Random::of(inner.request.holder()),
        };
        if let Some((description, at)) = &inner.first {
            this.noted(description, *at);
        }
        this
    }

    /// Holds as many leases as are wanted, until the batcher stops.
    pub(super) async fn keep_up(&mut self, driver: &Driver) {
        let mut want = self.inner.want.subscribe();
        let mut terms = self.inner.terms.subscribe();
        loop {
            let now = Instant::now();
            let before = std::mem::replace(&mut self.terms, *terms.borrow_and_update());
            if before.leases != self.terms.leases {
                self.outlook.overtaken();
            }
            let wake = self.settle(*want.borrow_and_update(), now);
            tokio::select! {
                biased;
                () = driver.stopped() => return,
                Some(news) = self.tasks.join_next_with_id() => self.learn(news),
                Ok(()) = want.changed() => {}
                Ok(()) = terms.changed() => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// Does what follows from what is held and what is wanted. Returns when to look again.
    fn settle(&mut self, want: Rate, now: Instant) -> Option<Instant> {
        let wanted = self.inner.leases_for(want, &self.terms, self.outlook.parties());
        if self.told != (want.units(), wanted) {
            self.told = (want.units(), wanted);
            let (wanted_units, wanted_leases) = (want.units(), wanted as u32);
            self.driver.emit(&BatcherEvent::TargetChanged { wanted_units, wanted_leases });
        }
        let mut wake = Wake::default();
        wake.at(self.release_surplus(wanted, now));
        wake.at(self.look(wanted, now));
        wake.at(self.lend(wanted, now));
        wake.at(self.ask(wanted, now));
        wake.0
    }

    fn release_surplus(&mut self, wanted: usize, now: Instant) -> Option<Instant> {
        if self.held.len() <= wanted {
            self.surplus_since = None;
            return None;
        }
        let due = later(*self.surplus_since.get_or_insert(now), self.inner.hold);
        if due > now {
            return Some(due);
        }
        self.surplus_since = None;
        self.let_go(self.held.len() - wanted);
        None
    }

    /// Takes the youngest out of the grant, and gives them back.
    fn let_go(&mut self, leases: usize) -> Vec<LeaseId> {
        let going = self.held.split_off(self.held.len().saturating_sub(leases));
        self.publish();
        let gone = going.into_iter().rev().map(|held| {
            held.keeper.abort();
            let id = held.lease.id();
            self.give_back(held.lease);
            id
        });
        gone.collect()
    }

    fn division(&self) -> Division {
        let leases = self.terms.leases.min(self.inner.max_partitions).get() as usize;
        self.inner.share.division(leases, self.outlook.parties())
    }

    fn ttl(&self) -> Duration {
        self.terms.ttl.unwrap_or(Duration::from_secs(10))
    }

    fn learn(&mut self, news: Result<(Id, News), JoinError>) {
        let now = Instant::now();
        let task = news.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        let asked = self.asking.remove(&task);
        match news.map(|(_, news)| news) {
            Ok(News::Described(answer)) => self.looked(answer, now),
            Ok(News::Counted(answer)) => self.counted(answer),
            Ok(News::Asked(answer)) => self.asked(answer, asked.unwrap_or(FencingToken(0)), now),
            Ok(News::Freed(slots)) => self.freed(slots, now),
            Ok(News::Kept(id, fate)) => self.kept(id, fate, now),
            Ok(News::Explained(id, cause)) => self.lost(id, cause, now),
            Ok(News::Left(id)) => self.leaving.retain(|lease| lease.id() != id),
            Err(ended) if ended.is_cancelled() => {}
            // A pool that panics: whatever was asked did not happen as far as we know.
            Err(panicked) => {
                tracing::error!(%panicked, "the lease pool panicked");
                self.outlook.panicked(task);
                let kept = self.held.iter().find(|held| held.keeper.id() == task);
                if let Some(lease) = kept.map(|held| held.lease.id()) {
                    self.kept(lease, Fate::Ended(LossCause::Gone), now);
                }
                self.fail(now);
            }
        }
    }

    /// What became of a lease that is held.
    fn kept(&mut self, id: LeaseId, fate: Fate, now: Instant) {
        let Some(at) = self.held.iter().position(|held| held.lease.id() == id) else { return };
        match fate {
            Fate::Renewed(lease) => {
                let before = self.held[at].lease.token();
                if self.standing(&lease, before, now) == Standing::Anew {
                    // As it renews what it does not know, nothing of it can be relied on.
                    self.held.remove(at);
                    self.publish();
                    self.give_back(lease);
                    self.driver.emit(&BatcherEvent::LeaseLost { lease: id, cause: LossCause::Recreated });
                    return;
                }
                let keeper = self.keep(lease.clone());
                let held = &mut self.held[at];
                held.lease = lease;
                held.keeper = keeper;
                self.publish();
            }
            Fate::Refused if self.held[at].lease.deadline() > now => {
                let held = self.held.remove(at);
                self.publish();
                self.learning.suspend(now);
                let pool = self.inner.pool.clone();
                self.tasks.spawn(async move {
                    let cause = timeout(Learning::EXPLANATION, pool.lost(&held.lease)).await;
                    News::Explained(id, cause.unwrap_or(LossCause::Gone))
                });
            }
            Fate::Refused => self.kept(id, Fate::Ended(LossCause::Expired), now),
            Fate::Ended(cause) => {
                let held = self.held.remove(at);
                self.publish();
                if cause == LossCause::Expired || held.lease.deadline() <= now {
                    self.driver.emit(&BatcherEvent::LeaseExpired { lease: id });
                } else {
                    self.lost(id, cause, now);
                }
            }
        }
    }

    /// A lease ended before its deadline; it is out of the grant already.
    fn lost(&mut self, id: LeaseId, cause: LossCause, now: Instant) {
        self.driver.emit(&BatcherEvent::LeaseLost { lease: id, cause });
        if cause == LossCause::TtlLowered || cause == LossCause::Recreated {
            self.outlook.hurry();
        }
        if self.learning.lost(cause, self.ttl(), now) {
            self.tell_of_learning();
        }
    }

    fn standing(&mut self, lease: &Lease, asked: FencingToken, now: Instant) -> Standing {
        let standing = self.learning.granted(lease, asked, self.ttl(), now);
        match standing {
            Standing::Anew => {
                self.outlook.hurry();
                self.tell_of_learning();
            }
            Standing::Unproven => self.outlook.hurry(),
            Standing::Sound | Standing::Early => {}
        }
        standing
    }

    fn tell_of_learning(&self) {
        if let Some(until) = self.learning.end() {
            self.driver.emit(&BatcherEvent::LearningStarted { until });
        }
    }

    fn keep(&mut self, lease: Lease) -> AbortHandle {
        let (pool, ttl) = (self.inner.pool.clone(), self.ttl());
        let renewable = self.terms.renewable || lease.is_renewable();
        let (driver, random) = (self.driver.clone(), Random::seeded(self.random.next_u64()));
        self.tasks.spawn(async move {
            let id = lease.id();
            News::Kept(id, keeper::keep(&*pool, lease, ttl, renewable, &driver, random).await)
        })
    }

    /// Out of the grant it is already; it goes once what was taken under it has started.
    fn give_back(&mut self, lease: Lease) {
        self.leaving.push(lease.clone());
        let (pool, driver) = (self.inner.pool.clone(), self.driver.clone());
        self.tasks.spawn(async move {
            let id = lease.id();
            driver.departed().await;
            keeper::release(&*pool, &lease, &driver).await;
            News::Left(id)
        });
    }

    fn publish(&self) {
        let rate = Rate::per_second(self.inner.factor);
        let shares = self.held.iter().map(|held| LeasedShare::of(&held.lease, rate, held.from));
        self.inner.grant.send_modify(|grant| grant.set_shares(shares));
    }

    /// Releases everything, as far as the pool can be reached in time.
    pub(super) async fn give_all_back(&mut self) {
        self.tasks.abort_all();
        let mut leases = mem::take(&mut self.leaving);
        leases.append(&mut self.unproven);
        leases.extend(mem::take(&mut self.held).into_iter().map(|held| held.lease));
        self.publish();
        while let Some(news) = self.tasks.join_next().await {
            if let Ok(News::Asked(Ok(Some(lease)))) = news {
                leases.push(lease);
            }
        }
        for lease in leases {
            self.give_back(lease);
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(PARTING, all).await.is_err() {
            tracing::warn!(
                leases = self.leaving.len(),
                "the pool could not be reached: leases are left to expire"
            );
        }
    }
}
