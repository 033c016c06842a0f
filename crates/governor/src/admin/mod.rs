//! What operators do with governors.

mod list;
mod view;
mod warning;
mod watch;

use std::num::{NonZeroU8, NonZeroU32};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::join;
use sluicegate_core::{HeldLease, LeaseError, LeaseErrorKind, LeaseId, LeasePool, LeasePoolAdmin};
use sluicegate_nats::Connection;

pub use self::list::Filter;
pub use self::view::{GovernorSummary, GovernorView};
pub use self::warning::Warning;
pub use self::watch::{Change, GovernorWatch};
use crate::config::{validate_replicas, validate_subject};
use crate::handle::Handle;
use crate::make::Wanted;
use crate::protocol::{self, Protocol};
use crate::stream::Stream;
use crate::wire::{StoredConfig, StreamInfo};
use crate::{Force, GovernorConfig, GovernorKind, GovernorName, NativePool, PoolOptions, Wire, make};

/// One governor, for those who look after it: of either wire, found by its name, also if it is in such a state that
/// no worker could use it.
///
/// A clone is the same governor. Reading (`bind`, `list`, `view`) needs the right to `STREAM.INFO`, `NAMES`, `LIST`
/// and `MSG.GET`, and changes nothing. Changes read what is stored, replace what is named, and compare what the
/// server made of it.
#[derive(Clone, Debug)]
pub struct GovernorAdmin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: GovernorName,
    protocol: &'static Protocol,
    stream: Stream,
    /// As it was last seen.
    seen: Mutex<StreamInfo>,
    /// For workers; made when it is first asked for and possible.
    pool: OnceLock<Arc<dyn LeasePoolAdmin>>,
    /// For changes, where there is no pool for workers.
    manager: OnceLock<Arc<dyn LeasePoolAdmin>>,
    options: PoolOptions,
}

