use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Lease, LeaseError, LeaseErrorKind, LossCause, WaitQueue};
use sluicegate_nats::Connection;
use tokio::sync::{Notify, Semaphore};

use crate::PoolOptions;
use crate::board::{Identity, Seen};
use crate::event::GovernorEvent;
use crate::listener::Want;
use crate::pool::{Facts, Pool};
use crate::protocol::Protocol;
use crate::stream::Stream;
use crate::wire::StreamInfo;

/// Least time between two looks at a lease whose loss nobody would tell of.
const SHORTEST: Duration = Duration::from_secs(1);

/// As if it were the time to live of leases that have none.
const UNKNOWN_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// One process's handle on a pool.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) pool: Arc<Pool>,
    hint: Arc<Notify>,
    /// Lets one caller of `freed` after the other wait for the hint.
    turn: Semaphore,
}

impl Handle {
    /// A handle on the stream that was just seen.
    pub(crate) fn attach(
        wire: &'static Protocol,
        stream: Stream,
        options: PoolOptions,
        info: &StreamInfo,
    ) -> Result<Arc<Self>, LeaseError> {
        let facts = (wire.read)(&info.config)?;
        let handle = Self::make(wire, stream, options, Some(Identity::of(info)), facts);
        handle.pool.learn(info);
        Ok(handle)
    }

    /// A handle on the stream that was just seen, for those who look after it: whatever it is like.
    pub(crate) fn manage(
        wire: &'static Protocol,
        stream: Stream,
        options: PoolOptions,
        info: &StreamInfo,
    ) -> Arc<Self> {
        let facts = (wire.read)(&info.config).unwrap_or_else(|_| {
            let subject = info.config.subject().unwrap_or_default();
            Facts::told(subject.to_owned(), (wire.ttl)(&info.config).unwrap_or(UNKNOWN_TTL))
        });
        let handle = Self::make(wire, stream, options, Some(Identity::of(info)), facts);
        handle.pool.learn(info);
        handle
    }

    /// A handle on a stream that this user may not look at.
    pub(crate) fn attach_unseen(
        wire: &'static Protocol,
        stream: Stream,
        options: PoolOptions,
        facts: Facts,
    ) -> Arc<Self> {
        Self::make(wire, stream, options, None, facts)
    }

    fn make(
        wire: &'static Protocol,
        stream: Stream,
        options: PoolOptions,
        identity: Option<Identity>,
        facts: Facts,
    ) -> Arc<Self> {
        let hint = Arc::new(Notify::new());
        let pool = Pool::new(wire, stream, options, identity, facts, &hint);
        Arc::new(Self { pool, hint, turn: Semaphore::new(1) })
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.pool.stream.connection()
    }

    pub(crate) fn line(&self) -> &WaitQueue {
        &self.pool.line
    }

    pub(crate) async fn freed(&self) -> NonZeroU32 {
        let pool = &self.pool;
        let _wanted = pool.listener.want(pool, Want::Slots);
        // Never closed; and if it were, two callers at a time would do no harm.
        let _turn = self.turn.acquire().await;
        let _standing = Standing(self);
        loop {
            if let Some(slots) = pool.board.take_hint(pool.id) {
                return slots;
            }
            tokio::select! {
                biased;
                () = self.hint.notified() => {}
                slots = pool.board.forecast.next_expiry(pool) => return slots,
            }
        }
    }

    /// Awaits the loss of a lease; `look` looks whether it is still there.
    pub(crate) async fn lost<V, F>(&self, lease: &Lease, look: V) -> LossCause
    where
        V: Fn() -> F,
        F: Future<Output = Seen>,
    {
        let pool = &self.pool;
        let _wanted = pool.listener.want(pool, Want::Losses);
        let every = (pool.board.ttl() / 3).max(SHORTEST);
        let cause = pool.board.lost(lease, every, || pool.listener.pushed(), look).await;
        pool.emit(&GovernorEvent::Lost { id: lease.id(), cause });
        cause
    }

    /// What an error of a look at a lease means.
    pub(crate) fn judge(&self, error: &LeaseError) -> Seen {
        match error.kind() {
            LeaseErrorKind::NotFound => Seen::Gone(LossCause::Deleted),
            LeaseErrorKind::NotPermitted => {
                self.pool.emit(&GovernorEvent::PermissionDenied { what: error.to_string() });
                Seen::Forbidden
            }
            _ => Seen::Nothing,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.pool.board.detach(self.pool.id);
        self.pool.hurry.cancel();
        self.pool.listener.end();
    }
}

/// A handle that waits for a hint.
struct Standing<'a>(&'a Handle);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let pool = &self.0.pool;
        pool.board.leave(pool.id);
    }
}
