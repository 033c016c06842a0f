//! Real servers for tests: started in milliseconds, killed with the test, and everything in between.

mod cluster;
#[cfg(feature = "container")]
mod container;
mod error;
mod info;
mod locate;
mod nats;
mod pins;
mod process;
mod provision;
mod proxy;
mod spawn;
mod stan;
mod unit;
mod workdir;

pub use cluster::Cluster;
#[cfg(feature = "container")]
pub use container::{ensure_image, remove_abandoned_containers};
pub use error::{ServerError, ServerErrorKind};
pub use locate::{Found, find};
pub use nats::{NatsServer, NatsServerBuilder};
pub use pins::{NATS_OLDER_VERSIONS, NATS_VERSION, Program, STAN_VERSION};
pub use proxy::{Direction, Fault, Proxy};
pub use stan::{StanServer, StanServerBuilder, StanStore};
