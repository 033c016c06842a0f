use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{HeldLease, LeaseError, LeasePoolAdmin};

use crate::handle::Handle;
use crate::pool::Facts;
use crate::wire::{StoredConfig, StoredMessage};
use crate::{GovernorConfig, GovernorName, Wire};

/// One of the two ways of keeping leases in a stream: everything in which they differ, except for what goes over the
/// wire to take, renew and release a lease.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) wire: Wire,
    /// The stream of the governor of that name.
    pub(crate) stream: fn(&GovernorName) -> String,
    /// Whether such a governor can be made on that version of the server.
    pub(crate) check: fn(&GovernorConfig, &str) -> Result<(), LeaseError>,
    /// A new stream, with that seed and of that incarnation.
    pub(crate) fresh: fn(&GovernorConfig, Option<u64>, &str) -> StoredConfig,
    /// Fields in which a stream that exists has to be like a new one, besides subject and replicas if they are given.
    pub(crate) essential: &'static [&'static str],
    /// Of these and of the metadata, the ones that `ensure` changes.
    pub(crate) changeable: &'static [&'static str],
    /// The field with the time to live of a lease.
    pub(crate) ttl_field: &'static str,
    pub(crate) ttl: fn(&StoredConfig) -> Option<Duration>,
    pub(crate) set_ttl: fn(&mut StoredConfig, Duration),
    pub(crate) check_ttl: fn(Duration) -> Result<(), LeaseError>,
    /// What workers need to know, if the stream is such that they can work.
    pub(crate) read: fn(&StoredConfig) -> Result<Facts, LeaseError>,
    /// The leases that these messages are, oldest first; with each message goes its age.
    pub(crate) held: fn(&[(StoredMessage, Duration)]) -> Vec<HeldLease>,
    /// The pool of that handle.
    pub(crate) pool: fn(Arc<Handle>) -> Arc<dyn LeasePoolAdmin>,
    pub(crate) renewable: bool,
    /// A changed time to live changes that of held leases.
    pub(crate) ttl_applies_to_held: bool,
    /// How late the server may expire a message.
    pub(crate) expiry_grain: Duration,
}

impl Protocol {
    /// The name of the governor whose stream that is.
    pub(crate) fn name_of<'a>(&self, stream: &'a str) -> &'a str {
        stream.split_once('_').map_or(stream, |(_, name)| name)
    }
}

/// The protocol of that wire.
pub(crate) fn of(wire: Wire) -> &'static Protocol {
    match wire {
        Wire::Campaign => &crate::campaign::PROTOCOL,
        Wire::Native => &crate::native::PROTOCOL,
    }
}
