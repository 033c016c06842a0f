use std::future::pending;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sluicegate_core::{LeaseError, LeaseErrorKind, LeaseId, LossCause, PoolDescription, WaitQueue, later};
use sluicegate_nats::Connection;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::PoolOptions;
use crate::board::{Board, HandleId, Identity};
use crate::event::{Emitter, GovernorEvent};
use crate::forecast::Forecast;
use crate::protocol::Protocol;
use crate::stream::{Deleted, Stream};
use crate::wire::StreamInfo;

/// For how long a server remembers message ids at most, unless somebody has set another time.
const WINDOW: Duration = Duration::from_secs(120);

/// How many abandoned attempts are resolved at the same time.
const REAPING: usize = 64;

/// What a stream's configuration says about a governor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// The subject of campaigns, or what the subjects of native leases begin with.
    pub(crate) subject: String,
    /// None: unknown, because looking is not permitted.
    pub(crate) limit: Option<NonZeroU32>,
    pub(crate) ttl: Duration,
    /// For how long the server remembers message ids.
    pub(crate) window: Duration,
    /// Several slots can be asked for at once.
    pub(crate) weighted: bool,
}

impl Facts {
    /// What somebody knows who may not look at the stream.
    pub(crate) fn told(subject: String, ttl: Duration) -> Self {
        Self { subject, limit: None, ttl, window: ttl.min(WINDOW), weighted: false }
    }
}

/// What the tasks of a pool share with its handle.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) wire: &'static Protocol,
    pub(crate) stream: Stream,
    pub(crate) options: PoolOptions,
    pub(crate) board: Arc<Board>,
    /// This user may call `STREAM.INFO`.
    may_look: bool,
    pub(crate) runtime: Runtime,
    pub(crate) tasks: TaskTracker,
    pub(crate) reaping: Semaphore,
    /// The last handle is gone: come to an end.
    pub(crate) hurry: CancellationToken,
    subject: RwLock<Arc<str>>,
    closed: AtomicBool,
    weighted: AtomicBool,
    emitter: Emitter,
}

impl Pool {
    pub(crate) fn emit(&self, event: &GovernorEvent) {
        self.emitter.emit(event);
    }

