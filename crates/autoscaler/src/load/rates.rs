use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Load;

/// The windows over which arrivals are counted, shortest first.
const WINDOWS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// Less history than this counts as this much: one message after a start is no storm.
const SHORTEST: Duration = Duration::from_millis(200);

/// A counter beyond this is no count of messages (and could not be computed with exactly).
const ABSURD: u64 = 1 << 53;

/// How fast messages come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// λ: attempts that arrive, per second. A redelivery is work, and counts when it is delivered.
    pub arrivals: f64,
    /// Attempts completed per second, over the last second.
    pub completed: f64,
    /// The window that decided the rate of arrivals.
    pub window: Duration,
    /// Arrivals since the scaler started.
    pub total: u64,
}

/// What one look told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Counters went on from the look before.
    Going,
    /// First look, or a purge: counting starts afresh.
    Afresh,
    /// Another queue of that name.
    Recreated,
    /// Time went back, or a number that no queue can have: not a look.
    Absurd,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Instant,
    /// P + D, moved so that a purge does not show.
    arrived: u64,
    /// D - A likewise.
    settled: u64,
}

/// Looks of the last minute, and what follows from them.
#[derive(Debug)]
pub(crate) struct Meter {
    points: VecDeque<Point>,
    last: Option<(Instant, Load)>,
    total: u64,
    last_arrival: Option<Instant>,
    /// When the source said last that there is work.
    woken: Option<Instant>,
    /// Since when every valid look found nothing to do and nothing new.
    quiet_since: Option<Instant>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            points: VecDeque::new(),
            last: None,
            total: 0,
            last_arrival: None,
            woken: None,
            quiet_since: None,
        }
    }

    /// Takes a look made at `at` into account.
    pub(crate) fn look(&mut self, at: Instant, load: &Load) -> Seen {
        let counters = [load.pending, load.ack_pending, load.delivered];
        if counters.iter().any(|counter| *counter > ABSURD)
            || self.last.as_ref().is_some_and(|(before, _)| at < *before)
        {
            return Seen::Absurd;
        }
        let (seen, arrivals, settled) = match &self.last {
            None => (Seen::Afresh, 0, 0),
            Some((_, before)) if before.epoch != load.epoch || load.delivered < before.delivered => {
                (Seen::Recreated, 0, 0)
            }
            Some((_, before)) => {
                let arrived = (load.pending + load.delivered).checked_sub(before.pending + before.delivered);
                let done =
                    (load.delivered + before.ack_pending).saturating_sub(before.delivered + load.ack_pending);
                arrived.map_or((Seen::Afresh, 0, 0), |arrived| (Seen::Going, arrived, done))
            }
        };
        if seen != Seen::Going {
            self.points.clear();
        }
        let (base, done) = self.points.back().map_or((0, 0), |point| (point.arrived, point.settled));
        self.points.push_back(Point { at, arrived: base + arrivals, settled: done + settled });
        let horizon = WINDOWS[WINDOWS.len() - 1];
        // One point at or before the edge of the longest window stays.
        while self.points.get(1).is_some_and(|point| at.duration_since(point.at) >= horizon) {
            self.points.pop_front();
        }
        self.total += arrivals;
        if arrivals > 0 {
            self.last_arrival = Some(at);
        }
        if arrivals > 0 || load.lag() > 0 || seen == Seen::Recreated {
            self.quiet_since = None;
        } else {
            self.quiet_since.get_or_insert(at);
        }
        self.last = Some((at, load.clone()));
        seen
    }

    /// A hint says that something arrives just now: what the next look finds came in the last 0.2 s, not since the
    /// look before.
    pub(crate) fn woken(&mut self, now: Instant) {
        self.woken = Some(now);
        if let Some(point) = self.points.back().copied()
            && let Some(at) = now.checked_sub(SHORTEST)
            && at > point.at
        {
            self.points.push_back(Point { at, ..point });
        }
    }

    pub(crate) fn last(&self) -> Option<&Load> {
        self.last.as_ref().map(|(_, load)| load)
    }

    /// How much a counter grew within a window, and the seconds it had for it.
    fn window(&self, window: Duration, counter: fn(&Point) -> u64) -> (f64, f64) {
        let (Some(oldest), Some(newest)) = (self.points.front(), self.points.back()) else {
            return (0.0, SHORTEST.as_secs_f64());
        };
        let history = newest.at.duration_since(oldest.at);
        let grown = |since: &Point| (counter(newest) - counter(since)) as f64;
        if history <= window {
            return (grown(oldest), history.max(SHORTEST).as_secs_f64());
        }
        // The window begins between two looks: what came between them is taken to have come evenly.
        let after = self.points.partition_point(|point| newest.at.duration_since(point.at) >= window);
        let (Some(before), Some(after)) = (self.points.get(after.saturating_sub(1)), self.points.get(after))
        else {
            return (0.0, window.as_secs_f64());
        };
        let gap = after.at.duration_since(before.at).as_secs_f64();
        let inside = window.saturating_sub(newest.at.duration_since(after.at)).as_secs_f64();
        let part = if gap > 0.0 { inside / gap } else { 0.0 };
        (grown(after) + (grown(before) - grown(after)) * part, window.as_secs_f64())
    }

    /// The rates, for a fleet of `n`: the shortest window whose noise is below half an instance decides; shorter
    /// ones overrule it beyond three standard deviations.
    pub(crate) fn rates(&self, n: u32) -> Rates {
        let arrived = |window: Duration| self.window(window, |point| point.arrived);
        let enough = (4.0 * f64::from(n) * f64::from(n)).max(100.0);
        let longest = WINDOWS.len() - 1;
        let chosen = WINDOWS.iter().position(|window| arrived(*window).0 >= enough);
        let mut window = WINDOWS[chosen.unwrap_or(longest)];
        let (count, span) = arrived(window);
        // Too few for any window: a whole one, however short the history, or one message were a storm.
        let mut arrivals = count / if chosen.is_some() { span } else { window.as_secs_f64() };
        // Longest first: the newest evidence has the last word.
        let shorter = WINDOWS[..chosen.unwrap_or(longest)].iter().rev();
        for shorter in shorter.chain(self.fresh().then_some(&SHORTEST)) {
            let (count, span) = arrived(*shorter);
            let deviation = 3.0 * count.sqrt();
            let clamped =
                arrivals.clamp((count - deviation).max(0.0) / span, (count + deviation + 3.0) / span);
            if clamped != arrivals {
                arrivals = clamped;
                window = *shorter;
            }
        }
        let (completed, span) = self.window(WINDOWS[0], |point| point.settled);
        Rates { arrivals, completed: completed / span, window, total: self.total }
    }

    /// It was woken just now.
    fn fresh(&self) -> bool {
        let newest = self.points.back().map(|point| point.at);
        matches!((self.woken, newest), (Some(woken), Some(at)) if at.saturating_duration_since(woken) < SHORTEST)
    }

    /// How long every valid look has found nothing to do and nothing new.
    pub(crate) fn quiet(&self, now: Instant) -> Duration {
        self.quiet_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// How long ago something arrived; `None` if nothing has since the start.
    pub(crate) fn since_arrival(&self, now: Instant) -> Option<Duration> {
        self.last_arrival.map(|at| now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds looks every 100 ms, with that many arrivals a second, all delivered and settled at once.
    fn feed(meter: &mut Meter, from: Instant, seconds: f64, rate: f64, delivered: &mut f64) -> Instant {
        let mut at = from;
        for _ in 0..(seconds * 10.0).round() as u32 {
            at += Duration::from_millis(100);
            *delivered += rate / 10.0;
            assert_eq!(meter.look(at, &Load::new(0, 0, *delivered as u64)), Seen::Going);
        }
        at
    }

    fn started() -> (Meter, Instant) {
        let (mut meter, start) = (Meter::new(), Instant::now());
        assert_eq!(meter.look(start, &Load::default()), Seen::Afresh);
        (meter, start)
    }

    #[tokio::test(start_paused = true)]
    async fn steady_rates_are_found_in_the_shortest_window_that_is_not_noise() {
        for (rate, n, window) in
            [(1000.0, 2, 1), (1000.0, 10, 1), (1000.0, 20, 2), (20.0, 1, 5), (1.0, 1, 60)]
        {
            let (mut meter, start) = started();
            feed(&mut meter, start, 90.0, rate, &mut 0.0);
            let rates = meter.rates(n);
            assert!((rates.arrivals - rate).abs() / rate < 0.05, "{rate}: {rates:?}");
            assert_eq!(rates.window, Duration::from_secs(window), "{rate}/s with {n}");
            assert!((rates.completed - rate).abs() <= rate * 0.05 + 1.0, "{rate}: {rates:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_up_shows_at_once_and_a_stop_after_a_second() {
        let (mut meter, start) = started();
        let mut delivered = 0.0;
        let at = feed(&mut meter, start, 60.0, 10.0, &mut delivered);
        let at = feed(&mut meter, at, 1.0, 1000.0, &mut delivered);
        let rates = meter.rates(1);
        assert!(rates.arrivals > 900.0, "{rates:?}");
        let at = feed(&mut meter, at, 60.0, 1000.0, &mut delivered);
        feed(&mut meter, at, 1.1, 0.0, &mut delivered);
        let rates = meter.rates(20);
        assert!(rates.arrivals <= 3.0, "{rates:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_is_no_storm() {
        let (mut meter, start) = started();
        meter.look(start + Duration::from_millis(1), &Load::new(1, 0, 0));
        assert_eq!(meter.rates(1).arrivals, 1.0 / 60.0);
        let woken = start + Duration::from_secs(90);
        meter.woken(woken);
        meter.look(woken, &Load::new(2, 0, 0));
        assert!(meter.rates(0).arrivals < 0.1, "{:?}", meter.rates(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_after_a_wake_came_just_now() {
        let (mut meter, start) = started();
        let woken = start + Duration::from_secs(30);
        meter.woken(woken);
        meter.look(woken, &Load::new(2500, 0, 0));
        // 2 500 in 0.2 s, less three standard deviations.
        assert_eq!(meter.rates(0).arrivals, (2500.0 - 150.0) / 0.2);
        // A second later the ordinary windows know better.
        meter.look(woken + Duration::from_secs(1), &Load::new(2500, 0, 0));
        assert!(meter.rates(0).arrivals <= 2500.0, "{:?}", meter.rates(0));
    }

    #[tokio::test(start_paused = true)]
    async fn purge_new_consumer_and_nonsense_do_not_count() {
        let (mut meter, start) = started();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(meter.look(at(1), &Load::new(500, 0, 10)), Seen::Going);
        assert_eq!(meter.look(at(2), &Load::new(0, 0, 10)), Seen::Afresh, "purged");
        assert_eq!(meter.rates(1).arrivals, 0.0);
        assert_eq!(meter.look(at(3), &Load::new(0, 0, 3)), Seen::Recreated);
        assert_eq!(meter.look(at(2), &Load::new(0, 0, 3)), Seen::Absurd, "time went back");
        assert_eq!(meter.look(at(4), &Load::new(u64::MAX, 0, 3)), Seen::Absurd);
        assert_eq!(meter.last(), Some(&Load::new(0, 0, 3)));
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_is_neither_work_nor_arrivals() {
        let (mut meter, start) = started();
        let at = |seconds| start + Duration::from_secs(seconds);
        meter.look(at(1), &Load::new(0, 1, 1));
        assert_eq!(meter.quiet(at(2)), Duration::ZERO, "delivered and not settled is work");
        meter.look(at(3), &Load::new(0, 0, 1));
        meter.look(at(5), &Load::new(0, 0, 1));
        assert_eq!(meter.quiet(at(5)), Duration::from_secs(2));
        meter.look(at(6), &Load::new(0, 0, 2));
        assert_eq!(meter.quiet(at(6)), Duration::ZERO, "came and went between two looks");
        assert_eq!(meter.since_arrival(at(7)), Some(Duration::from_secs(1)));
    }
}
