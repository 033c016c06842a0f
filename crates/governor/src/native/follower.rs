//! A task that follows a stream while somebody needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::feed::{self, Fed};
use crate::event::GovernorEvent;
use crate::pool::Pool;
use crate::stream::Stream;

/// How long a stream is followed after the last who needed it has gone.
const LINGER: Duration = Duration::from_secs(5);

/// Whoever takes notice of what a stream stores.
pub(super) trait Follows: Send + Sync + 'static {
    fn pool(&self) -> &Arc<Pool>;
    fn stream(&self) -> &Stream;
    fn follower(&self) -> &Follower;
    fn notice(&self, fed: Fed<'_>);
}

#[derive(Debug)]
pub(super) struct Follower {
    need: watch::Sender<Need>,
    denied: AtomicBool,
}

#[derive(Debug, Default)]
struct Need {
    users: usize,
    /// There is a task.
    running: bool,
    /// When somebody last asked who would not wait for the stream to be followed.
    asked: Option<Instant>,
}

impl Follower {
    pub(super) fn new() -> Self {
        Self { need: watch::Sender::new(Need::default()), denied: AtomicBool::new(false) }
    }

    /// Whether somebody asked a short while ago, too.
    pub(super) fn asked_again(&self) -> bool {
        let now = Instant::now();
        let mut again = false;
        self.need.send_if_modified(|need| {
            again = need.asked.replace(now).is_some_and(|before| before + LINGER > now);
            false
        });
        again
    }

    /// The stream cannot be followed.
    pub(super) fn is_denied(&self) -> bool {
        self.denied.load(Ordering::Acquire)
    }

    pub(super) fn deny(&self) {
        self.denied.store(true, Ordering::Release);
    }
}

/// Follows the stream for as long as the user lives, and a little longer.
pub(super) fn need<F: Follows>(follows: &Arc<F>) -> User<'_> {
    let follower = follows.follower();
    let mut start = false;
    follower.need.send_modify(|need| {
        need.users += 1;
        start = !follower.is_denied() && !need.running;
        need.running |= start;
    });
    if start {
        drop(follows.pool().runtime.spawn(run(Arc::clone(follows))));
    }
    User(follower)
}

async fn run<F: Follows>(follows: Arc<F>) {
    let (pool, follower) = (follows.pool(), follows.follower());
    let denied = tokio::select! {
        biased;
        () = pool.hurry.cancelled() => None,
        () = idle(&*follows) => return,
        error = feed::follow(follows.stream(), |fed| follows.notice(fed)) => Some(error),
    };
    follows.notice(Fed::Stale);
    if let Some(error) = denied {
        follower.deny();
        pool.emit(&GovernorEvent::PermissionDenied { what: error.to_string() });
    }
    follower.need.send_modify(|need| need.running = false);
}

/// Completes when nobody has needed it for a while, and from then on there is no task.
async fn idle(follows: &impl Follows) {
    let follower = follows.follower();
    let mut need = follower.need.subscribe();
    loop {
        // The sender is in `follows`, and lives.
        drop(need.wait_for(|need| need.users == 0).await);
        let needed = timeout(LINGER, async { drop(need.wait_for(|need| need.users > 0).await) });
        if needed.await.is_ok() {
            continue;
        }
        let mut ended = false;
        follower.need.send_if_modified(|need| {
            ended = need.users == 0;
            if ended {
                // Before another task can begin.
                need.running = false;
                follows.notice(Fed::Stale);
            }
            false
        });
        if ended {
            return;
        }
    }
}

/// Somebody who needs the stream to be followed.
#[derive(Debug)]
pub(super) struct User<'a>(&'a Follower);

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.need.send_modify(|need| need.users = need.users.saturating_sub(1));
    }
}
