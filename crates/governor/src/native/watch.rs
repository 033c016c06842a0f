//! Follows the stream while somebody needs it: expiry foreseen to the millisecond, and `held` in one request.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluicegate_core::{HeldLease, LeaseError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::feed::{self, Fed};
use super::view::{Step, View};
use crate::event::GovernorEvent;
use crate::pool::Pool;

/// How long the stream is followed after the last who needed it has gone.
const LINGER: Duration = Duration::from_secs(5);

/// How long a reader waits for what was stored just now.
const CATCH_UP: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Need {
    users: usize,
    /// There is a task.
    running: bool,
    /// When `held` was last asked for.
    asked: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Watch {
    pool: Arc<Pool>,
    view: Mutex<View>,
    /// The view has become, or ceased to be, what the stream is; or has seen more of it.
    changed: Notify,
    need: watch::Sender<Need>,
    denied: AtomicBool,
}

impl Watch {
    pub(super) fn new(pool: &Arc<Pool>) -> Arc<Self> {
        Arc::new(Self {
            pool: Arc::clone(pool),
            view: Mutex::default(),
            changed: Notify::new(),
            need: watch::Sender::new(Need::default()),
            denied: AtomicBool::new(false),
        })
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the stream for as long as the user lives, and a little longer.
    fn need(self: &Arc<Self>) -> User<'_> {
        let denied = self.denied.load(Ordering::Acquire);
        let mut start = false;
        self.need.send_modify(|need| {
            need.users += 1;
            start = !denied && !need.running;
            need.running |= start;
        });
        if start {
            drop(self.pool.runtime.spawn(run(Arc::clone(self))));
        }
        User(self)
    }

    fn notice(&self, fed: Fed<'_>) {
        match fed {
            Fed::Anew(info) => {
                self.pool.learn(info);
                self.view().begin(info, Instant::now());
            }
            Fed::Stored(entry) => {
                let ttl = self.pool.board.ttl();
                self.view().store(&entry, ttl);
            }
            Fed::Current => self.view().caught_up(),
            Fed::Stale => self.view().stale(),
        }
        self.changed.notify_waiters();
    }

    /// Completes when slots are believed to have expired, with their number; never while the stream cannot be
    /// followed.
    ///
    /// # Cancel safety
    /// Safe: what is foreseen is kept for the next call.
    pub(super) async fn next_expiry(self: &Arc<Self>) -> NonZeroU32 {
        let _user = self.need();
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
        let mut again = false;
        self.need.send_if_modified(|need| {
            again = need.asked.replace(asked).is_some_and(|before| before + LINGER > asked);
            false
        });
        // One look alone is not worth following the stream for it.
        let _user = again.then(|| self.need());
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

async fn run(watch: Arc<Watch>) {
    let denied = tokio::select! {
        biased;
        () = watch.pool.hurry.cancelled() => None,
        () = idle(&watch) => return,
        error = feed::follow(&watch.pool.stream, |fed| watch.notice(fed)) => Some(error),
    };
    watch.notice(Fed::Stale);
    if let Some(error) = denied {
        watch.denied.store(true, Ordering::Release);
        watch.pool.emit(&GovernorEvent::PermissionDenied { what: error.to_string() });
    }
    watch.need.send_modify(|need| need.running = false);
}

/// Completes when nobody has needed it for a while, and from then on there is no task.
async fn idle(watch: &Watch) {
    let mut need = watch.need.subscribe();
    loop {
        // The sender is in `watch`, and lives.
        drop(need.wait_for(|need| need.users == 0).await);
        let needed = timeout(LINGER, async { drop(need.wait_for(|need| need.users > 0).await) });
        if needed.await.is_ok() {
            continue;
        }
        let mut ended = false;
        watch.need.send_if_modified(|need| {
            ended = need.users == 0;
            if ended {
                // Before another task can begin.
                need.running = false;
                watch.view().stale();
            }
            false
        });
        if ended {
            return;
        }
    }
}

/// Somebody who needs the stream to be followed.
struct User<'a>(&'a Watch);

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.need.send_modify(|need| need.users = need.users.saturating_sub(1));
    }
}
