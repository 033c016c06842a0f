//! Real servers for tests: started in milliseconds, killed with the test, and everything in between.

mod error;
mod info;
mod locate;
mod nats;
mod pins;
mod process;
mod provision;
mod spawn;
mod unit;
mod workdir;

pub use error::{ServerError, ServerErrorKind};
pub use locate::{Found, find};
pub use nats::{NatsServer, NatsServerBuilder};
pub use pins::{NATS_OLDER_VERSIONS, NATS_VERSION, Program, STAN_VERSION};
