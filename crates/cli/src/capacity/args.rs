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
#[command(about = "How fast: a rate that processes share, without a daemon")]
#[command(long_about = "How fast: a rate that processes share, without a daemon.

A capacity is N units a second, kept as leases of F units a second each, in one JetStream stream. Each process leases \
as many as it needs and can get, renews them, and gives them back; what a process that has died held is free again \
after the time to live. All of them together never spend more than N. Programs share it with the crate \
sluicegate-batcher, shells with `sluicegate pipe --capacity NAME`. Needs nats-server 2.11.")]
#[command(after_long_help = "Examples:
  sluicegate capacity add store --total 10000 --factor 500     20 leases of 500/s
  sluicegate capacity ls                                       which there are, and how much of them is held
  sluicegate capacity view store                               who holds how much
  sluicegate pipe --to stream:EVENTS --capacity store < events

It is a native governor whose leases are worth something: `sluicegate governor view NAME` shows its single leases, and
`evict` ends them.")]
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
    /// Ends every lease; the holders are told [impact:rw]
    Reset(NameArgs),
    /// Removes a capacity; the holders are told, and are left with what they have reserved [impact:rw]
    #[command(visible_alias = "delete")]
    Rm(NameArgs),
}

/// A capacity's name, for the verbs that need no more.
#[derive(Args, Debug)]
#[command(after_help = "Asks on a terminal; elsewhere it needs --force.")]
pub(crate) struct NameArgs {
    /// Which capacity.
    pub(crate) name: String,
}

/// Makes a capacity of so many units a second, in leases of FACTOR units a second [impact:rw]
///
/// One that exists and is the same is left as it is; one that differs is `already_exists` (exit 1), with each field as
/// `have → want`, unless --ensure or --force is given. What is beyond a multiple of the factor is not used.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate capacity add store --total 10000 --factor 500
  sluicegate capacity add store --total 10000 --factor 500 --replicas 3 --ttl 30s
  sluicegate capacity add store --total 20000 --factor 500 --ensure --json | jq .changed")]
pub(crate) struct AddArgs {
    /// Name: 1 to 200 bytes, without `.`, `*`, `>`, `/`, `\` and white space.
    pub(crate) name: String,
    /// Units a second that all processes together may spend.
    #[arg(long, value_name = "N")]
    pub(crate) total: u64,
    /// Units a second that one lease is worth [default: a twentieth of the total]
    #[arg(long, value_name = "F")]
    pub(crate) factor: Option<u64>,
    /// How long a lease lasts that is not renewed, in whole seconds: as long the part of a dead process is idle.
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
        self.factor.unwrap_or_else(|| self.total.div_ceil(20))
    }
}

/// Changes total, factor, time to live or replicas, and nothing else [impact:rw]
///
/// Leases that are held stay held. Fewer leases evict nobody: holders keep what they have for as long as they need it,
/// and no more are given until enough came back. Another factor is refused while leases are held, unless it is forced:
/// their holders go on to count the old one.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate capacity edit store --total 20000
  sluicegate capacity edit store --ttl 30s --replicas 3")]
pub(crate) struct EditArgs {
    /// Which capacity.
    pub(crate) name: String,
    /// Units a second that all processes together may spend.
    #[arg(long, value_name = "N")]
    pub(crate) total: Option<u64>,
    /// Units a second that one lease is worth.
    #[arg(long, value_name = "F")]
    pub(crate) factor: Option<u64>,
    /// How long a lease lasts that is not renewed.
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<HumanDuration>,
    /// Copies in the cluster, 1 to 5.
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<NonZeroU8>,
}

/// Which capacities there are, and how much of them is held [impact:ro]
#[derive(Args, Debug)]
#[command(after_help = "Columns: name total factor leases held held_units holders ttl_seconds

Examples:
  sluicegate capacity ls
  sluicegate capacity ls --json | jq '.capacities[] | select(.held == .leases)'")]
pub(crate) struct LsArgs {}

/// One capacity, and who holds how much of it [impact:ro]
#[derive(Args, Debug)]
#[command(after_help = "Rows: holder leases units oldest_age_seconds

Examples:
  sluicegate capacity view store
  sluicegate capacity view store --json | jq '.parts[].units'")]
pub(crate) struct ViewArgs {
    /// Which capacity.
    pub(crate) name: String,
}
