use std::collections::HashSet;
use std::mem;
use std::num::NonZeroU32;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use sluicegate_core::{Lease, LeaseError, LeaseId, LossCause, Random, later};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::keeper::{self, Fate};
use super::{Driver, Grant, LeasedShare, Rate, SharedCapacity};
use crate::BatcherEvent;

/// Most attempts to acquire that are under way at once.
const WIDEST: usize = 32;

/// How long the end of a batcher waits for leases to be given back; those that are not expire.
const PARTING: Duration = Duration::from_secs(2);

/// The leases of one process, and everything under way about them.
pub(super) struct Holdings<'a> {
    capacity: &'a SharedCapacity,
    driver: Driver,
    /// What is in the grant, oldest first.
    held: Vec<Held>,
    /// What has left the grant and is on its way back to the pool.
    leaving: Vec<Lease>,
    tasks: JoinSet<News>,
    /// Attempts under way.
    asking: HashSet<Id>,
    /// How many may be: one more for each success.
    width: usize,
    door: Door,
    delays: Option<ExponentialBackoff>,
    surplus_since: Option<Instant>,
    random: Random,
}

struct Held {
    lease: Lease,
    from: Instant,
    keeper: AbortHandle,
}

/// Whether asking the pool makes sense.
enum Door {
    Open,
    /// It was full. Asked again when a slot is said to be free, at that time at the latest.
    Full {
        until: Instant,
        hint: AbortHandle,
    },
    /// It failed.
    Failed {
        until: Instant,
    },
}

enum News {
    Asked(Result<Option<Lease>, LeaseError>),
    Freed(NonZeroU32),
    Kept(LeaseId, Fate),
    Left(LeaseId),
}

impl<'a> Holdings<'a> {
    pub(super) fn new(capacity: &'a SharedCapacity, driver: Driver) -> Self {
        Self {
            capacity,
            driver,
            held: Vec::new(),
            leaving: Vec::new(),
            tasks: JoinSet::new(),
            asking: HashSet::new(),
            width: 1,
            door: Door::Open,
            delays: None,
            surplus_since: None,
            random: Random::of(capacity.source.request.holder()),
        }
    }

