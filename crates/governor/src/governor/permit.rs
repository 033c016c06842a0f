use std::ops::Deref;

use super::error::ReleaseError;
use super::grant::Grant;
use super::held::{Held, Settled};

/// A slot, held until it is released or dropped; see [`Grant`] for what it gives.
///
/// Dropping it gives the slot back in the background, for as long as the lease would have lasted; only the end of
/// the runtime leaves that to the server. To know that it happened, await [`release`](Self::release).
#[derive(Debug)]
#[must_use = "dropping a permit gives its slot back"]
pub struct Permit {
    grant: Grant,
    held: Held,
}

/// What became of a slot that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Released {
    /// It is free.
    Freed,
    /// It was no longer ours: expired, evicted or reset.
    Gone,
    /// It returns with its time to live ([`keep_on_finish`](super::GovernorBuilder::keep_on_finish)).
    Kept,
    /// It went to the next one who waits in this process ([`Cohort`](super::Cohort)).
    HandedOn,
}

impl Permit {
    pub(super) fn new(grant: Grant, held: Held) -> Self {
        Self { grant, held }
    }

    /// Gives the slot back.
    ///
    /// # Errors
    /// The server did not confirm it. The error has the permit: release it again, or drop it, which goes on in the
    /// background.
    ///
    /// # Cancel safety
    /// A dropped call goes on in the background.
    pub async fn release(mut self) -> Result<Released, ReleaseError> {
        match self.held.settle() {
            Some(Settled::Kept) => return Ok(Released::Kept),
            Some(Settled::HandedOn) => return Ok(Released::HandedOn),
            None => {}
        }
        match self.held.release().await {
            Ok(true) => Ok(Released::Freed),
            Ok(false) => Ok(Released::Gone),
            Err(source) => Err(ReleaseError::new(self, source)),
        }
    }

    /// Does not give the slot back: it returns with its time to live, and is not renewed any more.
    pub fn keep(mut self) {
        self.held.keep();
    }
}

impl Deref for Permit {
    type Target = Grant;

    fn deref(&self) -> &Grant {
        &self.grant
    }
}
