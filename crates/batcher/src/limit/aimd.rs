use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::Rate;

/// How finely acknowledged cost is remembered, and for how long.
const GRAIN: Duration = Duration::from_millis(100);
const MEMORY: Duration = Duration::from_secs(60);

/// One step of growth.
const STEP: Duration = Duration::from_secs(1);

/// Learns from throttled operations how much a datastore bears: additive increase, multiplicative decrease, as TCP
/// does (Chiu and Jain, 1989).
///
/// Pure and sync: it reads no clock. Until something is throttled there is no level, and nothing is limited.
///
/// - **Decrease**, at most once in max(`retry_after`, 1 s): to 0.9 × min(level, g), where g is the cost acknowledged
///   per second over the last max(1 s, 2 × `retry_after`), but no less than half of the best second of the last minute.
///   So a store that lost half of what it could do is matched in one or two steps, and one that was away for a while
///   is not taken for one that can do nothing. Before there is a second to look back on, g says nothing.
/// - **Increase**, for each second without throttling: by a quarter of the way to the level that was throttled last,
///   and 1 % at least; from there on by 1 %, 2 %, 4 % and so on up to 64 %, until the limit is reached and the level is
///   forgotten.
/// - Never below one average operation a second, and never above the limit.
#[derive(Clone, Debug)]
pub struct Aimd {
    level: Option<f64>,
    /// The level that was throttled last.
    knee: f64,
    cut_at: Option<Instant>,
    /// Up to here the level has grown.
    grown_to: Instant,
    /// How many steps have been made beyond the knee.
    beyond: u32,
    acknowledged: VecDeque<(Instant, u64)>,
    born: Instant,
    cost: u64,
    operations: u64,
}

