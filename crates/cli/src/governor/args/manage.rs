use std::num::{NonZeroU8, NonZeroU32};

use clap::{Args, ValueEnum};
use sluicegate_core::HumanDuration;

/// A governor's name, for the verbs that need no more.
#[derive(Args, Debug)]
#[command(after_help = "Asks on a terminal; elsewhere it needs --force.")]
pub(crate) struct NameArgs {
    /// Which governor.
    pub(crate) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WireArg {
    /// As choria's: shared with its workers; a lease ends with the time to live.
    Campaign,
    /// Leases are renewed for as long as the work lasts; nats-server 2.11 or newer.
    Native,
}

/// Makes a governor: CAPACITY slots, each of which returns after TTL at the latest [impact:rw]
///
/// One that exists and is the same is left as it is. One that differs is shown field by field, as `have → want`: on a
/// terminal it is then asked for, elsewhere it is `already_exists` (exit 1), unless --ensure or --force is given.
/// Shrinking it evicts nobody.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate governor add nightly 10 1h
  sluicegate governor add nightly 10 1h 3                       three replicas
  sluicegate governor add leader 1 10s --wire native            renewed leases
  sluicegate governor add nightly 10 1h --collective mcollective
  sluicegate governor add nightly 10 1h --ensure --json | jq .changed")]
pub(crate) struct AddArgs {
    /// Name: 1 to 200 bytes, without `.`, `*`, `>`, `/`, `\` and white space.
    pub(crate) name: String,
    /// How many leases at most.
    #[arg(required_unless_present = "capacity-flag")]
    capacity: Option<NonZeroU32>,
    /// How long a lease lasts that is not renewed: `250ms`, `90s`, `1h30m`.
    #[arg(required_unless_present = "ttl-flag")]
    ttl: Option<HumanDuration>,
    /// Copies in the cluster, 1 to 5 [default: 1]
    replicas: Option<NonZeroU8>,
    /// The same as CAPACITY.
    #[arg(id = "capacity-flag", long = "capacity", value_name = "N", conflicts_with = "capacity")]
    capacity_flag: Option<NonZeroU32>,
    /// The same as TTL.
    #[arg(id = "ttl-flag", long = "ttl", alias = "expire", value_name = "DURATION", conflicts_with = "ttl")]
    ttl_flag: Option<HumanDuration>,
    /// The same as REPLICAS.
    #[arg(id = "replicas-flag", long = "replicas", value_name = "N", conflicts_with = "replicas")]
    replicas_flag: Option<NonZeroU8>,
    /// How leases are kept.
    #[arg(long, value_enum, default_value = "campaign")]
    pub(crate) wire: WireArg,
    /// Subject on which workers campaign [default: $GOVERNOR.campaign.<NAME>]
    #[arg(long, conflicts_with = "collective")]
    pub(crate) subject: Option<String>,
    /// choria's subject of that collective: <C>.governor.<NAME>
    #[arg(long, value_name = "C")]
    pub(crate) collective: Option<String>,
    /// Makes it so whatever it was, and prints whether anything changed.
    #[arg(long)]
    pub(crate) ensure: bool,
}

impl AddArgs {
    pub(crate) fn capacity(&self) -> NonZeroU32 {
        self.capacity.or(self.capacity_flag).unwrap_or(NonZeroU32::MIN)
    }

    pub(crate) fn ttl(&self) -> HumanDuration {
        self.ttl.or(self.ttl_flag).unwrap_or_default()
    }

    pub(crate) fn replicas(&self) -> Option<NonZeroU8> {
        self.replicas.or(self.replicas_flag)
    }
}

/// Changes capacity, time to live, replicas or subject, and nothing else [impact:rw]
///
/// The stored configuration is read, changed, written and compared. Lowering the capacity evicts nobody; --drain then waits until no more are held than that. Moving the subject cuts
/// off workers that were told the old one, and lowering the time to live may end leases: both ask on a terminal, and
/// need --force elsewhere.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate governor edit nightly --capacity 20
  sluicegate governor edit nightly --capacity 5 --drain --max-wait 10m
  sluicegate governor edit nightly --ttl 2h --replicas 3")]
pub(crate) struct EditArgs {
    /// Which governor.
    pub(crate) name: String,
    /// How many leases at most.
    #[arg(long, value_name = "N")]
    pub(crate) capacity: Option<NonZeroU32>,
    /// How long a lease lasts that is not renewed.
    #[arg(long, alias = "expire", value_name = "DURATION")]
    pub(crate) ttl: Option<HumanDuration>,
    /// Copies in the cluster, 1 to 5.
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<NonZeroU8>,
    /// Subject on which workers campaign.
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Waits until no more leases are held than the capacity.
    #[arg(long)]
    pub(crate) drain: bool,
    /// Longest wait of --drain; then exit 75.
    #[arg(long, value_name = "DURATION", requires = "drain")]
    pub(crate) max_wait: Option<HumanDuration>,
}

/// Which governors there are, capacities included, whatever their wire, and how full they are [impact:ro]
#[derive(Args, Debug)]
#[command(
    after_help = "Columns: name wire capacity active free ttl_seconds oldest_age_seconds waiters replicas kind

Examples:
  sluicegate governor ls
  sluicegate governor ls --names
  sluicegate governor ls --json | jq '.governors[] | select(.free == 0)'"
)]
pub(crate) struct LsArgs {
    /// Names only, one a line.
    #[arg(short, long)]
    pub(crate) names: bool,
    /// Only those on choria's subjects of that collective.
    #[arg(long, value_name = "C")]
    pub(crate) collective: Option<String>,
}

/// One governor, and who holds its slots [impact:ro]
///
/// Configuration, use, warnings, and leases: id, token, holder, when acquired, age, and when it expires. Never changes
/// anything.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sluicegate governor view nightly
  sluicegate governor view nightly --json | jq '.leases[].holder'
  sluicegate governor view nightly --watch --format ndjson")]
pub(crate) struct ViewArgs {
    /// Which governor.
    pub(crate) name: String,
    /// Then tells what changes: who acquired, released, expired, was evicted; and resizing.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Ends leases of others, who are told: by id, or all whose holder matches [impact:rw]
#[derive(Args, Debug)]
#[command(after_help = "Asks on a terminal; elsewhere it needs --force. Exit 1 if an id was not held.

Examples:
  sluicegate governor evict nightly 1795309080033843
  sluicegate governor evict nightly --holder 'root@web07 *' --force")]
pub(crate) struct EvictArgs {
    /// Which governor.
    pub(crate) name: String,
    /// Leases, by id as `view` shows them.
    #[arg(required_unless_present = "holder", value_name = "ID")]
    pub(crate) ids: Vec<u64>,
    /// Every lease whose holder matches, with `*` and `?`.
    #[arg(long, value_name = "GLOB", conflicts_with = "ids")]
    pub(crate) holder: Option<String>,
}
