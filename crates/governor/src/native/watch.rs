//! Follows the leases while somebody waits: expiry foreseen to the millisecond, and `held` in one request.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluicegate_core::{HeldLease, LeaseError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::feed::Fed;
use super::follower::{Follower, Follows, need};
use super::tickets::Tickets;
use super::view::{Step, View};
use crate::pool::Pool;
use crate::stream::Stream;
use crate::wire::LEASE_HEADER;

/// How long a reader waits for what was stored just now.
const CATCH_UP: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Watch {
    pool: Arc<Pool>,
    follower: Follower,
    view: Mutex<View>,
    /// The view has become, or ceased to be, what the stream is; or has seen more of it.
    changed: Notify,
    /// Who is told of grants.
    tickets: Option<Arc<Tickets>>,
}

impl Follows for Watch {
    fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn stream(&self) -> &Stream {
        &self.pool.stream
    }

    fn follower(&self) -> &Follower {
        &self.follower
    }

    fn notice(&self, fed: Fed<'_>) {
        match fed {
            Fed::Anew(info) => {
                self.pool.learn(info);
                self.view().begin(info, Instant::now());
            }
            Fed::Stored(entry) => {
                let ttl = self.pool.board.ttl();
                let is_news = {
                    let mut view = self.view();
                    view.store(&entry, ttl);
                    view.is_current()
                };
                if let Some(tickets) = &self.tickets
                    && is_news
                    && entry.header(LEASE_HEADER).is_none()
                {
                    tickets.taken();
                }
            }
            Fed::Current => self.view().caught_up(),
            Fed::Stale => self.view().stale(),
        }
        self.changed.notify_waiters();
    }
}

impl Watch {
    pub(super) fn new(pool: &Arc<Pool>, tickets: Option<Arc<Tickets>>) -> Arc<Self> {
        Arc::new(Self {
            pool: Arc::clone(pool),
            follower: Follower::new(),
            view: Mutex::default(),
            changed: Notify::new(),
            tickets,
        })
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when slots are believed to have expired, with their number; never while the stream cannot be
    /// followed.
    ///
    /// # Cancel safety
    /// Safe: what is foreseen is kept for the next call.
    pub(super) async fn next_expiry(self: &Arc<Self>) -> NonZeroU32 {
        let _user = need(self);
        loop {
            let changed = self.changed.notified();
            let now = Instant::now();
            let step = self.view().next(now);
            match step {
                Step::Wait => changed.await,
                Step::Tell(at) if at <= now => {
                    if let Some(slots) = NonZeroU32::new(self.view().take_due(now)) {
                        return slots;
                    }
                }
                Step::Look(at) if at <= now => {
                    // What was late may have gone since it was told of, and left a slot that nobody was told of.
                    if let Some(slots) = self.look().await {
                        return slots;
                    }
                }
                // What is stored in the meantime expires later than what is known, as all last as long.
                Step::Tell(at) | Step::Look(at) => sleep_until(at).await,
            }
        }
    }

    /// Sees which leases are there still, and how many slots are free.
    async fn look(&self) -> Option<NonZeroU32> {
        let asked = Instant::now();
        self.view().looked(asked);
        let info = self.pool.stream.info_of(&self.filter()).await.ok()?;
        self.pool.learn(&info);
        self.view().confirm(&info, asked);
        let taken = u32::try_from(info.state.messages).unwrap_or(u32::MAX);
        NonZeroU32::new(self.pool.board.limit()?.get().saturating_sub(taken))
    }

    /// Everything held now, oldest first, in one request; `None` if that takes more.
    pub(super) async fn held(self: &Arc<Self>) -> Result<Option<Vec<HeldLease>>, LeaseError> {
        let asked = Instant::now();
        // One look alone is not worth following the stream for it.
        let _user = self.follower.asked_again().then(|| need(self));
        if !self.view().is_current() {
            return Ok(None);
        }
        let info = self.pool.stream.info_of(&self.filter()).await?;
        // A message that was gone before it could be told is waited for in vain.
        let _ = timeout(CATCH_UP, self.covers(info.state.last_seq)).await;
        let mut view = self.view();
        let held = view.held(&info);
        view.confirm(&info, asked);
        Ok(held)
    }

    async fn covers(&self, sequence: u64) {
        loop {
            let changed = self.changed.notified();
            if self.view().covers(sequence) {
                return;
            }
            changed.await;
        }
    }

    fn filter(&self) -> String {
        format!("{}>", self.pool.subject())
    }
}
