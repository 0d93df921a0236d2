//! Lines of a log that a client could cause without end: at most one in a while, which tells how many there were.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two lines.
const PERIOD: Duration = Duration::from_secs(10);

/// One kind of line.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    count: u64,
}

impl Seldom {
    /// It happened so many times more. If it is time for a line: how many there were since the last.
    pub(crate) fn happened(&self, times: u64) -> Option<u64> {
        let mut state = self.0.lock();
        state.count += times;
        if state.count == 0 || state.told.is_some_and(|told| told.elapsed() < PERIOD) {
            return None;
        }
        state.told = Some(Instant::now());
        Some(std::mem::take(&mut state.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_next_only_after_a_while() {
        let seldom = Seldom::default();
        assert_eq!(seldom.happened(0), None);
        assert_eq!(seldom.happened(2), Some(2));
        assert_eq!(seldom.happened(3), None);
        seldom.0.lock().told = Instant::now().checked_sub(PERIOD);
        assert_eq!(seldom.happened(1), Some(4));
    }
}
