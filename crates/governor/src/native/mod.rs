mod admin;
mod facts;
mod feed;
mod follower;
mod held;
mod queue;
mod renew;
mod tickets;
mod view;
mod watch;

use std::future::pending;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sluicegate_core::{
    FencingToken, HeldLease, Lease, LeaseError, LeaseErrorKind, LeaseId, LeasePool, LossCause,
    PoolDescription, Request, WaitQueue,
};
use sluicegate_nats::Connection;
use tokio::time::sleep_until;

pub(crate) use self::facts::{PROTOCOL, validate_ttl};
use self::held::Found;
use self::queue::Turn;
use self::tickets::Tickets;
use self::watch::Watch;
use crate::attempt::{Attempt, Granted, campaign};
use crate::batch::all_entries;
use crate::board::{Live, Seen};
use crate::event::GovernorEvent;
use crate::handle::Handle;
use crate::stream::Stream;
use crate::wire::{GetMessage, StreamInfo};
use crate::{GovernorConfig, GovernorName, LifecycleKind, PoolOptions, lifecycle, make, reaper};

/// A [`LeasePool`] whose leases can be renewed: one message with a time to live of its own for each lease, on a
/// stream that only sluicegate uses. Needs nats-server 2.11.
///
/// A value is one process's handle on the governor; `clone` shares it, [`bind`](Self::bind) makes another one.
/// Leases are renewed and released through a handle of the process that acquired them.
///
/// When the last clone is dropped, abandoned attempts are still resolved for a few seconds by tasks of the runtime
/// in which the handle was made; [`close`](Self::close) waits for them.
#[derive(Clone, Debug)]
pub struct NativePool(Arc<Native>);

#[derive(Debug)]
struct Native {
    handle: Arc<Handle>,
    watch: Arc<Watch>,
    tickets: Option<Arc<Tickets>>,
}

impl Deref for Native {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl NativePool {
    /// Makes the governor, or binds to one that is exactly so. The ttl has to be whole seconds, and a subject cannot
    /// be chosen.
    ///
    /// # Errors
    /// `Unsupported` if the server is older than 2.11. `Conflict` if there is a governor that differs, naming each
    /// field as `have → want`: nothing is changed then. `Invalid`, `NotPermitted`, `Misconfigured`, `Transient`,
    /// `Unknown` (repeat: creating is idempotent).
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
        Self::attach(stream, options, &info)
    }

