//! Pools that cannot be reached, forget, or come back as others.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_batcher::{Batcher, BatcherEvent, Share, SharedCapacity, SharedCapacityBuilder};
use sluicegate_core::{
    HeldLease, Holder, Incarnation, Lease, LeaseError, LeaseErrorKind, LeasePool, LeasePoolAdmin, LossCause,
    MemoryPool, PoolDescription, Request, WaitQueue,
};
use sluicegate_testkit::lease::{Fault, Faulty, Switch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, TestWatcher, flood, op, watcher, within};

const TTL: Duration = Duration::from_secs(10);
const FACTOR: u64 = 100;
/// From the last request to a pool that fails to the next one, at most.
const LONGEST_DELAY: Duration = Duration::from_millis(2_500);

fn some(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// A pool that is made anew from time to time.
#[derive(Clone, Debug)]
struct Phoenix(Arc<Mutex<(MemoryPool, u64, LossCause)>>);

impl Phoenix {
    fn new(leases: u32) -> Self {
        Self(Arc::new(Mutex::new((MemoryPool::new(some(leases), TTL), 1, LossCause::Recreated))))
    }

    fn now(&self) -> MemoryPool {
        self.0.lock().unwrap().0.clone()
    }

    /// The ashes: whoever held a lease is told so much of it.
    async fn burn(&self, told: LossCause) {
        let old = {
            let mut this = self.0.lock().unwrap();
            let leases = some(4);
            this.1 += 1;
            this.2 = told;
            std::mem::replace(&mut this.0, MemoryPool::new(leases, TTL))
        };
        old.delete().await.unwrap();
    }
}

#[async_trait]
impl LeasePool for Phoenix {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        let life = self.0.lock().unwrap().1;
        let mut description = self.now().describe().await?;
        description.incarnation = Some(Incarnation::new(life.to_string()));
        Ok(description)
    }
    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        let life = self.0.lock().unwrap().1;
        Ok(self.now().try_acquire(request).await?.map(|lease| lease.in_epoch(life)))
    }
    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.now().renew(lease).await
    }
    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.now().release(lease).await
    }
    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        self.now().held().await
    }
    async fn freed(&self) -> NonZeroU32 {
        self.now().freed().await
    }
    async fn lost(&self, lease: &Lease) -> LossCause {
        match self.now().lost(lease).await {
            LossCause::Deleted => self.0.lock().unwrap().2,
            cause => cause,
        }
    }
    fn line(&self) -> &WaitQueue {
        unreachable!("nobody waits in line")
    }
}

struct Writer {
    batcher: Batcher,
    users: TestWatcher,
    store: Store,
    diary: Diary,
}

/// One that needs all of it all the time, as what it does never ends.
async fn start(builder: SharedCapacityBuilder) -> Writer {
    let writer = calm(builder).await;
    let idle = watcher(&writer.batcher, &Store::held_up());
    for _ in 0..3 {
        idle.enqueue(op(0).cost(400)).await.unwrap();
    }
    writer
}

async fn calm(builder: SharedCapacityBuilder) -> Writer {
    let (diary, store) = (Diary::default(), Store::fast());
    let capacity = builder.factor(FACTOR).share(Share::Greedy).build().await.unwrap();
    let (batcher, _engine) = Batcher::builder()
        .capacity(capacity)
        .observer(diary.observer())
        .buffer(1_000)
        .max_operation_time(Duration::from_secs(100_000))
        .start(CancellationToken::new())
        .unwrap();
    let users = watcher(&batcher, &store);
    Writer { batcher, users, store, diary }
}

fn of(pool: impl LeasePool, name: &str) -> SharedCapacityBuilder {
    SharedCapacity::builder(Arc::new(pool), Holder::try_new(name).unwrap())
}

impl Writer {
    fn rate(&self) -> u64 {
        self.batcher.stats().rate.unwrap()
    }

    fn learned(&self) -> usize {
        self.diary.count(|event| matches!(event, BatcherEvent::LearningStarted { .. }))
    }

