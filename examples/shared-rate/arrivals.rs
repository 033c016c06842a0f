//! What the datastore has noted.

use std::fmt::Write as _;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the clock that all processes of this machine share.
pub(crate) fn clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

/// A batch that has arrived. Instants are nanoseconds of [`clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: u64,
    /// When the process took budget for it.
    pub(crate) taken: u64,
    /// Whose it is; counts from 0.
    pub(crate) process: usize,
    pub(crate) cost: u64,
}

/// The largest sum of costs within any window of that length.
pub(crate) fn worst_window(arrivals: &[Arrival], window: Duration) -> u64 {
    let window = nanos(window);
    let (mut worst, mut sum, mut first) = (0, 0, 0);
    for arrival in arrivals {
        sum += arrival.cost;
        while arrival.at - arrivals[first].at > window {
            sum -= arrivals[first].cost;
            first += 1;
        }
        worst = worst.max(sum);
    }
    worst
}

/// The longest way from the budget to the datastore.
pub(crate) fn longest_way(arrivals: &[Arrival]) -> Duration {
    let ways = arrivals.iter().map(|arrival| arrival.at.saturating_sub(arrival.taken));
    Duration::from_nanos(ways.max().unwrap_or_default())
}

/// The sum of costs for each process and step of time, from `begin` on.
pub(crate) fn steps(
    arrivals: &[Arrival],
    processes: usize,
    begin: u64,
    step: Duration,
    count: usize,
) -> Vec<Vec<u64>> {
    let mut steps = vec![vec![0; count]; processes];
    for arrival in arrivals {
        let index = usize::try_from(arrival.at.saturating_sub(begin) / nanos(step)).unwrap_or(usize::MAX);
        if let Some(sum) = steps[arrival.process].get_mut(index) {
            *sum += arrival.cost;
        }
    }
    steps
}

/// One line for each arrival: microseconds since `begin`, process, cost, microseconds on the way.
pub(crate) fn csv(arrivals: &[Arrival], begin: u64) -> String {
    let mut text = String::from("at_us,process,cost,way_us\n");
    for arrival in arrivals {
        let at = arrival.at.saturating_sub(begin) / 1_000;
        let way = arrival.at.saturating_sub(arrival.taken).div_ceil(1_000);
        let _ = writeln!(text, "{at},{},{},{way}", arrival.process + 1, arrival.cost);
    }
    text
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(at: u64, process: usize, cost: u64) -> Arrival {
        Arrival { at, taken: at - 1, process, cost }
    }

    #[test]
    fn the_worst_window_may_begin_anywhere() {
        let arrivals = [arrival(10, 0, 5), arrival(19, 1, 3), arrival(20, 0, 4), arrival(31, 0, 9)];
        assert_eq!(worst_window(&arrivals, Duration::from_nanos(10)), 12);
        assert_eq!(worst_window(&arrivals, Duration::from_nanos(11)), 13);
        assert_eq!(worst_window(&[], Duration::from_nanos(10)), 0);
        assert_eq!(longest_way(&arrivals), Duration::from_nanos(1));
    }

    #[test]
    fn steps_are_sums_of_each_process() {
        let arrivals = [arrival(10, 0, 5), arrival(19, 1, 3), arrival(20, 0, 4), arrival(99, 0, 9)];
        let steps = steps(&arrivals, 2, 10, Duration::from_nanos(10), 2);
        assert_eq!(steps, [[5, 4], [3, 0]]);
    }
}