    /// Makes the governor, or changes limit, ttl and replicas to what is wanted. Nothing is written if all is so
    /// already. Lowering the limit evicts nobody; a changed ttl holds for grants and renewals from then on.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Conflict` if something else differs.
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
        Self::attach(stream, options, &info)
    }

    /// Attaches to a governor that exists: reads limit and ttl, changes nothing.
    ///
    /// # Errors
    /// `NotFound` ("unknown governor"), `Misconfigured` if the stream is no native governor, `Invalid` for the name,
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
        Self::attach(stream, options, &info)
    }

    /// A handle on the stream that was just seen.
    pub(crate) fn attach(
        stream: Stream,
        options: PoolOptions,
        info: &StreamInfo,
    ) -> Result<Self, LeaseError> {
        Handle::attach(&PROTOCOL, stream, options, info).map(Self::over)
    }

    /// Tells waiting processes of free slots, where they stand in order.
    async fn ring(&self, slots: u32) {
        if let Some(tickets) = &self.0.tickets {
            tickets.ring(slots).await;
        }
    }

    pub(crate) fn over(handle: Arc<Handle>) -> Self {
        let pool = &handle.pool;
        let tickets = pool.options.tickets.then(|| Tickets::new(pool, handle.line())).flatten();
        let watch = Watch::new(pool, tickets.clone());
        Self(Arc::new(Native { handle, watch, tickets }))
    }

    /// The connection that it uses.
    pub fn connection(&self) -> &Connection {
        self.0.connection()
    }

    /// The name of its stream.
    pub fn stream(&self) -> &str {
        self.0.pool.stream.name()
    }

    /// The number of slots, as it was last read.
    pub fn limit(&self) -> Option<NonZeroU32> {
        self.0.pool.board.limit()
    }

    /// The time to live of a grant or renewal, as it was last read.
    pub fn ttl(&self) -> Duration {
        self.0.pool.board.ttl()
    }

    /// Ends the handle: no further attempts, and abandoned ones are resolved, for at most `within`. Leases that are
    /// held stay held, and can be renewed and released.
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

    /// Whether several slots can be asked for at once, and so many.
    async fn check_weight(&self, weight: NonZeroU32) -> Result<(), LeaseError> {
        let pool = &self.0.pool;
        if pool.is_weighted() && pool.board.limit().is_some_and(|limit| weight <= limit) {
            return Ok(());
        }
        // That may have changed.
        pool.learn(&pool.stream.info().await?);
        if !pool.is_weighted() {
            let context = format!(
                "requests of several slots need nats-server 2.12 or later (this is {}) and a stream with \
                 allow_atomic and without deny_purge: ask for one slot",
                make::version(pool.stream.connection())
            );
            return Err(LeaseError::new(LeaseErrorKind::Unsupported, context));
        }
        if let Some(limit) = pool.board.limit()
            && weight > limit
        {
            let context = format!("weight {weight} is above the limit {limit}");
            return Err(LeaseError::new(LeaseErrorKind::Invalid, context));
        }
        Ok(())
    }

    /// Everything held now, oldest first.
    async fn find_all(&self) -> Result<Vec<Found>, LeaseError> {
        let pool = &self.0.pool;
        let info = pool.stream.info().await?;
        let messages = pool.stream.walk(&info).await?;
        Ok(held::group(&messages))
    }

    async fn find(&self, id: LeaseId) -> Result<Option<Found>, LeaseError> {
        Ok(self.find_all().await?.into_iter().find(|found| found.lease.id == id))
    }

    fn attempt(&self, holder: &Bytes, weight: NonZeroU32) -> Attempt {
        let pool = &self.0.pool;
        // A subject of its own: it can be renewed, and read back, without anybody else's help.
        let subject: Arc<str> = format!("{}{}", pool.subject(), nuid::next().as_str()).into();
        let ttl = pool.board.ttl();
        let mut attempt = Attempt::new(pool, subject, true, holder.clone(), ttl).weighing(weight);
        attempt.headers.insert(NATS_TTL, ttl_header(ttl));
        attempt
    }

    /// Whether a lease is still in the stream, and if not why.
    async fn verify(&self, lease: &Lease) -> Seen {
        let pool = &self.0.pool;
        let Some(live) = pool.board.live(lease.id()) else { return Seen::There };
        let there = if live.entries.is_empty() {
            let which = GetMessage::Last { last_by_subj: &live.subject };
            pool.stream.get(which).await.map(|message| message.is_some())
        } else {
            let there = pool.stream.count_matching(&all_entries(&live.subject)).await;
            there.map(|there| there >= live.entries.len())
        };
        match there {
            Ok(true) => {
                pool.inspect(pool.board.ttl() / 3).await;
                Seen::There
            }
            Ok(false) => Seen::Gone(pool.why_gone(lease.id()).await),
            Err(error) => self.0.judge(&error),
        }
    }
}

/// The header that gives a message its time to live.
const NATS_TTL: &str = "Nats-TTL";

fn ttl_header(ttl: Duration) -> String {
    format!("{}s", ttl.as_secs())
}

