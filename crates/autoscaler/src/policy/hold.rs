use std::collections::VecDeque;
use std::time::Duration;

/// The wishes of the last while: shrinking goes only as far as the largest of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    first: Option<Duration>,
    /// Falling wishes only: a later and larger one makes the earlier ones irrelevant.
    wishes: VecDeque<(Duration, u32)>,
}

impl Hold {
    /// Remembers the wish of the look at `at`, and tells the largest of the last `hold`; `None` while the looks do
    /// not go back that far.
    pub(super) fn largest(&mut self, at: Duration, wish: u32, hold: Duration) -> Option<u32> {
        let first = *self.first.get_or_insert(at);
        while self.wishes.back().is_some_and(|(_, before)| *before <= wish) {
            self.wishes.pop_back();
        }
        self.wishes.push_back((at, wish));
        let edge = at.checked_sub(hold)?;
        while self.wishes.front().is_some_and(|(seen, _)| *seen < edge) {
            self.wishes.pop_front();
        }
        if first > edge {
            return None;
        }
        self.wishes.front().map(|(_, wish)| *wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_wish_of_the_window_counts() {
        let mut hold = Hold::default();
        let s = Duration::from_secs;
        let looks =
            [(1, 9, None), (2, 3, None), (3, 4, None), (6, 2, Some(9)), (7, 2, Some(4)), (9, 1, Some(2))];
        for (at, wish, largest) in looks {
            assert_eq!(hold.largest(s(at), wish, s(5)), largest, "at {at}");
        }
    }
}