    fn errors(&self, kind: LeaseErrorKind, what: &str) -> usize {
        self.diary.count(|event| {
            matches!(event, BatcherEvent::PoolError { kind: found, doing, .. } if *found == kind && *doing == what)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_process_leaves_a_young_pool_alone() {
    let pool = MemoryPool::new(some(4), TTL);
    sleep(Duration::from_secs(4)).await;
    let made = Instant::now() - Duration::from_secs(4);
    let writer = start(of(pool.handle(), "w").reserved(50)).await;
    let full = within(TTL, async || writer.rate() == 450).await;
    assert!(made.elapsed() >= TTL, "after {full:?}");
    assert_eq!(writer.learned(), 1);
    let late = start(of(pool.handle(), "late")).await;
    let declared = start(of(MemoryPool::new(some(4), TTL), "w").fresh(true)).await;
    within(Duration::from_secs(1), async || declared.rate() == 400).await;
    assert_eq!((late.learned(), declared.learned()), (0, 0), "old enough, and declared new");
}

#[tokio::test(start_paused = true)]
async fn memory_pool_restart_learns() {
    for told in [LossCause::Recreated, LossCause::Deleted, LossCause::Gone] {
        let pool = Phoenix::new(4);
        let writer = start(of(pool.clone(), "w").reserved(50).fresh(true)).await;
        within(Duration::from_secs(2), async || writer.rate() == 450).await;
        sleep(Duration::from_secs(25)).await;
        pool.burn(told).await;
        let burnt = Instant::now();
        within(Duration::from_millis(1), async || writer.rate() == 50).await;
        within(TTL + Duration::from_secs(1), async || writer.rate() == 450).await;
        assert!(burnt.elapsed() >= TTL, "{told}: {:?}", burnt.elapsed());
        assert!(writer.learned() >= 1, "{told}");
        let lost = writer.diary.count(|event| matches!(event, BatcherEvent::LeaseLost { .. }));
        assert_eq!(lost, 4, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_has_heard_nothing_of_a_new_pool_learns_too() {
    let pool = Phoenix::new(4);
    let writer = start(of(pool.clone(), "busy").fresh(true)).await;
    within(Duration::from_secs(2), async || writer.rate() == 400).await;
    // It waits, and holds nothing that it could lose.
    let waiting = start(of(pool.clone(), "waiting").fresh(true)).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(waiting.rate(), 0);
    pool.burn(LossCause::Recreated).await;
    let burnt = Instant::now();
    within(Duration::from_millis(1), async || writer.rate() == 0).await;
    within(2 * TTL, async || waiting.rate() + writer.rate() == 400).await;
    assert!(burnt.elapsed() >= TTL, "{:?}", burnt.elapsed());
    assert_eq!((waiting.learned() >= 1, writer.learned() >= 1), (true, true));
}

#[tokio::test(start_paused = true)]
async fn evictions_and_resets_are_explained() {
    let pool = MemoryPool::new(some(4), TTL);
    let writer = start(of(pool.handle(), "w").fresh(true)).await;
    within(Duration::from_secs(2), async || writer.rate() == 400).await;
    for held in pool.held().await.unwrap() {
        pool.evict(held.id).await.unwrap();
    }
    within(Duration::from_secs(1), async || writer.rate() == 400).await;
    pool.reset().await.unwrap();
    within(Duration::from_secs(1), async || writer.rate() == 400).await;
    assert_eq!(writer.learned(), 0);
}

#[tokio::test(start_paused = true)]
async fn built_without_the_pool() {
    let (pool, switch) = (MemoryPool::new(some(6), TTL), Switch::new());
    switch.cut();
    let faulty = Faulty::new(pool.handle(), Fault::CutOff(switch.clone()));
    let writer = calm(of(faulty, "w").reserved(50).fresh(true).expect_leases(some(4))).await;
    assert!(writer.users.try_enqueue(op(0).cost(450)).is_ok(), "what is expected counts");
    flood(&writer.users, std::iter::repeat(10));
    assert!(writer.users.try_enqueue(op(0).cost(451)).is_err());
    sleep(Duration::from_secs(20)).await;
    assert_eq!(writer.rate(), 50);
    let sent = writer.store.total_cost();
    assert!((900..=1_460).contains(&sent), "{sent}: only what is reserved");
    let errors = writer.errors(LeaseErrorKind::Transient, "describe");
    assert!((8..=20).contains(&errors), "{errors}: later and later");
    switch.connect();
    within(LONGEST_DELAY + Duration::from_secs(1), async || writer.rate() == 650).await;
    assert!(writer.users.try_enqueue(op(0).cost(651)).is_err());
    let provisioned =
        writer.diary.count(|event| matches!(event, BatcherEvent::PoolProvisioned { leases: 6, .. }));
    assert_eq!(provisioned, 1, "what it says replaces what was expected");
}

/// A pool that does not tell what it is, nor who holds its leases.
#[derive(Debug)]
struct Discreet(MemoryPool);

#[async_trait]
impl LeasePool for Discreet {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        Err(LeaseError::new(LeaseErrorKind::NotPermitted, "no right to look"))
    }
    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        self.0.try_acquire(request).await
    }
    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.0.renew(lease).await
    }
    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.0.release(lease).await
    }
    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        Err(LeaseError::new(LeaseErrorKind::NotPermitted, "no right to look"))
    }
    async fn freed(&self) -> NonZeroU32 {
        self.0.freed().await
    }
    async fn lost(&self, lease: &Lease) -> LossCause {
        self.0.lost(lease).await
    }
    fn line(&self) -> &WaitQueue {
        self.0.line()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_does_not_tell_what_it_is() {
    let pool = MemoryPool::new(some(4), TTL);
    let blind = start(of(Discreet(pool.handle()), "blind").expect_leases(some(4))).await;
    sleep(2 * TTL).await;
    assert_eq!(blind.rate(), 0, "how long a lease lives is not known");
    assert!(blind.errors(LeaseErrorKind::NotPermitted, "describe") > 0);
    let told = start(of(Discreet(pool.handle()), "told").expect_pool(some(4), TTL)).await;
    within(Duration::from_secs(1), async || told.rate() == 400).await;
    sleep(5 * TTL).await;
    assert_eq!(told.rate(), 400, "renewed");
    let kind = of(Discreet(pool.handle()), "w").build().await.unwrap_err().kind();
    assert_eq!(kind, LeaseErrorKind::NotPermitted);
}

#[tokio::test(start_paused = true)]
async fn pool_back_ramps_again() {
    let (pool, switch) = (MemoryPool::new(some(4), TTL), Switch::new());
    let faulty = Faulty::new(pool.handle(), Fault::CutOff(switch.clone()));
    let writer = start(of(faulty, "w").reserved(50).fresh(true)).await;
    for _ in 0..3 {
        within(LONGEST_DELAY + Duration::from_secs(2), async || writer.rate() == 450).await;
        switch.cut();
        within(TTL, async || writer.rate() == 50).await;
        sleep(Duration::from_secs(3)).await;
        switch.connect();
    }
    let expired = writer.diary.count(|event| matches!(event, BatcherEvent::LeaseExpired { .. }));
    assert_eq!((expired, writer.learned()), (12, 0), "nobody has forgotten anything");
}

#[tokio::test(start_paused = true)]
async fn renew_unknown_outcome() {
    let pool = MemoryPool::new(some(4), TTL);
    let faulty = Faulty::new(pool.handle(), Fault::AnswerLost(some(3)));
    let writer = start(of(faulty, "w").fresh(true).expect_pool(some(4), TTL)).await;
    within(2 * TTL, async || writer.rate() == 400).await;
    let settled = Instant::now();
    while settled.elapsed() < 6 * TTL {
        sleep(Duration::from_millis(500)).await;
        assert_eq!(writer.rate(), 400, "as good as before, and tried again");
    }
    assert!(writer.errors(LeaseErrorKind::Unknown, "renew") > 0);
    assert_eq!(writer.learned(), 0);
}

#[tokio::test(start_paused = true)]
async fn release_unknown_outcome() {
    let pool = MemoryPool::new(some(4), TTL);
    let faulty = Faulty::new(pool.handle(), Fault::AnswerLost(some(2)));
    let writer = start(of(faulty, "w").fresh(true).expect_pool(some(4), TTL)).await;
    within(3 * TTL, async || writer.rate() >= 200).await;
    writer.batcher.drain(Duration::ZERO).await;
    assert!(writer.errors(LeaseErrorKind::Unknown, "release") > 0);
    let released = writer.diary.count(|event| matches!(event, BatcherEvent::LeaseReleased { .. }));
    assert!(released >= 2, "{released}: repeated until it is known");
    // Those of which it never knew run out.
    within(TTL, async || pool.held().await.unwrap().is_empty()).await;
}

/// Between the end of a lease and the next one: the guard, the thousandth that clocks may drift, and what the pool
/// takes to notice.
#[tokio::test(start_paused = true)]
async fn non_renewable_pool() {
    let pool = MemoryPool::builder(some(4), TTL).renewable(false).build();
    let writer = calm(of(pool.handle(), "w").fresh(true)).await;
    flood(&writer.users, std::iter::repeat(10));
    within(Duration::from_secs(2), async || writer.rate() == 400).await;
    let began = Instant::now();
    let mut idle = Duration::ZERO;
    while began.elapsed() < 10 * TTL {
        sleep(Duration::from_millis(1)).await;
        idle += if writer.rate() < 400 { Duration::from_millis(1) } else { Duration::ZERO };
    }
    let gap = SharedCapacity::GUARD + TTL / 1_000;
    assert!(idle >= 9 * gap && idle <= 10 * (gap + Duration::from_millis(20)), "{idle:?}");
    let expired = writer.diary.count(|event| matches!(event, BatcherEvent::LeaseExpired { .. }));
    assert!((36..=40).contains(&expired), "{expired}");
}
