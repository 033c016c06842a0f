use std::time::Duration;

use tokio::time::Instant;

use crate::Rate;

/// One unit of cost, in the integer grain of a balance. A rate of one unit per second earns one grain per
/// nanosecond, so that nothing is ever rounded away.
const UNIT: i128 = 1_000_000_000;

/// The debt bucket: a rate limiter that lets an operation of any cost through, and makes those after it wait until
/// the debt is repaid.
///
/// Pure and sync: it reads no clock, every call says what time it is (an instant earlier than the last one counts as
/// the last one).
///
/// With rate R, slice s, burst b = R·s and timer slack j ([`Bucket::SLACK`]), the balance β grows by R, up to
/// M = R·(s + j). A cost c is admitted while β ≥ min(c, b), and is then taken from β, which may fall below zero.
///
/// **Guarantee.** The cost S(w) admitted in any window of length w at a constant rate is
///
/// > S(w) ≤ R·(w + j) + max(b, c_max)
///
/// *Proof.* S = β(start) + earned − β(end), where earned ≤ R·w and β(start) ≤ b + R·j; and after an admission
/// β ≥ min(c, b) − c = −max(0, c − b). With j = 0 the bound would be R·w + max(b, c_max), but whatever is earned
/// between `ready_at` and the moment a timer really fires would be lost: with a backlog, and wake-ups no later than
/// j after `ready_at`, the bucket passes on R exactly.
///
/// ```
/// use std::time::Duration;
/// use sluicegate_batcher::{Bucket, Rate};
/// use tokio::time::Instant;
///
/// let start = Instant::now();
/// let mut bucket = Bucket::full(Rate::per_second(100), Duration::from_millis(10), start);
/// assert!(bucket.try_take(50, start), "the bucket is full, so any cost passes");
/// assert!(!bucket.try_take(1, start), "and leaves a debt of 49 units");
/// assert_eq!(bucket.ready_at(1), Some(start + Duration::from_millis(500)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    rate: Rate,
    slice: Duration,
    balance: i128,
    last: Instant,
}

impl Bucket {
    /// How late a timer may fire without loss: tokio's have a grain of 1 ms.
    pub const SLACK: Duration = Duration::from_millis(2);

    /// A bucket with one burst in it.
    pub fn full(rate: Rate, slice: Duration, now: Instant) -> Self {
        let mut bucket = Self::empty(rate, slice, now);
        bucket.balance = bucket.burst();
        bucket
    }

    /// A bucket with nothing in it.
    pub fn empty(rate: Rate, slice: Duration, now: Instant) -> Self {
        Self { rate, slice, balance: 0, last: now }
    }

    /// The rate at which it fills.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Earns what is due since the last call.
    pub fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.last);
        self.balance = self.balance.saturating_add(earned(self.rate, elapsed)).min(self.cap());
        self.last = self.last.max(now);
    }

    /// From `now` on another rate holds. Earns at the old one first, and then never more than the new one allows to
    /// be saved: a change never adds anything.
    pub fn set_rate(&mut self, rate: Rate, now: Instant) {
        self.refill(now);
        self.rate = rate;
        self.balance = self.balance.min(self.cap());
    }

    /// Whether that cost would be admitted, by the balance as of the last refill.
    pub fn admits(&self, cost: u32) -> bool {
        cost == 0 || (self.rate > Rate::ZERO && self.balance >= self.needed(cost.into()))
    }

    /// Takes a cost that [`admits`](Self::admits) has admitted.
    pub fn take(&mut self, cost: u32) {
        self.balance = self.balance.saturating_sub(i128::from(cost) * UNIT);
    }

    /// Refills, and takes the cost if it is admitted.
    pub fn try_take(&mut self, cost: u32, now: Instant) -> bool {
        self.refill(now);
        let admitted = self.admits(cost);
        if admitted {
            self.take(cost);
        }
        admitted
    }

    /// When that cost (of one operation, or of a batch) will be admitted at the present rate; in the past if it is
    /// already. `None`: not before the rate changes.
    pub fn ready_at(&self, cost: u64) -> Option<Instant> {
        let missing = self.needed(cost) - self.balance;
        if cost == 0 || missing <= 0 && self.rate > Rate::ZERO {
            return Some(self.last);
        }
        let rate = i128::from(self.rate.units());
        if rate == 0 {
            return None;
        }
        let nanos = (missing + rate - 1) / rate;
        self.last.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
    }

    /// What is owed, in whole units, rounded up; 0 without debt.
    pub fn debt(&self) -> u64 {
        u64::try_from((-self.balance).max(0).div_euclid(UNIT)).unwrap_or(u64::MAX)
            + u64::from(self.balance < 0 && self.balance.rem_euclid(UNIT) != 0)
    }

    /// The largest cost for which a wait can be needed, in whole units, rounded up.
    pub(crate) fn largest_need(&self) -> u64 {
        u64::try_from((self.burst() + UNIT - 1) / UNIT).unwrap_or(u64::MAX)
    }

    fn needed(&self, cost: u64) -> i128 {
        (i128::from(cost) * UNIT).min(self.burst())
    }

    fn burst(&self) -> i128 {
        earned(self.rate, self.slice)
    }

    fn cap(&self) -> i128 {
        earned(self.rate, self.slice + Self::SLACK)
    }
}

fn earned(rate: Rate, time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX).saturating_mul(rate.units().into())
}
