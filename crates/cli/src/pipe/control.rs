//! Signals, and what ends everything, while something is waited for.

use std::pin::pin;
use std::sync::Arc;

use sluicegate_batcher::Batcher;

use super::halt::Halt;
use super::source::Stop;
use super::voice::Voice;
use crate::signals::Signals;

/// Why it is over before everything is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing more can be delivered.
    Halted,
    /// Asked to end twice.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct Control {
    pub(super) signals: Signals,
    pub(super) stop: Stop,
    pub(super) halt: Arc<Halt>,
    pub(super) batcher: Batcher,
    pub(super) voice: Arc<Voice>,
    /// The first signal that asked to end.
    pub(super) asked: Option<u8>,
}

impl Control {
    /// Goes on with that, whoever asks to end: the first time only reading ends.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Over> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.halt.stopped() => return Err(Over::Halted),
                signal = self.signals.next_end() => {
                    if self.asked.is_some() {
                        return Err(Over::Abandoned);
                    }
                    self.asked = Some(signal);
                    self.stop.stop();
                    let stats = self.batcher.stats();
                    self.voice.stopping(signal, stats.buffered + stats.running);
                }
                done = &mut work => return Ok(done),
            }
        }
    }
}
