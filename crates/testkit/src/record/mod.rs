//! Writes the histories that [`check`](crate::check) reads.
//!
//! Worker processes write their lines to a [`Journal`], which is their standard output; who started them gathers the
//! lines in a [`Recorder`]. What workers do with their leases they do at a [`Resource`], which is a witness of its own:
//! it counts who is in, and refuses whoever comes with a token that is too small.

mod clock;
mod journal;
mod recorder;
mod resource;

pub use clock::{at, now};
pub use journal::Journal;
pub use recorder::Recorder;
pub use resource::{Resource, Visitor};
