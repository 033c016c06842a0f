//! What this process is told by signals while it works.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::task::AbortOnDropHandle;

/// Those that ask to end, those that are only handed on, and the one after having been stopped.
const HEARD: [Signal; 7] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::CONT];

#[derive(Debug)]
pub(crate) struct Signals {
    received: UnboundedReceiver<Signal>,
    _listeners: Vec<AbortOnDropHandle<()>>,
}

impl Signals {
    /// Starts to listen; from now on none of them ends this process by itself. Those that whoever started us wants to be
    /// ignored (`nohup`) stay ignored, here and in the command. Needs a tokio runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        let (sender, received) = unbounded_channel();
        let mut listeners = Vec::new();
        let ignored = ignored();
        for heard in HEARD.into_iter().filter(|signal| ignored >> (signal.as_raw() - 1) & 1 == 0) {
            let mut stream = signal(SignalKind::from_raw(heard.as_raw()))?;
            let sender = sender.clone();
            let listener =
                tokio::spawn(
                    async move { while stream.recv().await.is_some() && sender.send(heard).is_ok() {} },
                );
            listeners.push(AbortOnDropHandle::new(listener));
        }
        Ok(Self { received, _listeners: listeners })
    }

    /// The next signal.
    ///
    /// # Cancel safety
    /// Safe: a signal that was not delivered completes the next call.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.received.recv().await {
            Some(signal) => signal,
            // The listeners live as long as this does.
            None => std::future::pending().await,
        }
    }

    /// Forgets those that have come already.
    pub(crate) fn forget(&mut self) {
        while self.received.try_recv().is_ok() {}
    }

    /// The next signal that asks to end, and its number.
    pub(crate) async fn next_end(&mut self) -> u8 {
        loop {
            let signal = self.next().await;
            if asks_to_end(signal) {
                return number(signal);
            }
        }
    }
}

/// The signals that are ignored since before this process began, one bit each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Whether a process that gets it is expected to end.
pub(crate) fn asks_to_end(signal: Signal) -> bool {
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].contains(&signal)
}

/// Its number, as it stands in an exit code.
pub(crate) fn number(signal: Signal) -> u8 {
    u8::try_from(signal.as_raw()).unwrap_or_default()
}
