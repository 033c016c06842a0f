use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Knows which batches have their budget and have not started yet, so that a lease can be given back when those are
/// gone that were paid for with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departures(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    waves: Mutex<Waves>,
    gone: Notify,
}

#[derive(Debug, Default)]
struct Waves {
    current: u64,
    /// How many of each wave have not started, where there are any.
    waiting: BTreeMap<u64, usize>,
}

/// A batch that has not started. Dropping it says that it has, or never will.
#[derive(Debug)]
pub(crate) struct Waiting {
    wave: u64,
    board: Arc<Board>,
}

impl Departures {
    /// A batch has its budget.
    pub(crate) fn board(&self) -> Waiting {
        let mut waves = lock(&self.0.waves);
        let wave = waves.current;
        *waves.waiting.entry(wave).or_default() += 1;
        Waiting { wave, board: Arc::clone(&self.0) }
    }

    /// Completes when all batches have started that have their budget now.
    pub(super) async fn gone(&self) {
        let wave = {
            let mut waves = lock(&self.0.waves);
            waves.current += 1;
            waves.current - 1
        };
        loop {
            let gone = self.0.gone.notified();
            if lock(&self.0.waves).waiting.range(..=wave).next().is_none() {
                return;
            }
            gone.await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waves = lock(&self.board.waves);
        if let Some(waiting) = waves.waiting.get_mut(&self.wave) {
            *waiting -= 1;
            if *waiting == 0 {
                waves.waiting.remove(&self.wave);
                drop(waves);
                self.board.gone.notify_waiters();
            }
        }
    }
}

fn lock(waves: &Mutex<Waves>) -> std::sync::MutexGuard<'_, Waves> {
    waves.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_those_before_and_for_nobody_else() {
        let departures = Departures::default();
        departures.gone().await;
        let before = departures.board();
        let mut gone = std::pin::pin!(departures.gone());
        assert!(futures_poll(gone.as_mut()).await.is_pending());
        let _after = departures.board();
        drop(before);
        gone.await;
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<()> {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).map(|_| ()))).await
    }
}
