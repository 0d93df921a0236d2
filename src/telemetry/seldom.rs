//! Lines of a log that a client could cause without end: a few in a while, each of which tells how many there were.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// One kind of line.
#[derive(Debug)]
pub(crate) struct Seldom {
    /// Lines in each period, at most.
    most: u32,
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    told: u32,
    count: u64,
}

impl Seldom {
    /// At most so many lines in each period.
    pub(crate) fn new(most: u32, period: Duration) -> Self {
        Self { most, period, state: Mutex::default() }
    }

    /// It happened so many times more. If it is time for a line: how many there were since the last, these included.
    pub(crate) fn happened(&self, times: u64) -> Option<u64> {
        self.happened_at(times, Instant::now())
    }

    fn happened_at(&self, times: u64, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        state.count += times;
        if state.began.is_none_or(|began| now.duration_since(began) >= self.period) {
            (state.began, state.told) = (None, 0);
        }
        if state.count == 0 || state.told >= self.most {
            return None;
        }
        state.began.get_or_insert(now);
        state.told += 1;
        Some(std::mem::take(&mut state.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_next_only_after_a_while() {
        let (period, start) = (Duration::from_secs(10), Instant::now());
        let seldom = Seldom::new(1, period);
        assert_eq!(seldom.happened_at(0, start), None);
        assert_eq!(seldom.happened_at(2, start), Some(2));
        assert_eq!(seldom.happened_at(3, start), None);
        assert_eq!(seldom.happened_at(1, start + period), Some(4));
    }

    #[test]
    fn a_flood_is_told_in_a_few_lines_that_count_the_rest() {
        let (most, period, start) = (20, Duration::from_secs(1), Instant::now());
        let seldom = Seldom::new(most, period);
        let told = (0..1000).filter(|_| seldom.happened_at(1, start).is_some()).count();
        assert_eq!(told, most as usize);
        assert_eq!(seldom.happened_at(1, start + period), Some(1000 - u64::from(most) + 1));
        assert_eq!(seldom.happened_at(1, start + period), Some(1));
    }
}
