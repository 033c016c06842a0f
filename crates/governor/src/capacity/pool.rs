use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::Connection;

use super::config::stream;
use super::{CapacityConfig, GovernorKind, Units};
use crate::native::PROTOCOL;
use crate::stream::Stream;
use crate::wire::StreamInfo;
use crate::{GovernorName, NativePool, PoolOptions, make};

/// The leases of a capacity, and what each is worth: all that a program needs to take its part of a shared rate.
///
/// ```no_run
/// # async fn example(connection: &sluicegate_nats::Connection) -> Result<(), sluicegate_core::LeaseError> {
/// use sluicegate_governor::CapacityPool;
///
/// let CapacityPool { pool, factor, fresh, .. } = CapacityPool::bind(connection, "store").await?;
/// // Of the crate sluicegate-batcher: SharedCapacity::builder(Arc::new(pool), holder).factor(factor).fresh(fresh)
/// # drop((pool, factor, fresh));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CapacityPool {
    /// The leases.
    pub pool: NativePool,
    /// Units a second in all.
    pub total: u64,
    /// Units a second of a lease, when it was read. It is changed by force only while leases are held; whoever holds
    /// some then goes on with this one until it binds again.
    pub factor: u64,
    /// Whoever made it said that its name was new, so it may be used from the beginning. One that `ensure` has made
    /// again is not: processes may believe in leases of the one before for one time to live.
    pub fresh: bool,
}

impl CapacityPool {
    /// Attaches to a capacity that exists: reads what it is, changes nothing.
    ///
    /// # Errors
    /// `NotFound` if there is none of that name (also if there is a governor), `Misconfigured` if the stream does not
    /// say total and factor or cannot be used, `Invalid` for the name, `NotPermitted`, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn bind(connection: &Connection, name: impl AsRef<str>) -> Result<Self, LeaseError> {
        Self::bind_with(connection, name, PoolOptions::default()).await
    }

    /// As [`bind`](Self::bind), with options.
    ///
    /// # Errors
    /// As `bind`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn bind_with(
        connection: &Connection,
        name: impl AsRef<str>,
        options: PoolOptions,
    ) -> Result<Self, LeaseError> {
        let name = GovernorName::try_new(name)?;
        let (stream, info) = make::bind(&PROTOCOL, connection, &name, &options).await?;
        check_kind(&name, &info)?;
        let Some(units) = Units::read(&info.config) else {
            let context = format!(
                "stream {} cannot be used as a capacity: its metadata does not say total and factor; set both",
                stream.name()
            );
            return Err(LeaseError::new(LeaseErrorKind::Misconfigured, context));
        };
        Self::attach(stream, options, &info, units)
    }

    /// Makes the capacity, or binds to one that is exactly so. One that is made so is [`fresh`](Self::fresh): the
    /// caller says that there was none of that name a moment ago.
    ///
    /// # Errors
    /// `Conflict` if there is one that differs, naming each field as `have → want`, or a governor of that name:
    /// nothing is changed then. `Unsupported` if the server is older than 2.11. `Invalid`, `NotPermitted`,
    /// `Misconfigured`, `Transient`, `Unknown` (repeat: creating is idempotent).
    pub async fn create(connection: &Connection, config: &CapacityConfig) -> Result<Self, LeaseError> {
        let (wanted, options) = (config.wanted()?, PoolOptions::default());
        let (made, info) = make::create(&PROTOCOL, connection, stream(&wanted, true), &options).await?;
        Self::attach(made, options, &info, wanted.1)
    }

    /// Makes the capacity, or changes total, factor, ttl and replicas to what is wanted. Nothing is written if all is
    /// so already.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Conflict` also for another factor while leases are held.
    pub async fn ensure(connection: &Connection, config: &CapacityConfig) -> Result<Self, LeaseError> {
        let (wanted, options) = (config.wanted()?, PoolOptions::default());
        let (made, info, _) = make::ensure(&PROTOCOL, connection, stream(&wanted, false), &options).await?;
        Self::attach(made, options, &info, wanted.1)
    }

    fn attach(
        stream: Stream,
        options: PoolOptions,
        info: &StreamInfo,
        units: Units,
    ) -> Result<Self, LeaseError> {
        let pool = NativePool::attach(stream, options, info)?;
        Ok(Self { pool, total: units.total(), factor: units.factor(), fresh: info.config.is_fresh() })
    }
}

/// Refuses a stream that is a governor's.
pub(super) fn check_kind(name: &GovernorName, info: &StreamInfo) -> Result<(), LeaseError> {
    if GovernorKind::of(&info.config) == GovernorKind::Capacity {
        return Ok(());
    }
    let context = format!("there is no capacity {name}, but a governor of that name");
    Err(LeaseError::new(LeaseErrorKind::NotFound, context))
}
