//! What the batcher costs beside bare channels, beside a crate for batching and one for rate limits, in turns on one
//! runtime; and whether it keeps what it promises.
//!
//! `--quick` shortens everything; a name, or a part of one, selects.
#![allow(missing_docs, clippy::print_stderr, clippy::unwrap_used)]

mod batchers;
mod drain;
mod floors;
mod idle;
mod latency;
mod limiter;
mod rate;
mod result;
mod throughput;

use std::time::Duration;

use sluicegate_testkit::figures::Figures;

/// How much time there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) quick: bool,
}

impl Effort {
    pub(crate) fn rounds(self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// An eighth of it in a quick run.
    pub(crate) fn part(self, full: usize) -> usize {
        if self.quick { full / 8 } else { full }
    }

    pub(crate) fn time(self, full: Duration) -> Duration {
        if self.quick { full / 4 } else { full }
    }
}

type Section = fn(Effort, &mut Figures);

/// In this order, each under the names that its figures begin with.
const SECTIONS: [(&str, Section); 7] = [
    ("throughput", throughput::measure),
    ("result", result::measure),
    ("latency", latency::measure),
    ("idle", idle::measure),
    ("rate", rate::measure),
    ("limiter", limiter::measure),
    ("drain", drain::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let effort = Effort { quick: arguments.iter().any(|argument| argument == "--quick") };
    let filter = arguments.iter().find(|argument| !argument.starts_with("--"));
    let mut figures = Figures::begin(env!("CARGO_TARGET_TMPDIR"), "batcher");
    for (name, section) in SECTIONS {
        if filter.is_none_or(|filter| name.contains(filter.as_str()) || filter.starts_with(name)) {
            eprintln!("batcher: {name} …");
            section(effort, &mut figures);
            figures.save().unwrap();
        }
    }
}

/// Two threads, as the machines that this is run on have at least.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// CPU time of this process, all threads.
pub(crate) fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