impl Aimd {
    /// One that has seen nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            level: None,
            knee: 0.0,
            cut_at: None,
            grown_to: now,
            beyond: 0,
            acknowledged: VecDeque::new(),
            born: now,
            cost: 0,
            operations: 0,
        }
    }

    /// So many operations, of that cost together, took effect.
    pub fn acknowledge(&mut self, now: Instant, cost: u64, operations: u64) {
        if self.acknowledged.is_empty() && self.operations == 0 {
            self.born = now;
        }
        self.cost = self.cost.saturating_add(cost);
        self.operations = self.operations.saturating_add(operations);
        match self.acknowledged.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < GRAIN => *sum += cost,
            _ => self.acknowledged.push_back((now, cost)),
        }
        while self.acknowledged.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > MEMORY) {
            self.acknowledged.pop_front();
        }
    }

    /// The datastore had too much to do, under that limit. True: the level is lower now.
    pub fn throttled(&mut self, now: Instant, retry_after: Duration, limit: Option<Rate>) -> bool {
        self.grown_to = now;
        self.beyond = 0;
        let pause = retry_after.max(STEP);
        if self.cut_at.is_some_and(|at| now.saturating_duration_since(at) < pause) {
            return false;
        }
        let limit = limit.map_or(f64::INFINITY, |limit| limit.units() as f64);
        let level = self.level.unwrap_or(limit).min(limit);
        let window = STEP.max(retry_after * 2);
        let seen = self.acknowledged_rate(now, window);
        let young = self.operations == 0 || now.saturating_duration_since(self.born) < STEP;
        if young && level.is_infinite() {
            return false;
        }
        let believed = if young && level.is_finite() { level } else { level.min(seen) };
        let least = level.min(self.best_second()) / 2.0;
        // Without a limit nothing says how far too much it was.
        self.knee = if level.is_finite() { level } else { 8.0 * seen };
        self.level = Some((0.9 * believed).max(least).max(self.floor()));
        self.cut_at = Some(now);
        true
    }

    /// What the datastore is believed to bear, under that limit; none: as much as the limit.
    pub fn rate(&mut self, now: Instant, limit: Option<Rate>) -> Option<Rate> {
        let mut level = self.level?;
        let limit = limit.map_or(f64::INFINITY, |limit| limit.units() as f64);
        while now.saturating_duration_since(self.grown_to) >= STEP {
            self.grown_to += STEP;
            let hundredth = level.max(self.floor()) / 100.0;
            if level < 0.99 * self.knee {
                level += ((self.knee - level) / 4.0).max(hundredth);
            } else {
                level += hundredth * f64::from(1_u32 << self.beyond.min(6));
                self.beyond += 1;
            }
            // Without a limit it is forgotten once it is far from what is used.
            let far =
                limit.is_infinite() && level > 64.0 * self.acknowledged_rate(now, MEMORY).max(self.floor());
            if level >= limit || far {
                self.level = None;
                return None;
            }
        }
        self.level = Some(level);
        Some(Rate::per_second(level.max(1.0).min(limit) as u64))
    }

    /// When the level grows next; none: there is no level.
    pub fn next_step(&self) -> Option<Instant> {
        self.level.map(|_| self.grown_to + STEP)
    }

    fn floor(&self) -> f64 {
        if self.operations == 0 { 1.0 } else { (self.cost as f64 / self.operations as f64).max(1.0) }
    }

    /// The most cost in any second that is remembered.
    fn best_second(&self) -> f64 {
        let (mut best, mut sum, mut first) = (0, 0, 0);
        for (at, cost) in &self.acknowledged {
            sum += cost;
            while at.saturating_duration_since(self.acknowledged[first].0) >= STEP {
                sum -= self.acknowledged[first].1;
                first += 1;
            }
            best = best.max(sum);
        }
        best as f64
    }

    /// Cost per second over that time, or over the time since the first, but for a tenth of a second at least.
    fn acknowledged_rate(&self, now: Instant, window: Duration) -> f64 {
        let window = window.min(now.saturating_duration_since(self.born)).max(GRAIN);
        let recent = self.acknowledged.iter().rev();
        let cost: u64 = recent
            .take_while(|(at, _)| now.saturating_duration_since(*at) <= window)
            .map(|(_, cost)| *cost)
            .sum();
        cost as f64 / window.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// One that has acknowledged that much a second for ten seconds.
    fn busy(start: Instant, rate: u64) -> (Aimd, Instant) {
        let mut aimd = Aimd::new(start);
        for step in 0..=100 {
            aimd.acknowledge(at(start, step * 100), rate / 10, rate / 10);
        }
        (aimd, at(start, 10_000))
    }

    #[test]
    fn aimd_one_cut_per_epoch() {
        let (mut aimd, now) = busy(Instant::now(), 1_000);
        let limit = Some(Rate::per_second(10_000));
        assert_eq!(aimd.rate(now, limit), None);
        assert!(aimd.throttled(now, Duration::from_millis(100), limit));
        let level = aimd.rate(now, limit).unwrap().units();
        assert!((880..=1_000).contains(&level), "{level}");
        assert!(!aimd.throttled(at(now, 900), Duration::from_millis(100), limit));
        assert!(
            !aimd.throttled(at(now, 990), Duration::from_secs(30), limit),
            "a longer pause counts from then"
        );
        assert_eq!(aimd.rate(at(now, 999), limit).unwrap().units(), level);
        assert!(aimd.throttled(at(now, 1_000), Duration::from_millis(100), limit));
    }

    #[test]
    fn grows_slowly_below_the_knee_and_faster_beyond_until_the_limit() {
        let (mut aimd, now) = busy(Instant::now(), 1_000);
        let limit = Some(Rate::per_second(2_000));
        aimd.throttled(now, Duration::ZERO, limit);
        let mut last = aimd.rate(now, limit).unwrap().units();
        let mut seconds = 0;
        while let Some(rate) = aimd.rate(at(now, seconds * 1_000), limit) {
            assert!(rate.units() >= last && rate.units() <= 2_000);
            last = rate.units();
            seconds += 1;
        }
        assert!((5..40).contains(&seconds), "{seconds}");
        assert_eq!(aimd.next_step(), None);
    }

    #[test]
    fn never_below_one_average_operation() {
        let start = Instant::now();
        let mut aimd = Aimd::new(start);
        aimd.acknowledge(start, 500, 10);
        for second in 1..100 {
            aimd.throttled(at(start, second * 1_000), Duration::ZERO, Some(Rate::per_second(1_000)));
        }
        let rate = aimd.rate(at(start, 99_000), Some(Rate::per_second(1_000)));
        assert_eq!(rate, Some(Rate::per_second(50)));
    }

    #[test]
    fn a_store_that_was_away_is_not_taken_for_one_that_can_do_nothing() {
        let (mut aimd, now) = busy(Instant::now(), 1_000);
        let limit = Some(Rate::per_second(1_000));
        let back = at(now, 5_000);
        assert!(aimd.throttled(back, Duration::from_millis(100), limit));
        assert_eq!(aimd.rate(back, limit), Some(Rate::per_second(500)));
    }

    #[test]
    fn what_was_seen_for_a_moment_says_nothing() {
        let start = Instant::now();
        let mut aimd = Aimd::new(start);
        aimd.acknowledge(start, 3, 3);
        let limit = Some(Rate::per_second(3_000));
        assert!(aimd.throttled(at(start, 5), Duration::from_millis(100), limit));
        assert_eq!(aimd.rate(at(start, 5), limit), Some(Rate::per_second(2_700)));
    }

    #[test]
    fn without_a_limit_it_is_forgotten_in_the_end() {
        let (mut aimd, now) = busy(Instant::now(), 1_000);
        aimd.throttled(now, Duration::ZERO, None);
        assert!(aimd.rate(now, None).is_some());
        assert_eq!(aimd.rate(at(now, 600_000), None), None);
    }
}