    /// Holds as many leases as are wanted, until the batcher stops.
    pub(super) async fn keep_up(&mut self, driver: &Driver) {
        let mut want = self.capacity.want.subscribe();
        loop {
            let wanted = self.capacity.source.leases_for(*want.borrow_and_update());
            let wake = self.settle(wanted, Instant::now());
            tokio::select! {
                biased;
                () = driver.stopped() => return,
                Some(news) = self.tasks.join_next_with_id() => self.learn(news, wanted),
                () = changed(&mut want) => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Does what follows from what is held and what is wanted. Returns when to look again.
    fn settle(&mut self, wanted: usize, now: Instant) -> Option<Instant> {
        if self.held.len() > wanted {
            let due = later(*self.surplus_since.get_or_insert(now), self.capacity.source.hold);
            if due > now {
                return Some(due);
            }
            let surplus = self.held.split_off(wanted);
            self.publish();
            for held in surplus.into_iter().rev() {
                held.keeper.abort();
                self.give_back(held.lease, SharedCapacity::GUARD);
            }
        }
        self.surplus_since = None;
        if self.held.len() == wanted {
            self.open_door(1);
            return None;
        }
        match self.door {
            Door::Full { until, .. } | Door::Failed { until } if now < until => return Some(until),
            Door::Full { .. } | Door::Failed { .. } => self.open_door(1),
            Door::Open => {}
        }
        while self.asking.len() < self.width && self.held.len() + self.asking.len() < wanted {
            let (pool, request) = (self.capacity.source.pool.clone(), self.capacity.source.request.clone());
            let ask = self.tasks.spawn(async move { News::Asked(pool.try_acquire(&request).await) });
            self.asking.insert(ask.id());
        }
        None
    }

    fn open_door(&mut self, width: usize) {
        if let Door::Full { hint, .. } = mem::replace(&mut self.door, Door::Open) {
            hint.abort();
            self.width = width;
        }
    }

    fn learn(&mut self, news: Result<(Id, News), JoinError>, wanted: usize) {
        let now = Instant::now();
        let task = news.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        self.asking.remove(&task);
        match news.map(|(_, news)| news) {
            Ok(News::Asked(answer)) => self.asked(answer, wanted, now),
            Ok(News::Freed(slots)) => self.open_door((slots.get() as usize).min(WIDEST)),
            Ok(News::Kept(id, fate)) => self.kept(id, fate),
            Ok(News::Left(id)) => self.leaving.retain(|lease| lease.id() != id),
            Err(ended) if ended.is_cancelled() => {}
            // A pool that panics: whatever was asked did not happen as far as we know.
            Err(panicked) => {
                tracing::error!(%panicked, "the lease pool panicked");
                let kept = self.held.iter().find(|held| held.keeper.id() == task);
                if let Some(lease) = kept.map(|held| held.lease.id()) {
                    self.kept(lease, Fate::Ended(LossCause::Gone));
                }
                self.fail(now);
            }
        }
    }

    fn asked(&mut self, answer: Result<Option<Lease>, LeaseError>, wanted: usize, now: Instant) {
        match answer {
            Ok(Some(lease)) if lease.deadline() > now + SharedCapacity::GUARD => {
                self.width = (self.width + 1).min(WIDEST);
                self.delays = None;
                self.driver.emit(&BatcherEvent::LeaseAcquired { lease: lease.id(), token: lease.token() });
                let keeper = self.keep(lease.clone());
                self.held.push(Held { lease, from: now, keeper });
                self.publish();
            }
            Ok(Some(late)) => {
                self.give_back(late, Duration::ZERO);
                self.fail(now);
            }
            Ok(None) => {
                self.width = 1;
                if !matches!(self.door, Door::Full { .. }) {
                    let (held, wanted) = (self.held.len() as u32, wanted as u32);
                    self.driver.emit(&BatcherEvent::PoolFull { held, wanted });
                    let pool = self.capacity.source.pool.clone();
                    let hint = self.tasks.spawn(async move { News::Freed(pool.freed().await) });
                    let until = later(now, self.random.jitter(self.capacity.source.ttl, 0.1));
                    self.door = Door::Full { until, hint };
                }
            }
            Err(error) => {
                self.driver.emit(&BatcherEvent::PoolError { kind: error.kind(), doing: "acquire" });
                self.fail(now);
            }
        }
    }

    /// The pool did not do what was asked: the next attempt comes later and later.
    fn fail(&mut self, now: Instant) {
        self.width = 1;
        if matches!(self.door, Door::Full { .. }) {
            return;
        }
        let delays = self.delays.get_or_insert_with(|| keeper::backoff(Duration::from_millis(50)).build());
        let delay = delays.next().unwrap_or(keeper::LONGEST_DELAY);
        self.door = Door::Failed { until: now + self.random.jitter(delay, 0.25) };
    }

    fn kept(&mut self, id: LeaseId, fate: Fate) {
        let Some(at) = self.held.iter().position(|held| held.lease.id() == id) else { return };
        match fate {
            Fate::Renewed(lease) => {
                let keeper = self.keep(lease.clone());
                let held = &mut self.held[at];
                held.lease = lease;
                held.keeper = keeper;
                self.publish();
            }
            Fate::Ended(cause) => {
                self.held.remove(at);
                self.publish();
                self.driver.emit(&BatcherEvent::LeaseLost { lease: id, cause });
            }
        }
    }

    fn keep(&mut self, lease: Lease) -> AbortHandle {
        let source = &self.capacity.source;
        let (pool, ttl, renewable) = (source.pool.clone(), source.ttl, source.renewable);
        let (driver, random) = (self.driver.clone(), Random::seeded(self.random.next_u64()));
        self.tasks.spawn(async move {
            let id = lease.id();
            News::Kept(id, keeper::keep(&*pool, lease, ttl, renewable, &driver, random).await)
        })
    }

    /// Out of the grant it is already; what was taken under it has started after `pause`.
    fn give_back(&mut self, lease: Lease, pause: Duration) {
        self.leaving.push(lease.clone());
        let (pool, driver) = (self.capacity.source.pool.clone(), self.driver.clone());
        self.tasks.spawn(async move {
            let id = lease.id();
            sleep(pause).await;
            keeper::release(&*pool, &lease, &driver).await;
            News::Left(id)
        });
    }

    fn publish(&self) {
        let source = &self.capacity.source;
        let shares = self.held.iter().map(|held| LeasedShare {
            rate: Rate::per_second(source.factor),
            from: held.from,
            until: held.lease.deadline() - SharedCapacity::GUARD,
            deadline: held.lease.deadline(),
            lease: held.lease.id(),
            token: held.lease.token(),
        });
        self.capacity.grant.send_replace(Grant::new(Rate::per_second(source.reserved), shares));
    }

    /// Releases everything, as far as the pool can be reached in time.
    pub(super) async fn give_all_back(&mut self) {
        self.tasks.abort_all();
        let mut leases = mem::take(&mut self.leaving);
        leases.extend(mem::take(&mut self.held).into_iter().map(|held| held.lease));
        self.publish();
        while let Some(news) = self.tasks.join_next().await {
            if let Ok(News::Asked(Ok(Some(lease)))) = news {
                leases.push(lease);
            }
        }
        for lease in leases {
            self.give_back(lease, Duration::ZERO);
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

async fn changed(want: &mut watch::Receiver<Rate>) {
    if want.changed().await.is_err() {
        std::future::pending::<()>().await;
    } else {
        want.mark_changed();
    }
}