impl GovernorAdmin {
    /// The governor of that name, whichever its wire. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` ("unknown governor"); `Conflict` if there is one on each wire: then use
    /// [`bind_on`](Self::bind_on). `Invalid` for the name, `NotPermitted`, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn bind(connection: &Connection, name: impl AsRef<str>) -> Result<Self, LeaseError> {
        let name = name.as_ref();
        let campaign = Self::bind_on(connection, name, Wire::Campaign);
        let native = Self::bind_on(connection, name, Wire::Native);
        match join(campaign, native).await {
            (Ok(_), Ok(_)) => {
                let context = format!("there are two governors {name}, campaign and native: say which wire");
                Err(LeaseError::new(LeaseErrorKind::Conflict, context))
            }
            // Whether there is another one too is not for this user to see.
            (Ok(found), Err(other)) | (Err(other), Ok(found)) => match other.kind() {
                LeaseErrorKind::NotFound | LeaseErrorKind::NotPermitted => Ok(found),
                _ => Err(other),
            },
            (Err(first), Err(second)) => match (first.kind(), second.kind()) {
                (LeaseErrorKind::NotFound, LeaseErrorKind::NotFound) => {
                    let context =
                        format!("unknown governor: there is no stream GOVERNOR_{name} or GOVERNOR2_{name}");
                    Err(LeaseError::new(LeaseErrorKind::NotFound, context))
                }
                (LeaseErrorKind::NotFound, _) => Err(second),
                _ => Err(first),
            },
        }
    }

    /// The governor of that name on that wire. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` ("unknown governor"), `Invalid` for the name, `NotPermitted`, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn bind_on(
        connection: &Connection,
        name: impl AsRef<str>,
        wire: Wire,
    ) -> Result<Self, LeaseError> {
        let (name, protocol) = (GovernorName::try_new(name)?, protocol::of(wire));
        let (stream, info) = make::bind(protocol, connection, &name, &PoolOptions::default()).await?;
        Ok(Self::new(name, protocol, stream, info))
    }

    /// Makes the governor, or finds it exactly so, on the wire that the configuration names.
    ///
    /// # Errors
    /// `Conflict` if there is one that differs, naming each field as `have → want`, or one of that name on the other
    /// wire: nothing is changed then. `Invalid`, `NotPermitted`, `Misconfigured`, `Unsupported`, `Transient`,
    /// `Unknown` (repeat: creating is idempotent).
    pub async fn create(connection: &Connection, config: &GovernorConfig) -> Result<Self, LeaseError> {
        Self::create_as(connection, config.into()).await
    }

    pub(crate) async fn create_as(connection: &Connection, wanted: Wanted<'_>) -> Result<Self, LeaseError> {
        let protocol = alone(connection, wanted.config).await?;
        let (stream, info) = make::create(protocol, connection, wanted, &PoolOptions::default()).await?;
        Ok(Self::new(wanted.config.name.clone(), protocol, stream, info))
    }

    /// Makes the governor, or changes limit, ttl and replicas to what is wanted; and whether it had to. Nothing is
    /// written if all is so already. Lowering the limit evicts nobody.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Conflict` if something else differs, for example the subject, which
    /// [`set_subject`](Self::set_subject) moves, or if another ttl would end leases that are held, which
    /// [`set_ttl`](Self::set_ttl) does by force.
    pub async fn ensure(
        connection: &Connection,
        config: &GovernorConfig,
    ) -> Result<(Self, bool), LeaseError> {
        Self::ensure_as(connection, config.into()).await
    }

    pub(crate) async fn ensure_as(
        connection: &Connection,
        wanted: Wanted<'_>,
    ) -> Result<(Self, bool), LeaseError> {
        let protocol = alone(connection, wanted.config).await?;
        let (stream, info, changed) =
            make::ensure(protocol, connection, wanted, &PoolOptions::default()).await?;
        Ok((Self::new(wanted.config.name.clone(), protocol, stream, info), changed))
    }

    /// The governors of the account, of either wire, sorted by name. A governor that cannot be looked at is listed
    /// with a warning.
    ///
    /// # Errors
    /// `NotPermitted` if neither `STREAM.LIST` nor `STREAM.NAMES` is allowed (with `NAMES` alone, governors on
    /// unusual subjects are left out), `Invalid` for the filter, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn list(connection: &Connection, filter: &Filter) -> Result<Vec<GovernorSummary>, LeaseError> {
        list::list(connection, filter).await
    }

    fn new(name: GovernorName, protocol: &'static Protocol, stream: Stream, info: StreamInfo) -> Self {
        Self::made(name, protocol, stream, info, PoolOptions::default())
    }

    fn made(
        name: GovernorName,
        protocol: &'static Protocol,
        stream: Stream,
        info: StreamInfo,
        options: PoolOptions,
    ) -> Self {
        let (pool, manager) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inner { name, protocol, stream, seen: Mutex::new(info), pool, manager, options }))
    }

    /// The same governor, whose [`pool`](Self::pool) is made with these options: time limits, an observer, choria's
    /// events.
    #[must_use]
    pub fn with_options(&self, options: PoolOptions) -> Self {
        let Inner { name, protocol, stream, .. } = &*self.0;
        let stream = Stream::new(stream.connection(), stream.name().to_string(), options.request_timeout);
        Self::made(name.clone(), protocol, stream, self.seen(), options)
    }

    /// Its name.
    pub fn name(&self) -> &GovernorName {
        &self.0.name
    }

    /// How its leases are kept.
    pub fn wire(&self) -> Wire {
        self.0.protocol.wire
    }

    /// What its slots are, as it was last seen.
    pub fn kind(&self) -> GovernorKind {
        GovernorKind::of(&self.seen().config)
    }

    /// The name of its stream.
    pub fn stream(&self) -> &str {
        self.0.stream.name()
    }

    /// The connection that it uses.
    pub fn connection(&self) -> &Connection {
        self.0.stream.connection()
    }

    /// A handle of its pool, for those who work under it: the same one at each call.
    ///
    /// # Errors
    /// `Misconfigured`, naming the reason, if no worker could use it.
    pub fn pool(&self) -> Result<Arc<dyn LeasePool>, LeaseError> {
        if self.0.pool.get().is_none() {
            let Inner { protocol, stream, options, .. } = &*self.0;
            let handle = Handle::attach(protocol, stream.clone(), options.clone(), &self.seen())?;
            // Somebody else may have been quicker.
            let _ = self.0.pool.set((protocol.pool)(handle));
        }
        let pool: Arc<dyn LeasePool> = self.manager();
        Ok(pool)
    }

    /// The pool of those who work under it, or one that changes can be made with whatever the stream is like.
    fn manager(&self) -> Arc<dyn LeasePoolAdmin> {
        let Inner { protocol, stream, options, pool, manager, .. } = &*self.0;
        let make =
            || (protocol.pool)(Handle::manage(protocol, stream.clone(), options.clone(), &self.seen()));
        Arc::clone(pool.get().unwrap_or_else(|| manager.get_or_init(make)))
    }

    /// The same where it is native, with what only native pools can do.
    pub(crate) fn manage_native(&self) -> NativePool {
        let Inner { protocol, stream, options, .. } = &*self.0;
        NativePool::over(Handle::manage(protocol, stream.clone(), options.clone(), &self.seen()))
    }

    pub(crate) fn seen(&self) -> StreamInfo {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the stream.
    async fn look(&self) -> Result<StreamInfo, LeaseError> {
        let info = self.0.stream.info().await?;
        self.saw(&info);
        Ok(info)
    }

    /// After a change: a governor that no worker could use may have become one.
    async fn look_at_repair(&self) {
        if (self.0.protocol.read)(&self.seen().config).is_err() {
            // The change was made; what it led to is seen next time if not now.
            let _ = self.look().await;
        }
    }

    pub(crate) fn saw(&self, info: &StreamInfo) {
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = info.clone();
    }

    async fn change(&self, change: impl FnOnce(&mut StoredConfig)) -> Result<(), LeaseError> {
        if let Some(info) = self.0.stream.change(change).await? {
            self.saw(&info);
        }
        Ok(())
    }

    /// The governor as it is now: one request, which needs the right to `STREAM.INFO` only.
    ///
    /// # Errors
    /// `NotFound`, `NotPermitted`, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn summary(&self) -> Result<GovernorSummary, LeaseError> {
        let info = self.look().await?;
        Ok(GovernorSummary::new(self.0.name.as_str(), self.0.protocol, &info))
    }

    /// The governor as it is now, and who holds it.
    ///
    /// # Errors
    /// `NotFound`, `NotPermitted` for `STREAM.INFO` (without `MSG.GET` the holders are left out, with a warning),
    /// `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn view(&self) -> Result<GovernorView, LeaseError> {
        self.view_of(&self.look().await?).await
    }

    /// The governor as it was just seen, and who holds it.
    pub(crate) async fn view_of(&self, info: &StreamInfo) -> Result<GovernorView, LeaseError> {
        let mut view = GovernorView::new(self.0.name.clone(), self.0.protocol, info);
        match self.0.stream.walk_at_most(info, GovernorView::MOST_HOLDERS).await {
            Ok((messages, complete)) => {
                view.holders = (self.0.protocol.held)(&messages);
                if !complete {
                    view.warnings.push(Warning::HoldersCut(view.holders.len()));
                }
            }
            Err(error) if error.kind() == LeaseErrorKind::NotPermitted => {
                view.warnings.push(Warning::HoldersHidden(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(view)
    }

    /// Sets the number of slots, at once. Lowering it evicts nobody: new grants wait until fewer are held. The total of
    /// a capacity follows, so that a lease stays worth what it is.
    ///
    /// # Errors
    /// `NotFound`, `NotPermitted`, `Transient`, `Unknown` (repeat: the call is idempotent).
    pub async fn resize(&self, limit: NonZeroU32) -> Result<(), LeaseError> {
        self.manager().resize(limit).await?;
        self.look_at_repair().await;
        Ok(())
    }

    /// Sets how long a lease lasts. On the campaign wire that holds for leases already held too: those that are older
    /// end, so this is refused unless it is forced.
    ///
    /// # Errors
    /// `Conflict` if leases would end and it is not forced. `Invalid` for a time that the wire cannot keep, and as
    /// [`resize`](Self::resize).
    pub async fn set_ttl(&self, ttl: Duration, force: Force) -> Result<(), LeaseError> {
        let protocol = self.0.protocol;
        (protocol.check_ttl)(ttl)?;
        if force == Force::No {
            make::keeps_held(protocol, &self.look().await?, ttl)?;
        }
        self.manager().set_ttl(ttl).await?;
        self.look_at_repair().await;
        Ok(())
    }

    /// Sets the number of copies in the cluster, 1 to 5.
    ///
    /// # Errors
    /// `Invalid` if there cannot be so many, and as [`resize`](Self::resize).
    pub async fn set_replicas(&self, replicas: NonZeroU8) -> Result<(), LeaseError> {
        validate_replicas(replicas)?;
        self.change(|config| config.set_replicas(replicas)).await
    }

    /// Moves a campaign governor to another subject. Leases stay held. Workers that may read the stream follow by
    /// themselves; others, choria's among them, are refused from then on, so this has to be forced.
    ///
    /// # Errors
    /// `Conflict` if it is another subject and not forced, or if another stream listens on it; `Unsupported` for
    /// native governors, `Invalid` for the subject, and as [`resize`](Self::resize).
    pub async fn set_subject(&self, subject: &str, force: Force) -> Result<(), LeaseError> {
        if self.wire() == Wire::Native {
            let context = "native governors have subjects of their own, which cannot be moved";
            return Err(LeaseError::new(LeaseErrorKind::Unsupported, context));
        }
        validate_subject(subject)?;
        let info = self.look().await?;
        let have = info.config.subjects();
        if have == [subject] {
            return Ok(());
        }
        if force == Force::No {
            let context = format!(
                "subject {} → {subject}: workers that campaign on the old one are refused from then on, unless they \
                 may read the stream; force it",
                have.join(" ")
            );
            return Err(LeaseError::new(LeaseErrorKind::Conflict, context));
        }
        self.change(|config| config.set_subject(subject)).await
    }

    /// Ends one lease and tells whose it was; `None` if it was not held. The holder is told.
    ///
    /// # Errors
    /// As [`resize`](Self::resize).
    pub async fn evict(&self, id: LeaseId) -> Result<Option<HeldLease>, LeaseError> {
        self.manager().evict(id).await
    }

    /// Ends every lease and tells how many slots they had. Holders are told.
    ///
    /// # Errors
    /// As [`resize`](Self::resize).
    pub async fn reset(&self) -> Result<u64, LeaseError> {
        self.manager().reset().await
    }

    /// Removes the governor. Holders are told.
    ///
    /// # Errors
    /// As [`resize`](Self::resize).
    pub async fn delete(&self) -> Result<(), LeaseError> {
        self.manager().delete().await
    }
}

/// The protocol of that configuration, once it is certain that there is no governor of that name on the other wire.
async fn alone(connection: &Connection, config: &GovernorConfig) -> Result<&'static Protocol, LeaseError> {
    let other = match config.wire {
        Wire::Campaign => Wire::Native,
        Wire::Native => Wire::Campaign,
    };
    match make::bind(protocol::of(other), connection, &config.name, &PoolOptions::default()).await {
        Ok(_) => {
            let context = format!("there is a {other} governor {} already", config.name);
            Err(LeaseError::new(LeaseErrorKind::Conflict, context))
        }
        Err(error) => match error.kind() {
            // Who may not look at the other one cannot be told of it.
            LeaseErrorKind::NotFound | LeaseErrorKind::NotPermitted => Ok(protocol::of(config.wire)),
            _ => Err(error),
        },
    }
}
