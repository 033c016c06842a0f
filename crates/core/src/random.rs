use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::Holder;

/// The one source of randomness: seeded, so that a run in memory repeats byte for byte, or fresh.
///
/// For jitter and simulations, never for secrets.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The sequence that belongs to this seed (wyrand, as implemented by `fastrand`).
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// The sequence that belongs to this holder: as holders are unique per process, processes do not march in step,
    /// and yet a run with the same names repeats.
    pub fn of(holder: &Holder) -> Self {
        let mut hasher = DefaultHasher::new();
        holder.hash(&mut hasher);
        Self::seeded(hasher.finish())
    }

    /// A sequence nobody can repeat.
    pub fn fresh() -> Self {
        Self(fastrand::Rng::new())
    }

    /// Uniform over all values.
    pub fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Uniform in `0..bound`; zero if there is no such number.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// `base` stretched or shrunk by up to `part` (0.25 = ±25 %), so that processes do not march in step.
    pub fn jitter(&mut self, base: Duration, part: f64) -> Duration {
        let factor = (1.0 + part * (2.0 * self.unit() - 1.0)).max(0.0);
        Duration::try_from_secs_f64(base.as_secs_f64() * factor).unwrap_or(Duration::MAX)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::fresh()
    }
}
