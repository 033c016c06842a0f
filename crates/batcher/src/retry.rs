use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use sluicegate_core::Random;

type Predicate<E> = dyn Fn(&E, u32) -> bool + Send + Sync;

/// Which failed operations are tried again, and when.
///
/// Nothing is, until [`when`](Self::when) says so. An operation that waits for its next try keeps its payload and its
/// place in the buffer, needs no capacity, and goes to the head of its watcher's queue when it is due. One whose
/// payload the handler has taken cannot be tried again.
///
/// ```
/// use sluicegate_batcher::Retry;
/// use std::time::Duration;
///
/// let retry = Retry::exponential()
///     .first_delay(Duration::from_millis(50))
///     .longest_delay(Duration::from_secs(5))
///     .when(|error: &std::io::Error, _attempts| error.kind() == std::io::ErrorKind::TimedOut)
///     .max_attempts(5);
/// # let _ = retry;
/// ```
pub struct Retry<E> {
    predicate: Option<Arc<Predicate<E>>>,
    delays: ExponentialBuilder,
    jitter: f64,
    unknown: bool,
    in_order: bool,
    max_attempts: Option<u32>,
}

impl<E> Retry<E> {
    /// Delays of 100 ms, 200 ms, 400 ms and so on, up to 30 s, each up to a quarter longer or shorter. Operations
    /// of one batch that have had as many attempts wait equally long, so that they are tried again together.
    pub fn exponential() -> Self {
        let delays = ExponentialBuilder::default()
            .with_factor(2.0)
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(30))
            .without_max_times();
        Self { predicate: None, delays, jitter: 0.25, unknown: false, in_order: false, max_attempts: None }
    }

    /// The delay before the second attempt. Default 100 ms.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.delays = self.delays.with_min_delay(delay);
        self
    }

    /// No delay is longer, jitter aside. Default 30 s.
    #[must_use]
    pub fn longest_delay(mut self, delay: Duration) -> Self {
        self.delays = self.delays.with_max_delay(delay);
        self
    }

    /// How many times longer each delay is than the one before; less than 1 counts as 1. Default 2.
    #[must_use]
    pub fn factor(mut self, factor: f32) -> Self {
        self.delays = self.delays.with_factor(factor.max(1.0));
        self
    }

    /// Which part of a delay chance may add or take, from 0 to 1. Default 0.25.
    #[must_use]
    pub fn jitter(mut self, part: f64) -> Self {
        self.jitter = part.clamp(0.0, 1.0);
        self
    }

    /// Whether an operation that failed with that error, and has had so many attempts, is worth another one. Called
    /// in the task of the batch; a panic counts as no.
    #[must_use]
    pub fn when(mut self, predicate: impl Fn(&E, u32) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Also try again what ended as `TimedOut` or `Panicked`, of which nobody knows whether it took effect. Default
    /// no: the datastore has to bear the same operation twice.
    #[must_use]
    pub fn retry_unknown(mut self, again: bool) -> Self {
        self.unknown = again;
        self
    }

    /// What waits for another attempt is not overtaken: it stays at the head of the watcher's queue, and the watcher
    /// starts nothing until it is due. Default no: others go on meanwhile.
    ///
    /// This is what an order needs, together with `max_concurrent_batches(1)`, and with a handler that answers
    /// [`Verdict::Skipped`](crate::Verdict::Skipped) for what must not come before an operation that has failed. To
    /// keep an order for each key, give the keys to several watchers, by their hash.
    #[must_use]
    pub fn in_order(mut self, keep: bool) -> Self {
        self.in_order = keep;
        self
    }

    /// The same as `max_attempts` of the watcher.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    pub(crate) fn attempts(&self) -> Option<u32> {
        self.max_attempts
    }

    pub(crate) fn retries_unknown(&self) -> bool {
        self.unknown
    }

    pub(crate) fn keeps_order(&self) -> bool {
        self.in_order
    }

    pub(crate) fn accepts(&self, error: &E, attempts: u32) -> bool {
        self.predicate.as_ref().is_some_and(|predicate| predicate(error, attempts))
    }

    /// How long to wait after so many attempts.
    pub(crate) fn delay(&self, attempts: u32, random: &mut Random) -> Duration {
        let nth = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(64);
        let delay = self.delays.build().nth(nth).unwrap_or_default();
        random.jitter(delay, self.jitter)
    }
}

impl<E> Clone for Retry<E> {
    fn clone(&self) -> Self {
        Self { predicate: self.predicate.clone(), ..*self }
    }
}

impl<E> fmt::Debug for Retry<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("delays", &self.delays)
            .field("jitter", &self.jitter)
            .field("unknown", &self.unknown)
            .field("in_order", &self.in_order)
            .finish_non_exhaustive()
    }
}

/// Whether an operation may have another attempt after so many.
pub(crate) fn is_spent(max_attempts: Option<NonZeroU32>, attempts: u32) -> bool {
    max_attempts.is_some_and(|max| attempts >= max.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let retry = Retry::<()>::exponential().longest_delay(Duration::from_secs(1)).jitter(0.0);
        let mut random = Random::seeded(1);
        let delays: Vec<_> = (1..=6).map(|attempts| retry.delay(attempts, &mut random).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(retry.delay(u32::MAX, &mut random), Duration::from_secs(1));
    }

    #[test]
    fn jitter_stays_within_its_part() {
        let retry = Retry::<()>::exponential();
        let mut random = Random::seeded(1);
        for _ in 0..100 {
            let delay = retry.delay(1, &mut random).as_millis();
            assert!((75..=125).contains(&delay), "{delay}");
        }
    }
}
