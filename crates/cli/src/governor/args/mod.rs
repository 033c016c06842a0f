//! The grammar of `sluicegate governor`.

#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "these comments are help texts: brackets are tags"
)]

mod api;
mod manage;
mod work;

use clap::{Args, Subcommand};

pub(crate) use self::api::ApiArgs;
pub(crate) use self::manage::{AddArgs, EditArgs, EvictArgs, LsArgs, NameArgs, ViewArgs, WireArg};
pub(crate) use self::work::{HoldArgs, OnLost, RunArgs, SlotArgs, Unreachable, WaitArgs};

#[derive(Args, Debug)]
#[command(about = "Who may work: at most N at a time, anywhere on a NATS network")]
#[command(long_about = "A lease is advisory unless the resource it protects checks the fencing token.

A governor lets at most N workers, anywhere on a NATS network, do a thing at the same time: a counting semaphore with \
slots that expire, kept in one JetStream stream. Workers of choria share it (--wire campaign, the default); native \
governors need nats-server 2.11, and renew their leases.")]
#[command(after_long_help = "Examples:
  sluicegate governor add nightly 10 1h            ten at a time, each for an hour at most
  sluicegate governor run nightly ./backup.sh      wait for a slot, run, give it back
  sluicegate governor ls                           which there are, and how full they are
  sluicegate governor view nightly                 who holds a slot, and since when
  sluicegate governor ls | awk -F'\\t' '$4>=$3{print $1}'    the full ones

What differs from choria: waiting is driven by events, first come first served in a process; the slot stays taken
until the work is gone; a slot that was not to be had is exit 75, also with --max-per-period; TERM is handled; a
command's arguments reach it as they are; ls finds every governor; everything speaks JSON.")]
pub(crate) struct GovernorArgs {
    #[command(subcommand)]
    pub(crate) command: GovernorCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GovernorCommand {
    Add(AddArgs),
    Edit(EditArgs),
    Ls(LsArgs),
    #[command(visible_aliases = ["info", "show"], aliases = ["v", "s"])]
    View(ViewArgs),
    Run(RunArgs),
    Hold(HoldArgs),
    Wait(WaitArgs),
    Evict(EvictArgs),
    /// Ends every lease; the holders are told [impact:rw]
    Reset(NameArgs),
    /// Removes a governor; the holders are told [impact:rw]
    #[command(visible_alias = "delete")]
    Rm(NameArgs),
    #[command(hide = true)]
    Api(ApiArgs),
}
