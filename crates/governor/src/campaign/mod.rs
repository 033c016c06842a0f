mod admin;
mod protocol;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sluicegate_core::{
    FencingToken, HeldLease, Lease, LeaseError, LeaseErrorKind, LeaseId, LeasePool, LossCause,
    PoolDescription, Request, WaitQueue,
};
use sluicegate_nats::Connection;

pub(crate) use self::protocol::PROTOCOL;
use crate::attempt::{Attempt, Granted, campaign};
use crate::board::{Floor, Live, Seen};
use crate::event::GovernorEvent;
use crate::handle::Handle;
use crate::pool::Facts;
use crate::stream::Stream;
use crate::wire::GetMessage;
use crate::{GovernorConfig, GovernorName, LifecycleKind, PoolOptions, lifecycle, make, reaper};

/// A [`LeasePool`] that is wire-compatible with choria's governor: one stream, one message a lease.
///
/// A value is one process's handle on the governor; `clone` shares it, [`bind`](Self::bind) makes another one.
/// Handles of one connection on one governor tell each other of freed slots and lost leases; others are told through
/// the server, as other processes are.
///
/// Leases cannot be renewed, and there are no weights: a lease ends with the governor's time to live at the latest.
/// When the last clone is dropped, abandoned attempts are still resolved for a few seconds by tasks of the runtime
/// in which the handle was made; [`close`](Self::close) waits for them.
#[derive(Clone, Debug)]
pub struct CampaignPool(Arc<Handle>);

impl CampaignPool {
    /// Makes the governor, or binds to one that is exactly so.
    ///
    /// # Errors
    /// `Conflict` if there is one that differs, naming each field as `have → want`: nothing is changed then.
    /// `Invalid`, `NotPermitted`, `Misconfigured`, `Transient`, `Unknown` (repeat: creating is idempotent).
    pub async fn create(connection: &Connection, config: &GovernorConfig) -> Result<Self, LeaseError> {
        Self::create_with(connection, config, PoolOptions::default()).await
    }

    /// As [`create`](Self::create), with options.
    ///
    /// # Errors
    /// As `create`.
    pub async fn create_with(
        connection: &Connection,
        config: &GovernorConfig,
        options: PoolOptions,
    ) -> Result<Self, LeaseError> {
        let (stream, info) = make::create(&PROTOCOL, connection, config, &options).await?;
        Handle::attach(&PROTOCOL, stream, options, &info).map(Self)
    }

    /// Makes the governor, or changes limit, ttl and replicas to what is wanted. Nothing is written if all is so
    /// already; lowering the limit evicts nobody.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Conflict` if something else differs, for example the subject, on which workers
    /// may be campaigning, or if a lower ttl would end leases that are held.
    pub async fn ensure(connection: &Connection, config: &GovernorConfig) -> Result<Self, LeaseError> {
        Self::ensure_with(connection, config, PoolOptions::default()).await
    }

    /// As [`ensure`](Self::ensure), with options.
    ///
    /// # Errors
    /// As `ensure`.
    pub async fn ensure_with(
        connection: &Connection,
        config: &GovernorConfig,
        options: PoolOptions,
    ) -> Result<Self, LeaseError> {
        let (stream, info, _) = make::ensure(&PROTOCOL, connection, config, &options).await?;
        Handle::attach(&PROTOCOL, stream, options, &info).map(Self)
    }

    /// Attaches to a governor that exists, ours or choria's: reads subject, limit and ttl, changes nothing.
    ///
    /// # Errors
    /// `NotFound` ("unknown governor"), `Misconfigured` if the stream is no governor, `Invalid` for the name,
    /// `NotPermitted`, `Transient`.
    pub async fn bind(connection: &Connection, name: impl AsRef<str>) -> Result<Self, LeaseError> {
        Self::bind_with(connection, name, PoolOptions::default()).await
    }

    /// As [`bind`](Self::bind), with options.
    ///
    /// # Errors
    /// As `bind`.
    pub async fn bind_with(
        connection: &Connection,
        name: impl AsRef<str>,
        options: PoolOptions,
    ) -> Result<Self, LeaseError> {
        let (stream, info) =
            make::bind(&PROTOCOL, connection, &GovernorName::try_new(name)?, &options).await?;
        Handle::attach(&PROTOCOL, stream, options, &info).map(Self)
    }

    /// Attaches to a governor at which this user may not look (`STREAM.INFO` is denied): the caller says what it is
    /// like. Without a subject it is the default one. Sends nothing; has to be called within a runtime.
    ///
    /// Such a handle knows neither limit nor incarnation, foresees no expiry, and hears of changes only when an
    /// attempt fails.
    ///
    /// # Errors
    /// `Invalid` for the name, the subject or the ttl.
    pub fn without_info(
        connection: &Connection,
        name: impl AsRef<str>,
        subject: Option<String>,
        ttl: Duration,
    ) -> Result<Self, LeaseError> {
        Self::without_info_with(connection, name, subject, ttl, PoolOptions::default())
    }

    /// As [`without_info`](Self::without_info), with options.
    ///
    /// # Errors
    /// As `without_info`.
    pub fn without_info_with(
        connection: &Connection,
        name: impl AsRef<str>,
        subject: Option<String>,
        ttl: Duration,
        options: PoolOptions,
    ) -> Result<Self, LeaseError> {
        let mut config = GovernorConfig::try_new(name, NonZeroU32::MIN, ttl)?;
        config.subject = subject;
        config.validate()?;
        let name = config.name;
        let facts = Facts::told(config.subject.unwrap_or_else(|| name.campaign_subject()), ttl);
        let stream = Stream::new(connection, (PROTOCOL.stream)(&name), options.request_timeout);
        Ok(Self(Handle::attach_unseen(&PROTOCOL, stream, options, facts)))
    }

