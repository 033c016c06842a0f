//! Interrupted means tidy: the first signal asks, the second one ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Listens for INT, TERM, HUP and QUIT.
#[derive(Debug)]
pub(crate) struct Interrupt {
    token: CancellationToken,
    number: Arc<AtomicU8>,
    _listener: AbortOnDropHandle<()>,
}

impl Interrupt {
    /// Starts to listen. Needs a tokio runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        let token = CancellationToken::new();
        let number = Arc::new(AtomicU8::new(0));
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut hup = signal(SignalKind::hangup())?;
        let mut quit = signal(SignalKind::quit())?;
        let listener = tokio::spawn({
            let (token, number) = (token.clone(), Arc::clone(&number));
            async move {
                loop {
                    let signal = tokio::select! {
                        biased;
                        _ = int.recv() => 2,
                        _ = term.recv() => 15,
                        _ = hup.recv() => 1,
                        _ = quit.recv() => 3,
                    };
                    if token.is_cancelled() {
                        std::process::exit(128 + i32::from(signal));
                    }
                    number.store(signal, Ordering::Release);
                    token.cancel();
                }
            }
        });
        Ok(Self { token, number, _listener: AbortOnDropHandle::new(listener) })
    }

    /// Cancelled by the first signal.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The number of the first signal, if there was one.
    pub(crate) fn number(&self) -> Option<u8> {
        Some(self.number.load(Ordering::Acquire)).filter(|number| *number > 0)
    }
}
