//! Several batchers share one rate by leases, and together never exceed it.
//!
//! ```console
//! $ cargo run -p sluicegate-examples --bin shared-rate      # in one process, needs no server
//! ```
//!
//! Three batchers share 1,000 units a second; each may hold a third of the leases, rounded up. The pool is in memory,
//! and each batcher has a handle of its own. Watch the sum: in no second is it above 1,012, which is the rate and what
//! all leases together may burst.
//!
//! ```console
//! $ cargo xtask up                                                      # in another terminal
//! $ cargo run -p sluicegate-examples --bin shared-rate -- --processes 4 --plot rate.svg --server nats://127.0.0.1:4222
//! ```
//!
//! The same with processes, whose leases are in a stream on a NATS server. One of them starts late, another one is
//! killed: its part of the rate is taken over when its leases have expired. The parent is the datastore: it notes each
//! batch when it arrives, draws who took what, and prints the largest second beside what is allowed.

#![allow(clippy::print_stdout, reason = "an example prints")]

mod arrivals;
mod child;
mod memory;
mod parent;
mod plot;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;

/// Batchers that share one rate
#[derive(Debug, Parser)]
struct Flags {
    /// As so many processes, from 3 to 8, over a NATS server; default: all in one, over a pool in memory
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=8))]
    processes: Option<u32>,
    /// How long they run
    #[arg(long, value_name = "SECONDS", default_value_t = 12, value_parser = clap::value_parser!(u64).range(4..))]
    seconds: u64,
    /// Where to draw what each took, as SVG
    #[arg(long, value_name = "FILE", requires = "processes")]
    plot: Option<PathBuf>,
    /// Where to write what arrived when, as CSV
    #[arg(long, value_name = "FILE", requires = "processes")]
    record: Option<PathBuf>,
    /// The NATS server
    #[arg(long, value_name = "URL", env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    server: String,
    /// This process is one of them: its name, and the pool
    #[arg(long, hide = true, num_args = 2)]
    child: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    if let ([name, pool], Some(processes)) = (&flags.child[..], flags.processes) {
        return child::run(&flags.server, pool, name, processes).await;
    }
    match flags.processes {
        None => memory::run().await,
        Some(processes) => parent::run(&flags, processes).await,
    }
}
