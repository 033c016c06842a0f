use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sluicegate_core::{
    Lease, LeaseError, LeaseErrorKind, LeaseId, LossCause, PoolDescription, WaitQueue, later,
};
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::PoolOptions;
use crate::attempt::{Attempt, Pending};
use crate::board::{Board, Floor, HandleId, Identity, Live};
use crate::event::{Emitter, GovernorEvent};
use crate::listener::{Bell, Listener};
use crate::protocol::Protocol;
use crate::refusals::Refusals;
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
    pub(crate) id: HandleId,
    pub(crate) line: WaitQueue,
    pub(crate) bell: Bell,
    pub(crate) listener: Listener,
    /// This user may call `STREAM.INFO`.
    may_look: bool,
    /// Writes are not answered although the stream is there, which was told of.
    degraded: AtomicBool,
    pub(crate) runtime: Runtime,
    pub(crate) tasks: TaskTracker,
    pub(crate) reaping: Semaphore,
    pub(crate) refusals: Refusals,
    /// The last handle is gone: come to an end.
    pub(crate) hurry: CancellationToken,
    subject: RwLock<Arc<str>>,
    closed: AtomicBool,
    weighted: AtomicBool,
    emitter: Emitter,
}

impl Pool {
    /// Beginning with that identity, if the stream was seen.
    pub(crate) fn new(
        wire: &'static Protocol,
        stream: Stream,
        options: PoolOptions,
        identity: Option<Identity>,
        facts: Facts,
        hint: &Arc<Notify>,
    ) -> Arc<Self> {
        let may_look = identity.is_some();
        let board = Board::meet(stream.connection().id(), stream.name(), identity, &facts);
        if !may_look {
            board.forecast.give_up();
        }
        let emitter = Emitter::new(Arc::clone(stream.name()), Arc::clone(&options.observer));
        Arc::new(Self {
            wire,
            id: board.attach(Arc::clone(hint)),
            line: WaitQueue::new(),
            bell: Bell::new(stream.name()),
            listener: Listener::default(),
            stream,
            options,
            board,
            may_look,
            degraded: AtomicBool::new(false),
            runtime: Runtime::current(),
            tasks: TaskTracker::new(),
            reaping: Semaphore::new(REAPING),
            refusals: Refusals::default(),
            hurry: CancellationToken::new(),
            subject: RwLock::new(facts.subject.into()),
            closed: AtomicBool::new(false),
            weighted: AtomicBool::new(facts.weighted),
            emitter,
        })
    }

    pub(crate) fn emit(&self, event: &GovernorEvent) {
        self.emitter.emit(event);
    }

    pub(crate) fn subject(&self) -> Arc<str> {
        Arc::clone(&self.subject.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// It was found out that the stream is another one than before.
    pub(crate) fn made_anew(&self) {
        self.board.made_anew();
        self.emit(&GovernorEvent::EpochChanged { incarnation: self.board.incarnation() });
    }

    /// Takes notice of what the stream is now. Whether its subject is another than before.
    pub(crate) fn learn(&self, info: &StreamInfo) -> bool {
        if let Some(lost) = self.board.recognize(&Identity::of(info), info.state.last_seq) {
            tracing::debug!(stream = &**self.stream.name(), lost = lost.len(), "leases of the old stream");
            self.emit(&GovernorEvent::EpochChanged { incarnation: self.board.incarnation() });
        }
        self.refusals.replicated(info.config.replicas() > 1);
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

    /// This user may look at the stream as a whole, as far as is known.
    pub(crate) fn may_look(&self) -> bool {
        self.may_look && !self.board.forecast.is_given_up()
    }

    /// Looks at the stream as a whole, and takes notice. Answers how many slots are free.
    pub(crate) async fn look(&self) -> Result<u32, LeaseError> {
        match self.stream.find().await? {
            Some(info) => {
                self.learn(&info);
                Ok(self.board.forecast.learn(self, &info))
            }
            None => {
                self.board.lose_all(LossCause::Deleted);
                Ok(0)
            }
        }
    }

    /// Enters a lease that was asked for when `floor` was.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        lease: Lease,
        live: Live,
        floor: Floor,
        mut attempt: Attempt,
        tries: u32,
    ) -> Lease {
        if self.board.granted(&lease, live, floor).is_some() {
            // Another life of the stream: which, has to be seen. Should nobody wait for that, the slot is given back.
            attempt.life = self.board.life();
            let mut pending = Pending::new(self, attempt);
            if self.may_look
                && let Ok(info) = self.stream.info().await
            {
                self.board.adopt(Identity::of(&info));
            }
            pending.settle();
            self.emit(&GovernorEvent::EpochChanged { incarnation: self.board.incarnation() });
        }
        self.degraded.store(false, Ordering::Release);
        self.emit(&GovernorEvent::Acquired { id: lease.id(), tries });
        lease.in_epoch(self.board.epoch())
    }

    /// Writes are not answered: tells so if that is the store's fault, once.
    pub(crate) async fn suspect_store(&self) {
        if !self.may_look || self.degraded.load(Ordering::Acquire) || self.stream.info().await.is_err() {
            return;
        }
        if !self.degraded.swap(true, Ordering::AcqRel) {
            let what = format!("stream {} is there, and does not answer writes", self.stream.name());
            self.emit(&GovernorEvent::Degraded { what });
        }
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

    /// Deletes a message until the server has said what became of it, or `within` is over. One that was `there` a
    /// moment ago is taken to have been there still.
    pub(crate) async fn delete_message(
        &self,
        sequence: u64,
        there: bool,
        within: Duration,
    ) -> Result<bool, LeaseError> {
        let told = there && self.bell.is_denied();
        if told {
            // The server's answer is the note; ours is the answer to the repetition.
            self.stream.delete_telling(sequence, self.bell.release()).await;
        }
        self.delete(within, told, |_| self.stream.delete_message(sequence)).await
    }

    /// Deletes the message that was sent under that id, as [`delete_message`](Self::delete_message) does. Its number
    /// may be somebody else's when that is `repeated`: then nothing is deleted.
    pub(crate) async fn delete_own(
        &self,
        sequence: u64,
        message_id: &str,
        repeated: bool,
        within: Duration,
    ) -> Result<bool, LeaseError> {
        let told = !repeated && self.bell.is_denied();
        if told {
            self.stream.delete_telling(sequence, self.bell.release()).await;
        }
        self.delete(within, told, |again| self.stream.delete_own(sequence, message_id, repeated || again))
            .await
    }

    /// The same for all messages on the subjects that match.
    pub(crate) async fn delete_matching(&self, filter: &str, within: Duration) -> Result<bool, LeaseError> {
        self.delete(within, false, |_| self.stream.delete_matching(filter)).await
    }

    /// Whether something was deleted. A try whose answer is not known, and that is followed by "gone", counts as ours.
    async fn delete<F>(
        &self,
        within: Duration,
        mut in_doubt: bool,
        attempt: impl Fn(bool) -> F,
    ) -> Result<bool, LeaseError>
    where
        F: Future<Output = Deleted>,
    {
        let give_up = later(tokio::time::Instant::now(), within);
        let mut delays = crate::backoff::resolving();
        let mut repeated = false;
        loop {
            match attempt(repeated).await {
                Deleted::Done => return Ok(true),
                Deleted::Gone => return Ok(in_doubt),
                Deleted::NoStream => return Ok(false),
                Deleted::Failed { error, unanswered } => {
                    in_doubt |= unanswered;
                    repeated = true;
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