#[async_trait]
impl LeasePool for NativePool {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.0.pool.describe().await
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        let pool = &self.0.pool;
        pool.open()?;
        let weight = request.slots();
        if weight > NonZeroU32::MIN {
            self.check_weight(weight).await?;
        }
        if let Some(tickets) = &self.0.tickets
            && !tickets.admits(weight).await
        {
            // Others are first: what is free is theirs.
            pool.emit(&GovernorEvent::Full);
            return Ok(None);
        }
        let (mark, floor) = pool.board.begin(pool.id);
        let holder = Bytes::copy_from_slice(request.holder().as_bytes());
        let granted = campaign(pool, || self.attempt(&holder, weight)).await?;
        let Some(Granted { sequence, first_send, attempt, tries }) = granted else {
            pool.board.full(pool.id, mark);
            if let Some(tickets) = &self.0.tickets {
                tickets.refused(weight);
            }
            pool.emit(&GovernorEvent::Full);
            return Ok(None);
        };
        let id = LeaseId(sequence);
        let last = sequence + u64::from(weight.get() - 1);
        let lease =
            Lease::granted(id, FencingToken(last), request, first_send, attempt.ttl).with_renewal(true);
        let mut live = Live::new(&lease, Arc::clone(&attempt.subject), Arc::clone(&attempt.id), first_send);
        if weight > NonZeroU32::MIN {
            live = live.of_several((sequence..=last).collect());
        }
        let lease = pool.enter(lease, live, floor, attempt, tries).await;
        if let Some(tickets) = &self.0.tickets {
            tickets.granted();
        }
        lifecycle::announce(pool, LifecycleKind::Enter, Some(id), lease.holder());
        Ok(Some(lease))
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        renew::renew(&self.0.pool, lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let (pool, id) = (&self.0.pool, lease.id());
        let Ok(live) = pool.board.releasing(lease) else { return Ok(false) };
        let token = live.as_ref().map_or(lease.token(), |live| live.token);
        let within = lease.remaining().max(pool.stream.timeout()).min(pool.options.resolve_for);
        let freed = match &live {
            // Whatever their sequences are by now.
            Some(live) if !live.entries.is_empty() => {
                pool.delete_matching(&all_entries(&live.subject), within).await?
            }
            // Nobody knows its subjects any more: it ran out, or was lost.
            None if lease.weight() > NonZeroU32::MIN => false,
            _ => {
                let mut freed = pool.delete_message(token.0, live.is_some(), within).await?;
                // A renewal under way, or one that was never answered, may have put a newer message in its place.
                if let Some(live) = pool.board.live(id)
                    && (live.in_doubt || live.token != token)
                {
                    let which = || GetMessage::Last { last_by_subj: &live.subject };
                    while let Some(message) = pool.stream.get(which()).await? {
                        freed |= pool.delete_message(message.seq, true, within).await?;
                    }
                }
                freed
            }
        };
        pool.board.released(id);
        if freed {
            pool.gave_back(id.0, lease.weight().get()).await;
            self.ring(lease.weight().get()).await;
        }
        pool.emit(&GovernorEvent::Released { id, freed });
        if freed {
            lifecycle::announce(pool, LifecycleKind::Exit, Some(id), lease.holder());
        }
        Ok(freed)
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        if let Some(held) = self.0.watch.held().await? {
            return Ok(held);
        }
        Ok(self.find_all().await?.into_iter().map(|found| found.lease).collect())
    }

    async fn freed(&self) -> NonZeroU32 {
        let Some(tickets) = &self.0.tickets else {
            return tokio::select! {
                biased;
                slots = self.0.handle.freed() => slots,
                slots = self.0.watch.next_expiry() => slots,
            };
        };
        let _standing = tickets.stand();
        let hint = self.0.handle.freed();
        tokio::pin!(hint);
        loop {
            let changed = tickets.changed();
            let again = match tickets.take() {
                Ok(slots) => return slots,
                Err(Turn::Later(at)) => Some(at),
                Err(_) => None,
            };
            tokio::select! {
                biased;
                // A hint that one process alone may have got. Others are told by whoever frees a slot.
                slots = &mut hint => {
                    if tickets.is_first() {
                        return slots;
                    }
                    hint.set(self.0.handle.freed());
                }
                slots = self.0.watch.next_expiry() => tickets.expired(slots),
                () = changed => {}
                () = async { match again { Some(at) => sleep_until(at).await, None => pending().await } } => {}
            }
        }
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
