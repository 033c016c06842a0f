//! `sluicegate pipe`: batch a byte stream.

mod args;
mod choice;
mod control;
mod ending;
mod halt;
mod item;
mod lanes;
mod letters;
mod pump;
mod shared;
mod sink;
mod source;
mod split;
mod voice;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_nats::ConnectArgs;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::args::PipeArgs;
use self::control::{Control, Over};
use self::ending::{End, ending};
use self::halt::Halt;
use self::item::Reader;
use self::lanes::Lanes;
use self::letters::Letters;
use self::pump::Pump;
use self::sink::Sink;
use self::source::Source;
use self::split::Splitter;
use self::voice::{Meter, Summary, Voice};
use crate::Failure;
use crate::cli::OutputArgs;
use crate::code::Code;
use crate::error::CliError;
use crate::signals::Signals;

/// How long what was abandoned may take to end.
const ABANDONING: Duration = Duration::from_secs(2);

/// Runs it, and tells the exit code.
pub(crate) fn run(args: &PipeArgs, connect: &ConnectArgs, output: &OutputArgs) -> Result<u8, Failure> {
    args.check()?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| internal("no runtime", &error))?;
    let outcome = runtime.block_on(pipe(args, connect, output));
    // A write to a stdout that nobody reads any more must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn pipe(args: &PipeArgs, connect: &ConnectArgs, output: &OutputArgs) -> Result<u8, Failure> {
    let mut signals = Signals::listen().map_err(|error| internal("cannot listen to signals", &error))?;
    let (halt, voice, meter) =
        (Arc::new(Halt::default()), Arc::new(Voice::new(output, args)), Arc::new(Meter::default()));
    let delimiter = args.input.delimiter();
    let letters =
        Letters::open(args.dead_letter.as_deref(), delimiter, Arc::clone(&voice), Arc::clone(&halt))?;
    let sink = tokio::select! {
        biased;
        signal = signals.next_end() => return Err(early(signal).into()),
        sink = Sink::open(args, connect, output, &halt) => sink?,
    };
    let (shared, leasing) = match &args.capacity {
        Some(name) => {
            let bound = tokio::select! {
                biased;
                signal = signals.next_end() => return Err(early(signal).into()),
                bound = shared::bind(name, connect, output) => bound?,
            };
            (Some(bound.0), Some(bound.1))
        }
        None => (None, None),
    };
    let begun = Instant::now();
    let token = CancellationToken::new();
    let refused = |error: sluicegate_batcher::ConfigError| CliError::new(Code::Usage, error.to_string());
    let (batcher, _engine) = lanes::batcher(args, shared, &voice).start(token.clone()).map_err(refused)?;
    let lanes = Lanes::new(&batcher, &sink.handler, args, &letters).map_err(refused)?;
    let (source, stop) = Source::start().map_err(|error| internal("cannot read stdin", &error))?;
    let _following =
        AbortOnDropHandle::new(tokio::spawn(Arc::clone(&voice).follow(Arc::clone(&meter), batcher.clone())));
    let mut control = Control {
        signals,
        stop,
        halt: Arc::clone(&halt),
        batcher: batcher.clone(),
        voice: Arc::clone(&voice),
        asked: None,
    };
    let room = usize::try_from(args.max_buffer.0).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let max = usize::try_from(args.max_bytes.0).unwrap_or(usize::MAX);
    let pump = Pump {
        source,
        splitter: Splitter::new(delimiter, max),
        reader: Reader::new(args),
        lanes,
        letters: &letters,
        room: Arc::new(Semaphore::new(room)),
        all_room: room,
        meter: Arc::clone(&meter),
        limit: format!("more than --max-bytes {}", args.max_bytes),
        long: None,
    };
    let mut over = pump.run(&mut control).await.err();
    if over.is_none() {
        over = control.during(batcher.drain(Duration::MAX)).await.err();
    }
    if over.is_some() {
        token.cancel();
        batcher.drain(ABANDONING).await;
    }
    let undelivered = letters.close().await;
    let stats = batcher.stats();
    let mut summary = Summary::new(begun.elapsed());
    summary.items = meter.items.load(Ordering::Relaxed);
    summary.bytes = meter.bytes.load(Ordering::Relaxed);
    summary.batches = stats.batches_started;
    summary.accepted = stats.accepted;
    summary.failed = undelivered.items;
    summary.retried = stats.retried + stats.throttled;
    summary.dead_lettered = undelivered.written;
    summary.duplicates = sink.duplicates.as_ref().map(|duplicates| duplicates.load(Ordering::Relaxed));
    sink.close().await;
    if let Some(connection) = leasing {
        // Leases were given back; what others are told of that is to leave, too.
        let _ = connection.drain(ABANDONING).await;
    }
    if !halt.is_silent() {
        voice.summary(&summary);
    }
    let file = args.dead_letter.as_deref();
    ending(End {
        failure: halt.take(),
        abandoned: over == Some(Over::Abandoned),
        signal: control.asked,
        undelivered,
        summary,
        file,
    })
}

/// Asked to end before anything was read.
fn early(signal: u8) -> CliError {
    CliError::new(Code::Interrupted(signal), "interrupted before anything was read")
}

fn internal(what: &str, error: &std::io::Error) -> CliError {
    CliError::new(Code::Internal, format!("{what}: {error}"))
}
