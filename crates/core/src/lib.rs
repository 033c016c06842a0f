#![doc = include_str!("../README.md")]

mod duration;
mod error;
mod event;
mod holder;
mod lease;
mod memory;
mod pool;
mod pool_ext;
mod random;
mod wait;

pub use duration::{HumanDuration, ParseDurationError, human, human_option, later};
pub use error::{LeaseError, LeaseErrorKind};
pub use event::{Ignore, Observer};
pub use holder::{Holder, HolderError};
pub use lease::{FencingToken, HeldLease, Incarnation, Lease, LeaseId, LossCause, Request};
pub use memory::{MemoryPool, MemoryPoolBuilder};
pub use pool::{LeasePool, LeasePoolAdmin, PoolDescription};
pub use pool_ext::{LeasePoolExt, Wait};
pub use random::Random;
pub use wait::WaitQueue;
