//! The grammar of `sluicegate capacity`.

#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "these comments are help texts: brackets are tags"
)]

use std::num::NonZeroU8;

use clap::{Args, Subcommand};
use sluicegate_core::HumanDuration;

#[derive(Args, Debug)]
#[command(about = "How fast: a rate of N units a second, shared by processes")]
#[command(long_about = "How fast: a rate of N units a second, shared by processes.

A capacity is N units/s as ⌊N/F⌋ leases of F units/s each, at most 500, kept in one JetStream stream. A process takes \
as many leases as it needs, renews them, spends F units/s for each, and gives them back; so all together never spend \
more than N. What a unit is, a request, a token, a byte, is between those who share it. Programs share it with the crate \
sluicegate-batcher, shells with `sluicegate pipe --capacity NAME`. Needs nats-server 2.11.

It is also a native governor of that name: `governor view`, `evict` and `run` work on it, and say what it is.")]
#[command(after_long_help = "Examples:
  sluicegate capacity add store --total 10000 --factor 500     10,000 units/s in 20 leases of 500
  sluicegate capacity view store                               who has how much of it
  sluicegate capacity edit store --total 20000                 40 leases of 500 from now on
  sluicegate pipe --to stream:EVENTS --capacity store < events
  sluicegate capacity ls | awk -F'\\t' '$5>=$4{print $1}'       those of which nothing is left")]
pub(crate) struct CapacityArgs {
    #[command(subcommand)]
    pub(crate) command: CapacityCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CapacityCommand {
    Add(AddArgs),
    #[command(visible_alias = "set")]
    Edit(EditArgs),
    Ls(LsArgs),
    #[command(visible_aliases = ["info", "show"])]
    View(ViewArgs),
    /// Ends every lease; the holders are told, and take others [impact:rw]
    #[command(after_help = "Asks on a terminal; elsewhere it needs --force.

Examples:
  sluicegate capacity reset store --force")]
    Reset(NameArgs),
    /// Removes a capacity; the holders are told [impact:rw]
    #[command(visible_alias = "delete")]
    #[command(after_help = "Asks on a terminal; elsewhere it needs --force.

Examples:
  sluicegate capacity rm store --force")]
    Rm(NameArgs),
}

/// A capacity's name, for the verbs that need no more.
#[derive(Args, Debug)]
pub(crate) struct NameArgs {
    /// Which capacity.
    pub(crate) name: String,
}

/// Makes a capacity: TOTAL units a second in leases of FACTOR [impact:rw]
///
/// TOTAL is rounded down to whole leases, of which there are 500 at most. A large FACTOR costs fewer requests (three a
/// lease in its time to live), a small one shares more evenly.
///
/// One that exists and is the same is left as it is. One that differs is shown field by field, as `have → want`: on a
/// terminal it is then asked for, elsewhere it is `already_exists` (exit 1), unless --ensure or --force is given.
/// Another factor while leases are held needs --force. Shrinking it evicts nobody.
///
/// That it is new is said by plain `add`: one that --ensure has made may have been lost, with leases that are still
/// believed in, so it is not used until its time to live has passed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate capacity add store --total 10000 --factor 500
  sluicegate capacity add store --total 10000 --factor 500 --ttl 30s --replicas 3
  sluicegate capacity add store --total 10000 --factor 500 --ensure --json | jq .changed")]
pub(crate) struct AddArgs {
    /// Name: 1 to 200 bytes, without `.`, `*`, `>`, `/`, `\` and white space.
    pub(crate) name: String,
    /// Units a second in all.
    #[arg(long, value_name = "N")]
    pub(crate) total: u64,
    /// Units a second of a lease [default: a twentieth of the total]
    #[arg(long, value_name = "F")]
    factor: Option<u64>,
    /// How long a lease lasts that is not renewed, in whole seconds: so long the part of a process that died is idle.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) ttl: HumanDuration,
    /// Copies in the cluster, 1 to 5 [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<NonZeroU8>,
    /// Makes it so whatever it was, and prints whether anything changed.
    #[arg(long)]
    pub(crate) ensure: bool,
}

impl AddArgs {
    pub(crate) fn factor(&self) -> u64 {
        self.factor.unwrap_or_else(|| self.total.div_ceil(20).max(1))
    }
}

/// Changes total, factor, time to live or replicas, and nothing else [impact:rw]
///
/// The stored configuration is read, changed, written and compared. Fewer leases than are held evict nobody: there is
/// no new one until enough are released. Holders multiply by the factor that they read when they began: another one
/// while leases are held lets all together spend more than the total, so it asks on a terminal, and needs --force
/// elsewhere.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate capacity edit store --total 20000
  sluicegate capacity edit store --total 20000 --factor 1000 --force
  sluicegate capacity set store --ttl 30s --replicas 3")]
pub(crate) struct EditArgs {
    /// Which capacity.
    pub(crate) name: String,
    /// Units a second in all.
    #[arg(long, value_name = "N")]
    pub(crate) total: Option<u64>,
    /// Units a second of a lease.
    #[arg(long, value_name = "F")]
    pub(crate) factor: Option<u64>,
    /// How long a lease lasts that is not renewed, in whole seconds.
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<HumanDuration>,
    /// Copies in the cluster, 1 to 5.
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<NonZeroU8>,
}

/// Which capacities there are, and how much of them is taken [impact:ro]
#[derive(Args, Debug)]
#[command(after_help = "Columns: name total factor leases held held_units holders ttl_seconds

Examples:
  sluicegate capacity ls
  sluicegate capacity ls --names
  sluicegate capacity ls --json | jq '.capacities[] | select(.held == .leases)'")]
pub(crate) struct LsArgs {
    /// Names only, one a line.
    #[arg(short, long)]
    pub(crate) names: bool,
}

/// One capacity, and who has how much of it [impact:ro]
///
/// Configuration, use, warnings, and parts: holder, leases, units a second, and the age of the oldest lease (of those
/// that were renewed, since then). Never changes anything.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate capacity view store
  sluicegate capacity view store --json | jq '.parts[] | {holder, units}'
  sluicegate capacity view store --watch --format ndjson")]
pub(crate) struct ViewArgs {
    /// Which capacity.
    pub(crate) name: String,
    /// Then tells what changes: who acquired, released, expired, was evicted; and resizing.
    #[arg(long)]
    pub(crate) watch: bool,
}
