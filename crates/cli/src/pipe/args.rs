//! The grammar of `sluicegate pipe`.

#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "these comments are help texts: brackets are tags"
)]

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sluicegate_core::HumanDuration;

use super::choice::{Cost, MsgId, Pointer, Target};
use crate::code::Code;
use crate::error::CliError;
use crate::units::{PerSecond, Size};

/// Batches a byte stream: from stdin to stdout, a subject, a stream or a command [impact:rw]
///
/// Reads items, puts them into batches, keeps them under a rate, and delivers them. Every item that was read ends
/// delivered, in the --dead-letter file, or reported: the exit code is 0 only if all of them were delivered.
///
/// stdout: one JSON array a batch, on a line; needs no server. Items that are no UTF-8 cannot stand there.
///
/// nats:SUBJECT: one message an item, without acknowledgement. Delivered means that the server has taken it, not that
/// anybody received it.
///
/// stream:NAME[/SUBJECT]: one message an item, each acknowledged by the stream; what becomes of an item is its own
/// affair. The subject may be left away where the stream has only one. A message id makes an item that is tried again
/// be stored once; with --msg-id what the stream has already counts as delivered. A stream that is full is waited for.
///
/// exec:CMD: runs a command for each batch, the items on its stdin, each ended as in the input. Words are split as a
/// shell splits them, but there is no shell unless it is the command. Exit 0 means delivered, 75 try later: that does
/// not count as an attempt; any other exit fails the whole batch. Its stdout and stderr are ours; it does not get NATS
/// credentials that stand in our environment in clear.
///
/// What failed is tried again, at most --retries times, with pauses of 100ms, 200ms and so on up to --retry-max. With
/// --key items of the same key are delivered one after the other, in the order of the input, also when one of them has
/// to be tried again: those behind it wait, as do other keys that share its lane (there are --concurrency lanes).
/// Without --key order is kept as long as nothing fails, with one batch at a time.
///
/// Reading stops while --max-buffer is full. INT ends reading, settles what was read, and exits 130; TERM and HUP do
/// the same and exit 0. A second signal abandons what is left, reports it, and exits 1; what was on its way may have
/// arrived.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 everything was delivered; 1 something was not, stderr says how much and where it is;
74 NATS unreachable, 77 not permitted, 78 configuration, 126 and 127 a command that cannot be run,
130 interrupted, 141 nobody reads stdout any more.

Examples:
  seq 1e5 | sluicegate pipe --to stream:EVENTS --linger 20ms
  tail -F app.log | sluicegate pipe --to nats:logs.app --rate 1000/s
  sluicegate pipe --to exec:./load --capacity store < rows.txt      with others, within 10,000/s together
  sluicegate pipe --input ndjson --key json:/user/id --to stream:USERS/users.in < users.ndjson
  sluicegate pipe --to \"exec:curl -sSf --data-binary @- https://example.org/bulk\" --dead-letter failed.txt < items.txt
  sluicegate pipe --to \"exec:sh -c 'gzip >> items.gz'\" < failed.txt      a dead-letter file can be fed again"
)]
pub(crate) struct PipeArgs {
    /// Where items go: stdout, nats:SUBJECT, stream:NAME[/SUBJECT], exec:CMD.
    #[arg(long, value_name = "TARGET", default_value = "stdout")]
    pub(crate) to: Target,
    /// What an item is.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "lines")]
    pub(crate) input: Input,
    /// Most items in a batch.
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) max_items: NonZeroUsize,
    /// Most bytes in a batch, and so in an item: a larger one cannot be delivered.
    #[arg(long, value_name = "SIZE", default_value = "1MB")]
    pub(crate) max_bytes: Size,
    /// Longest wait of an item for others to fill its batch; 0 does not wait.
    #[arg(long, value_name = "DURATION", default_value = "50ms")]
    pub(crate) linger: HumanDuration,
    /// How many batches at a time.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) concurrency: NonZeroUsize,
    /// Most cost a second, in any second; a burst has at most what --linger gives (10ms to 100ms). Also N/m, N/h.
    #[arg(long, value_name = "N/s", group = "limit")]
    pub(crate) rate: Option<PerSecond>,
    /// A rate that is shared with other processes: `sluicegate capacity add NAME` makes one. Needs a server.
    #[arg(long, value_name = "NAME", group = "limit")]
    pub(crate) capacity: Option<String>,
    /// What an item costs of the rate: a number, `bytes`, or json:/POINTER to a number in it [default: 1]
    #[arg(long, value_name = "COST", requires = "limit")]
    pub(crate) cost: Option<Cost>,
    /// Keeps the order of items for which that is the same: json:/POINTER into the item.
    #[arg(long, value_name = "json:/POINTER")]
    pub(crate) key: Option<Pointer>,
    /// Message id, by which the stream knows an item that it has: none, hash (of the item), json:/POINTER.
    #[arg(long, value_name = "ID", default_value = "none")]
    pub(crate) msg_id: MsgId,
    /// How often an item that failed is tried again.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) retries: u32,
    /// Longest pause before an item is tried again.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) retry_max: HumanDuration,
    /// Appends what cannot be delivered to that file, as it came in, to be fed again; reasons go to stderr.
    #[arg(long, value_name = "FILE")]
    pub(crate) dead_letter: Option<PathBuf>,
    /// Most bytes of items that were read and are not settled; no more is read then.
    #[arg(long, value_name = "SIZE", default_value = "64MB")]
    pub(crate) max_buffer: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Input {
    /// A line, without its end.
    Lines,
    /// What ends with a NUL byte.
    Nul,
    /// A line that is a JSON document; blank lines are none.
    Ndjson,
}

impl Input {
    /// What ends an item.
    pub(crate) fn delimiter(self) -> u8 {
        match self {
            Self::Lines | Self::Ndjson => b'\n',
            Self::Nul => 0,
        }
    }

    /// What the number of an item counts.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Lines | Self::Ndjson => "line",
            Self::Nul => "item",
        }
    }
}

impl PipeArgs {
    /// Checks what the grammar cannot.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        let wrong = |message: String, help: &str| Err(CliError::new(Code::Usage, message).help(help));
        if self.max_bytes.0 == 0 || self.max_bytes.0 > u64::from(u32::MAX / 2) {
            return wrong("--max-bytes is from 1 to 2GB".to_owned(), "choose a size in between");
        }
        if self.max_buffer < self.max_bytes {
            let message =
                format!("--max-buffer {} is less than --max-bytes {}", self.max_buffer, self.max_bytes);
            return wrong(message, "the buffer must have room for a batch");
        }
        if self.msg_id != MsgId::None && !matches!(self.to, Target::Stream { .. }) {
            return wrong("--msg-id works with --to stream:NAME only".to_owned(), "leave --msg-id away");
        }
        if self.cost == Some(Cost::Each(0)) {
            return wrong("--cost 0 needs no rate".to_owned(), "leave --rate, --capacity and --cost away");
        }
        Ok(())
    }

    /// How often an item may be tried.
    pub(crate) fn attempts(&self) -> u32 {
        self.retries.saturating_add(1)
    }
}