    pub(crate) fn subject(&self) -> Arc<str> {
        Arc::clone(&self.subject.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes notice of what the stream is now. Whether its subject is another than before.
    pub(crate) fn learn(&self, info: &StreamInfo) -> bool {
        if let Some(lost) = self.board.recognize(&Identity::of(info), info.state.last_seq) {
            tracing::debug!(stream = &**self.stream.name(), lost = lost.len(), "leases of the old stream");
            self.emit(&GovernorEvent::EpochChanged { incarnation: self.board.incarnation() });
        }
        // A configuration that is no governor's shows in the next attempt's answer.
        let Ok(facts) = (self.wire.read)(&info.config) else { return false };
        self.board.set_limit(facts.limit);
        self.board.set_ttl(facts.ttl, self.wire.ttl_applies_to_held);
        self.board.set_window(facts.window);
        self.weighted.store(facts.weighted, Ordering::Release);
        let mut subject = self.subject.write().unwrap_or_else(PoisonError::into_inner);
        let moved = **subject != *facts.subject;
        if moved {
            *subject = facts.subject.into();
        }
        moved
    }

    pub(crate) async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        if !self.may_look {
            return Ok(PoolDescription::new(self.board.ttl()));
        }
        let info = self.stream.info().await?;
        let facts = (self.wire.read)(&info.config)?;
        self.learn(&info);
        let mut description = PoolDescription::new(facts.ttl);
        description.renewable = self.wire.renewable;
        description.limit = facts.limit;
        description.weighted = facts.weighted;
        description.held = u32::try_from(info.state.messages).ok();
        description.incarnation = self.board.incarnation();
        description.age = info.age();
        Ok(description)
    }

    pub(crate) fn open(&self) -> Result<(), LeaseError> {
        if self.closed.load(Ordering::Acquire) {
            let context = format!("the handle on stream {} was closed", self.stream.name());
            return Err(LeaseError::new(LeaseErrorKind::Closed, context));
        }
        Ok(())
    }

    /// Whether several slots can be asked for at once, as it was last read.
    pub(crate) fn is_weighted(&self) -> bool {
        self.weighted.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Deletes a message until the server has said what became of it, or `within` is over.
    pub(crate) async fn delete_message(&self, sequence: u64, within: Duration) -> Result<bool, LeaseError> {
        self.delete(within, || self.stream.delete_message(sequence)).await
    }

    /// The same for all messages on the subjects that match.
    pub(crate) async fn delete_matching(&self, filter: &str, within: Duration) -> Result<bool, LeaseError> {
        self.delete(within, || self.stream.delete_matching(filter)).await
    }

    /// Whether something was deleted. An unanswered try that is followed by "gone" counts as ours.
    async fn delete<F>(&self, within: Duration, attempt: impl Fn() -> F) -> Result<bool, LeaseError>
    where
        F: Future<Output = Deleted>,
    {
        let give_up = later(tokio::time::Instant::now(), within);
        let mut delays = crate::backoff::resolving();
        let mut in_doubt = false;
        loop {
            match attempt().await {
                Deleted::Done => return Ok(true),
                Deleted::Gone => return Ok(in_doubt),
                Deleted::NoStream => return Ok(false),
                Deleted::Failed { error, unanswered } => {
                    in_doubt |= unanswered;
                    let pause = delays.next().unwrap_or(crate::backoff::LONGEST);
                    let again = matches!(error.kind(), LeaseErrorKind::Transient | LeaseErrorKind::Unknown);
                    if !again || tokio::time::Instant::now() + pause >= give_up {
                        return Err(error);
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Looks at the stream as a whole, once in a while for all leases of this process, and takes notice.
    pub(crate) async fn inspect(&self, every: Duration) {
        if self.may_look
            && self.board.is_due(every)
            && let Ok(info) = self.stream.info().await
        {
            self.learn(&info);
        }
    }

    /// Why a lease is no longer in the stream.
    pub(crate) async fn why_gone(&self, id: LeaseId) -> LossCause {
        match self.stream.find().await {
            Ok(None) => return LossCause::Deleted,
            Ok(Some(info)) => {
                self.learn(&info);
            }
            Err(_) => {}
        }
        let now = tokio::time::Instant::now();
        match (self.board.loss(id), self.board.live(id)) {
            (Some(cause), _) => cause,
            (None, Some(live)) if live.ends_early(now) => LossCause::TtlLowered,
            (None, Some(live)) if live.deadline <= now => LossCause::Expired,
            (None, _) => LossCause::Gone,
        }
    }
}

/// One process's handle on a pool.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) pool: Arc<Pool>,
    pub(crate) id: HandleId,
    pub(crate) line: WaitQueue,
    hint: Arc<Notify>,
    /// Lets one caller of `freed` after the other wait for the hint.
    turn: Semaphore,
    forecast: Forecast,
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
        let handle = Self::make(wire, stream, options, Some(Identity::of(info)), facts, true);
        handle.pool.learn(info);
        Ok(handle)
    }

    /// A handle on a stream that this user may not look at.
    pub(crate) fn attach_unseen(
        wire: &'static Protocol,
        stream: Stream,
        options: PoolOptions,
        facts: Facts,
    ) -> Arc<Self> {
        Self::make(wire, stream, options, None, facts, false)
    }

    fn make(
        wire: &'static Protocol,
        stream: Stream,
        options: PoolOptions,
        identity: Option<Identity>,
        facts: Facts,
        may_look: bool,
    ) -> Arc<Self> {
        let board = Board::meet(stream.name(), identity, &facts);
        let emitter = Emitter::new(Arc::clone(stream.name()), Arc::clone(&options.observer));
        let pool = Arc::new(Pool {
            wire,
            stream,
            options,
            board,
            may_look,
            runtime: Runtime::current(),
            tasks: TaskTracker::new(),
            reaping: Semaphore::new(REAPING),
            hurry: CancellationToken::new(),
            subject: RwLock::new(facts.subject.into()),
            closed: AtomicBool::new(false),
            weighted: AtomicBool::new(facts.weighted),
            emitter,
        });
        let hint = Arc::new(Notify::new());
        let id = pool.board.attach(Arc::clone(&hint));
        let (line, turn) = (WaitQueue::new(), Semaphore::new(1));
        Arc::new(Self { pool, id, line, hint, turn, forecast: Forecast::new(may_look) })
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.pool.stream.connection()
    }

    pub(crate) async fn freed(&self) -> NonZeroU32 {
        // Never closed; and if it were, two callers at a time would do no harm.
        let _turn = self.turn.acquire().await;
        let _standing = Standing(self);
        loop {
            if let Some(slots) = self.pool.board.take_hint(self.id) {
                return slots;
            }
            tokio::select! {
                biased;
                () = self.hint.notified() => {}
                () = self.forecast.next_expiry(&self.pool) => return NonZeroU32::MIN,
            }
        }
    }

    /// Awaits the loss of a lease; `verify` looks whether it is still there.
    pub(crate) async fn lost<V, F>(&self, id: LeaseId, verify: V) -> LossCause
    where
        V: Fn() -> F,
        F: Future<Output = Option<LossCause>>,
    {
        let every = (self.pool.board.ttl() / 3).max(Duration::from_secs(1));
        let cause = self.pool.board.lost(id, every, verify).await;
        self.pool.emit(&GovernorEvent::Lost { id, cause });
        cause
    }

    /// What an error of a look at a lease means: that the pool is gone, nothing, or that looking is of no use.
    pub(crate) async fn judge(&self, error: LeaseError) -> Option<LossCause> {
        match error.kind() {
            LeaseErrorKind::NotFound => Some(LossCause::Deleted),
            LeaseErrorKind::NotPermitted => {
                self.pool.emit(&GovernorEvent::PermissionDenied { what: error.to_string() });
                pending().await
            }
            _ => None,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.pool.board.detach(self.id);
        self.pool.hurry.cancel();
    }
}

/// A handle that waits for a hint.
struct Standing<'a>(&'a Handle);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.pool.board.leave(self.0.id);
    }
}
