//! Attempts that were refused, and stored all the same.
//!
//! For a moment a replicated stream can have two leaders: one that was cut off and deposed, and does not know it yet,
//! and its successor. Both hear what is published. The old one answers at once, of what it knows; the new one stores
//! the message. So while leaders change, "full" does not prove that nothing is stored, and whoever was refused then
//! looks at the stream a little later, whether its message is there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluicegate_core::LeaseError;
use tokio::time::{Instant, sleep};

use crate::batch::split_entry;
use crate::event::GovernorEvent;
use crate::pool::Pool;
use crate::{backoff, reaper};

/// How long after something went unanswered refusals are doubted, and how long before.
const DOUBTED: Duration = Duration::from_secs(30);
/// When what the new leader was storing at the time of the refusal is stored.
const STORED_WITHIN: Duration = Duration::from_secs(3);
/// How many refusals are remembered: many more than a process sends in the moment that there are two leaders.
const MOST: usize = 4_096;

/// The refusals of a pool's handle.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Only then there can be two leaders.
    replicated: AtomicBool,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    ids: VecDeque<(Instant, Arc<str>)>,
    /// When something was last not answered as it should be.
    trouble: Option<Instant>,
    /// A task looks.
    looking: bool,
}

impl Refusals {
    pub(crate) fn replicated(&self, replicated: bool) {
        self.replicated.store(replicated, Ordering::Release);
    }

    /// The attempt of that id was refused.
    pub(crate) fn refused(&self, pool: &Arc<Pool>, id: &Arc<str>) {
        if self.replicated.load(Ordering::Acquire) {
            let mut recent = self.recent();
            let old = |(at, _): &(Instant, Arc<str>)| at.elapsed() > DOUBTED;
            while recent.ids.len() >= MOST || recent.ids.front().is_some_and(old) {
                recent.ids.pop_front();
            }
            recent.ids.push_back((Instant::now(), Arc::clone(id)));
            look_later(pool, recent);
        }
    }

    /// Something was not answered, or not as it should be: leaders may be changing.
    pub(crate) fn trouble(&self, pool: &Arc<Pool>) {
        if self.replicated.load(Ordering::Acquire) {
            let mut recent = self.recent();
            recent.trouble = Some(Instant::now());
            look_later(pool, recent);
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is anything to look for that came after that time.
    fn since(&self, looked: Instant) -> bool {
        let mut recent = self.recent();
        recent.looking = recent.is_doubtful() && recent.ids.back().is_some_and(|(at, _)| *at > looked);
        recent.looking
    }

    fn has(&self, id: &str) -> bool {
        // The messages of one attempt for several slots are numbered.
        let id = split_entry(id).map_or(id, |(id, _)| id);
        self.recent().ids.iter().any(|(_, refused)| **refused == *id)
    }
}

impl Recent {
    fn is_doubtful(&self) -> bool {
        !self.ids.is_empty() && self.trouble.is_some_and(|at| at.elapsed() < DOUBTED)
    }
}

fn look_later(pool: &Arc<Pool>, mut recent: MutexGuard<'_, Recent>) {
    if recent.looking || !recent.is_doubtful() {
        return;
    }
    recent.looking = true;
    drop(recent);
    let task = {
        let pool = Arc::clone(pool);
        async move { reaper::unless_hurried(&pool, look(&pool)).await.unwrap_or_default() }
    };
    drop(pool.tasks.spawn_on(task, &pool.runtime));
}

/// Looks until nothing has been refused since the last look.
async fn look(pool: &Arc<Pool>) {
    let mut delays = backoff::resolving();
    loop {
        sleep(STORED_WITHIN).await;
        let began = Instant::now();
        while let Err(error) = remove_all(pool).await {
            if reaper::is_final(&error) || began.elapsed() > DOUBTED {
                tracing::debug!(stream = &**pool.stream.name(), %error, "cannot look for refused attempts");
                break;
            }
            sleep(delays.next().unwrap_or(backoff::LONGEST)).await;
        }
        // What was refused less than that long ago may not have been stored yet.
        let settled = began.checked_sub(STORED_WITHIN).unwrap_or(began);
        if !pool.refusals.since(settled) {
            return;
        }
    }
}

async fn remove_all(pool: &Arc<Pool>) -> Result<(), LeaseError> {
    let info = pool.stream.info().await?;
    for (message, _) in pool.stream.walk(&info).await? {
        if let Some(id) = message.header("Nats-Msg-Id").filter(|id| pool.refusals.has(id)) {
            let resolved = reaper::remove(pool, id, message.seq, Instant::now() + DOUBTED).await;
            pool.emit(&GovernorEvent::Leaked { resolved });
        }
    }
    Ok(())
}
