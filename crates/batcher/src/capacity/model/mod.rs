//! Many processes and one pool, as small machines in virtual time. What they decide is decided by the same pure
//! pieces that the driver and the engine use.

mod guarantee;
mod pool;
mod process;
mod world;
mod yielding;