    /// The connection that it uses.
    pub fn connection(&self) -> &Connection {
        self.0.connection()
    }

    /// The name of its stream.
    pub fn stream(&self) -> &str {
        self.0.pool.stream.name()
    }

    /// The subject on which it campaigns.
    pub fn subject(&self) -> Arc<str> {
        self.0.pool.subject()
    }

    /// The number of slots, as it was last read. None: this user may not look.
    pub fn limit(&self) -> Option<NonZeroU32> {
        self.0.pool.board.limit()
    }

    /// The time to live, as it was last read.
    pub fn ttl(&self) -> Duration {
        self.0.pool.board.ttl()
    }

    /// Ends the handle: no further attempts, and abandoned ones are resolved, for at most `within`. Leases that are
    /// held stay held, and can be released.
    ///
    /// # Errors
    /// `Unknown` if some attempts are not resolved by then: slots that they got expire.
    ///
    /// # Cancel safety
    /// Safe: the handle stays closed; call it again to wait on.
    pub async fn close(&self, within: Duration) -> Result<(), LeaseError> {
        self.0.pool.close();
        reaper::flush(&self.0.pool, within).await
    }

    async fn lease(&self, request: &Request, granted: Granted, floor: Floor) -> Lease {
        let pool = &self.0.pool;
        let Granted { sequence, first_send, attempt, tries } = granted;
        let (id, token) = (LeaseId(sequence), FencingToken(sequence));
        let lease = Lease::granted(id, token, request, first_send, attempt.ttl);
        let live = Live::new(&lease, Arc::clone(&attempt.subject), Arc::clone(&attempt.id), first_send);
        let lease = pool.enter(lease, live, floor, attempt, tries).await;
        lifecycle::announce(pool, LifecycleKind::Enter, Some(id), lease.holder());
        lease
    }

    /// Whether a lease is still in the stream, and if not why.
    async fn verify(&self, lease: &Lease) -> Seen {
        let pool = &self.0.pool;
        let Some(live) = pool.board.live(lease.id()) else { return Seen::There };
        match pool.stream.get(GetMessage::Sequence { seq: lease.id().0 }).await {
            Ok(Some(message)) if message.header("Nats-Msg-Id") == Some(&*live.message_id) => {
                pool.inspect(pool.board.ttl() / 3).await;
                Seen::There
            }
            // Its sequence is somebody else's: the stream was made anew, and the other leases are no more either,
            // also where its description does not give that away.
            Ok(Some(_)) => {
                if pool.why_gone(lease.id()).await != LossCause::Recreated {
                    pool.made_anew();
                }
                Seen::Gone(LossCause::Recreated)
            }
            Ok(None) => Seen::Gone(pool.why_gone(lease.id()).await),
            Err(error) => self.0.judge(&error),
        }
    }
}

#[async_trait]
impl LeasePool for CampaignPool {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.0.pool.describe().await
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        let pool = &self.0.pool;
        pool.open()?;
        if request.slots() > NonZeroU32::MIN {
            let context = "campaign governors have no weights: ask for one slot";
            return Err(LeaseError::new(LeaseErrorKind::Unsupported, context));
        }
        let (mark, floor) = pool.board.begin(pool.id);
        let holder = Bytes::copy_from_slice(request.holder().as_bytes());
        let attempt = || Attempt::new(pool, pool.subject(), false, holder.clone(), pool.board.ttl());
        match campaign(pool, attempt).await? {
            Some(granted) => Ok(Some(self.lease(request, granted, floor).await)),
            None => {
                pool.board.full(pool.id, mark);
                pool.emit(&GovernorEvent::Full);
                Ok(None)
            }
        }
    }

    async fn renew(&self, _lease: &Lease) -> Result<Lease, LeaseError> {
        let context = "campaign governors cannot renew: choose a longer ttl, or a native governor";
        Err(LeaseError::new(LeaseErrorKind::Unsupported, context))
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let (pool, id) = (&self.0.pool, lease.id());
        let Ok(live) = pool.board.releasing(lease) else { return Ok(false) };
        let within = lease.remaining().min(pool.options.resolve_for);
        let freed = match &live {
            Some(live) => pool.delete_own(id.0, &live.message_id, live.releasing, within).await?,
            None => pool.delete_message(id.0, false, within).await?,
        };
        pool.board.released(id);
        if freed {
            pool.gave_back(id.0, 1).await;
        }
        pool.emit(&GovernorEvent::Released { id, freed });
        if freed {
            lifecycle::announce(pool, LifecycleKind::Exit, Some(id), lease.holder());
        }
        Ok(freed)
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        let pool = &self.0.pool;
        let info = pool.stream.info().await?;
        let messages = pool.stream.walk(&info).await?;
        Ok((PROTOCOL.held)(&messages))
    }

    async fn freed(&self) -> NonZeroU32 {
        self.0.freed().await
    }

    async fn lost(&self, lease: &Lease) -> LossCause {
        self.0.lost(lease, || self.verify(lease)).await
    }

    fn line(&self) -> &WaitQueue {
        self.0.line()
    }

    fn waited_in_vain(&self, request: &Request) {
        lifecycle::announce(&self.0.pool, LifecycleKind::Timeout, None, request.holder());
    }
}
