//! Whether this process was stopped, or the machine asleep.

use std::time::Duration;

use tokio::time::Instant;

/// A pause that is this much longer than it should be is a gap.
const LATE: Duration = Duration::from_secs(2);

/// A clock that goes on while the machine sleeps, where there is one, beside the one that does not.
#[derive(Debug)]
pub(super) struct Gaps {
    awake: Instant,
    always: Duration,
}

impl Gaps {
    pub(super) fn new() -> Self {
        Self { awake: Instant::now(), always: always() }
    }

    /// After a pause of about that length: how long the machine slept in it if there was a gap, which is nothing if
    /// only this process was stopped.
    pub(super) fn after(&mut self, pause: Duration) -> Option<Duration> {
        let (awake, always) = (Instant::now(), always());
        let (by_awake, by_always) = (awake - self.awake, always.saturating_sub(self.always));
        (self.awake, self.always) = (awake, always);
        gap(pause, by_awake, by_always)
    }
}

fn gap(pause: Duration, awake: Duration, always: Duration) -> Option<Duration> {
    (awake.max(always) > pause + LATE).then(|| always.saturating_sub(awake))
}

#[cfg(target_os = "linux")]
fn always() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.try_into().unwrap_or_default()
}

/// No such clock: what the machine sleeps is not seen.
#[cfg(not(target_os = "linux"))]
fn always() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_stopped_and_being_asleep_are_told_apart() {
        let seconds = Duration::from_secs;
        assert_eq!(gap(seconds(1), seconds(1), seconds(1)), None);
        assert_eq!(gap(seconds(1), seconds(2), seconds(2)), None, "a busy machine");
        assert_eq!(gap(seconds(1), seconds(60), seconds(60)), Some(seconds(0)), "stopped");
        assert_eq!(gap(seconds(1), seconds(1), seconds(61)), Some(seconds(60)), "asleep");
    }
}
