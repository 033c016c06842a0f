use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Nanoseconds of CLOCK_MONOTONIC: the same for all processes of a host, whatever is done to the wall clock.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

/// The same for another instant.
pub fn at(instant: Instant) -> u64 {
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    // In this order the result is too early by what passes between, never too late.
    let here = now();
    let there = Instant::now();
    match instant.checked_duration_since(there) {
        Some(ahead) => here.saturating_add(nanos(ahead)),
        None => here.saturating_sub(nanos(there - instant)),
    }
}
