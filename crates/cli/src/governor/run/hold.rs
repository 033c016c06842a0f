use serde::Serialize;
use sluicegate_core::LossCause;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::obtain::Wish;
use super::voice::Voice;
use super::{listen, take};
use crate::Failure;
use crate::code::Code;
use crate::cx::Cx;
use crate::error::CliError;
use crate::governor::args::{HoldArgs, OnLost, Unreachable};
use crate::output::{self, Cell, Column, Format, Grid, Kind};

/// `sluicegate.v1.governor_hold`
#[derive(Debug, Serialize)]
struct Document<'a> {
    r#type: &'static str,
    governor: &'a str,
    slot: u64,
    token: u64,
    epoch: u64,
    deadline: &'a str,
}

const LINE: [Column; 3] = [
    Column { key: "slot", title: "Slot", kind: Kind::Id },
    Column { key: "token", title: "Token", kind: Kind::Id },
    Column { key: "deadline", title: "Deadline", kind: Kind::Text },
];

/// Why it is held no longer.
enum End {
    Closed,
    Signal(u8),
    Lost(LossCause),
}

pub(crate) async fn hold(cx: &Cx<'_>, args: &HoldArgs) -> Result<u8, Failure> {
    let begun = Instant::now();
    if args.slot.if_unreachable == Unreachable::Run {
        let message = "--if-unreachable run: without a slot there is nothing to hold";
        return Err(CliError::new(Code::Usage, message).help("wait or fail").into());
    }
    let voice = Voice::new(cx.output, &args.name, "");
    let mut signals = listen()?;
    let wish = Wish { verb: "hold", name: &args.name, args: &args.slot, margin: None, begun };
    let held = take(cx, &wish, &voice, &mut signals).await?;
    voice.acquired(held.slot.id(), begun.elapsed(), held.slot.ttl());
    let shown = show(cx, &args.name, &held.slot.told());
    let end = match &shown {
        Err(_) => End::Closed,
        Ok(()) => tokio::select! {
            biased;
            cause = held.slot.lost() => End::Lost(cause),
            signal = signals.next_end() => End::Signal(signal),
            () = closed() => End::Closed,
        },
    };
    if let End::Lost(cause) = end {
        voice.lost(cause, OnLost::Warn);
    }
    held.give_back(&voice, None, &mut signals).await;
    shown?;
    match end {
        End::Closed => Ok(0),
        End::Signal(signal) => Ok(128 + signal),
        End::Lost(cause) => {
            let message = format!("lease of governor {} lost ({cause})", args.name);
            Err(CliError::new(Code::LeaseLost, message).help("stop the work that it protected").into())
        }
    }
}

/// Completes when nobody holds the other end of stdin any more.
async fn closed() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 1024];
    // An error is as good as the end.
    while stdin.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

fn show(cx: &Cx<'_>, governor: &str, told: &super::environment::Told) -> Result<(), Failure> {
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(&Document {
            r#type: "sluicegate.v1.governor_hold",
            governor,
            slot: told.slot,
            token: told.token,
            epoch: told.epoch,
            deadline: &told.deadline,
        })?,
        Format::Tsv | Format::Table => {
            let row = vec![Cell::id(told.slot), Cell::id(told.token), Cell::text(&told.deadline)];
            Grid::new(&LINE, vec![row]).tsv(cx.output.header)
        }
    };
    Ok(output::print(&text)?)
}
