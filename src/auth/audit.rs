//! How often failures of authentication are told: whoever tries keys must not fill the disk with it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lines in each [`WINDOW`], at most.
const MOST: u32 = 20;

const WINDOW: Duration = Duration::from_secs(1);

/// Lets through a few in each window, and counts the others.
#[derive(Debug, Default)]
pub(super) struct RateLimit(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    told: u32,
    suppressed: u64,
}

impl RateLimit {
    /// Whether to tell this one: with how many were not told since the last that was.
    pub(super) fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock();
        if window.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            (window.began, window.told) = (Some(now), 0);
        }
        if window.told >= MOST {
            window.suppressed += 1;
            return None;
        }
        window.told += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_a_few_lines_that_count_the_rest() {
        let (limit, start) = (RateLimit::default(), Instant::now());
        let told = (0..1000).filter(|_| limit.admit_at(start).is_some()).count();
        assert_eq!(told, MOST as usize);
        assert_eq!(limit.admit_at(start + WINDOW), Some(1000 - u64::from(MOST)));
        assert_eq!(limit.admit_at(start + WINDOW), Some(0));
    }
}
