use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use sluicegate_core::{LeaseError, LeaseErrorKind, LeasePool};
use sluicegate_nats::Connection;

use super::config::stream as stream_of;
use super::pool::check_kind;
use super::{CapacityConfig, CapacityEdit, GovernorKind, Units};
use crate::{Filter, Force, GovernorAdmin, GovernorName, GovernorView, Wire};

/// How many capacities are looked at at the same time.
const AT_ONCE: usize = 4;

/// One capacity, for those who look after it.
///
/// A clone is the same capacity. What a capacity has in common with other native governors is done through
/// [`governor`](Self::governor): view, watch, evict, reset, delete. Reading needs the right to
/// `STREAM.INFO`, `NAMES`, `LIST` and `MSG.GET`, and changes nothing.
#[derive(Clone, Debug)]
pub struct CapacityAdmin(GovernorAdmin);

impl CapacityAdmin {
    /// The capacity of that name. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` if there is none of that name (also if there is a governor), `Invalid` for the name,
    /// `NotPermitted`, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn bind(connection: &Connection, name: impl AsRef<str>) -> Result<Self, LeaseError> {
        let name = name.as_ref();
        match GovernorAdmin::bind_on(connection, name, Wire::Native).await {
            Ok(governor) => {
                check_kind(governor.name(), &governor.seen())?;
                Ok(Self(governor))
            }
            Err(error) if error.kind() == LeaseErrorKind::NotFound => {
                let context = format!("unknown capacity: there is no stream GOVERNOR2_{name}");
                Err(LeaseError::new(LeaseErrorKind::NotFound, context).with_source(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the capacity, or finds it exactly so. One that is made so is [fresh](Self::is_fresh): the caller says that
    /// there was none of that name a moment ago, which some process might still believe in.
    ///
    /// # Errors
    /// `Conflict` if there is one that differs, naming each field as `have → want`, or a governor of that name on
    /// either wire: nothing is changed then. `Invalid`, `NotPermitted`, `Misconfigured`, `Unsupported` (before
    /// nats-server 2.11), `Transient`, `Unknown` (repeat: creating is idempotent).
    pub async fn create(connection: &Connection, config: &CapacityConfig) -> Result<Self, LeaseError> {
        GovernorAdmin::create_as(connection, stream_of(&config.wanted()?, true)).await.map(Self)
    }

    /// Makes the capacity, or changes total, factor, ttl and replicas to what is wanted; and whether it had to.
    /// Nothing is written if all is so already. Fewer leases than are held evict nobody.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Conflict` also for another factor while leases are held, which
    /// [`edit`](Self::edit) changes by force.
    pub async fn ensure(
        connection: &Connection,
        config: &CapacityConfig,
    ) -> Result<(Self, bool), LeaseError> {
        let (governor, changed) =
            GovernorAdmin::ensure_as(connection, stream_of(&config.wanted()?, false)).await?;
        Ok((Self(governor), changed))
    }

    /// The capacities of the account, sorted by name, each with its holders as
    /// [`view`](GovernorAdmin::view) shows them. A stream that cannot be looked at is left out, with a log record:
    /// what it is cannot be told.
    ///
    /// # Errors
    /// `NotPermitted` if neither `STREAM.LIST` nor `STREAM.NAMES` is allowed, `Transient`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn list(connection: &Connection) -> Result<Vec<GovernorView>, LeaseError> {
        let mut names = Vec::new();
        for found in GovernorAdmin::list(connection, &Filter::all()).await? {
            match found.kind {
                Some(GovernorKind::Capacity) if found.wire == Wire::Native => {
                    names.extend(GovernorName::try_new(found.name));
                }
                None if found.wire == Wire::Native => {
                    tracing::warn!(stream = found.stream, "may be a capacity, and cannot be looked at");
                }
                _ => {}
            }
        }
        let views = stream::iter(names).map(|name| async move {
            // Gone since, or made anew as something else: it is not listed.
            match Self::bind(connection, name.as_str()).await {
                Ok(Self(governor)) => governor.view_of(&governor.seen()).await.map(Some),
                Err(error) if error.kind() == LeaseErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        let views: Vec<Option<GovernorView>> = views.buffered(AT_ONCE).try_collect().await?;
        Ok(views.into_iter().flatten().collect())
    }

    /// Its name.
    pub fn name(&self) -> &GovernorName {
        self.0.name()
    }

    /// The native governor that it is.
    pub fn governor(&self) -> &GovernorAdmin {
        &self.0
    }

    /// Total and factor as they were last read; none if its metadata does not say.
    pub fn units(&self) -> Option<Units> {
        Units::read(&self.0.seen().config)
    }

    /// Whoever made it said that its name was new, so it may be used from the beginning. One that `ensure` has made
    /// again is not: processes may believe in leases of the one before for one time to live.
    pub fn is_fresh(&self) -> bool {
        self.0.seen().config.is_fresh()
    }

    /// A handle of its pool, for those who spend it: the same one at each call. [`CapacityPool`](crate::CapacityPool)
    /// is that, and what its leases are worth, in one call.
    ///
    /// # Errors
    /// `Misconfigured`, naming the reason, if no worker could use it.
    pub fn pool(&self) -> Result<Arc<dyn LeasePool>, LeaseError> {
        self.0.pool()
    }

    /// Changes what is named, in one write. Fewer leases than are held evict nobody.
    ///
    /// Holders multiply by the factor that they read when they began, so another one while leases are held lets all
    /// together spend more than the total, until they have begun anew: it has to be forced. A lease that is taken
    /// between reading and writing is not seen.
    ///
    /// # Errors
    /// `Conflict` for another factor while leases are held, if it is not forced; `Invalid`, with the
    /// [`UnitsError`](crate::UnitsError) as its source, if there cannot be such parts, and for a ttl or a number of
    /// replicas that cannot be; `NotFound`, `NotPermitted`, `Transient`, `Unknown` (repeat: the call is idempotent).
    pub async fn edit(&self, edit: &CapacityEdit, force: Force) -> Result<(), LeaseError> {
        if let Some(info) = self.0.manage_native().edit(edit, force).await? {
            self.0.saw(&info);
        }
        Ok(())
    }
}
