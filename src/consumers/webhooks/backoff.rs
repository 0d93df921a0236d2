//! When to try again. No I/O, and no clock of its own.

use std::time::{Duration, Instant};

/// The shortest and the longest pause between two tries of one delivery.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_hours(4)];

/// So many failures in a row, and an endpoint is left alone for a while.
const FAILURES: u32 = 5;

/// For how long, the first time and at most. Then one delivery finds out.
const OPEN: [Duration; 2] = [Duration::from_secs(2), Duration::from_mins(5)];

/// How long to wait after so many tries of one delivery: about four times as long each time. `share`, from 0 to 1, is random:
/// what failed together does not come again together.
pub(super) fn pause(attempts: u64, share: f64) -> Duration {
    let [first, longest] = PAUSE;
    let doubled = 2 * attempts.saturating_sub(1).min(12);
    jittered(first.saturating_mul(1 << doubled).min(longest), share)
}

/// Half of it, and a random part of the other half.
fn jittered(pause: Duration, share: f64) -> Duration {
    pause.div_f64(2.0) + pause.div_f64(2.0).mul_f64(share.clamp(0.0, 1.0))
}

/// Whether an endpoint is tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    failures: u32,
    openings: u32,
    open_until: Option<Instant>,
}

/// What an endpoint is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everything.
    Closed,
    /// One delivery, which finds out.
    HalfOpen,
    /// Nothing, until then.
    Open(Instant),
}

impl Breaker {
    pub(super) fn phase(&self, now: Instant) -> Phase {
        match self.open_until {
            None => Phase::Closed,
            Some(until) if until <= now => Phase::HalfOpen,
            Some(until) => Phase::Open(until),
        }
    }

    /// A delivery was taken. Whether the endpoint had been left alone.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(self).open_until.is_some()
    }

    /// A delivery was not taken. Whether the endpoint is left alone from now on.
    pub(super) fn failed(&mut self, now: Instant, share: f64) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.phase(now) {
            // Of many that hang together, the others say nothing new.
            Phase::Open(_) => return false,
            Phase::Closed if self.failures < FAILURES => return false,
            Phase::Closed | Phase::HalfOpen => {}
        }
        let [first, longest] = OPEN;
        let pause = first.saturating_mul(1 << self.openings.min(16)).min(longest);
        self.openings += 1;
        self.open_until.replace(now + jittered(pause, share)).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_some_hours_and_many_fit_into_three_days() {
        let pauses: Vec<_> = (1..=20).map(|attempts| pause(attempts, 1.0)).collect();
        assert_eq!(pauses[..4], [1, 4, 16, 64].map(Duration::from_secs));
        assert!(pauses.is_sorted() && pauses[19] == PAUSE[1]);
        assert_eq!(pause(u64::MAX, 0.0), PAUSE[1] / 2);
        assert_eq!(pause(0, 0.0), PAUSE[0] / 2);
        let tries = pauses.iter().scan(Duration::ZERO, |sum, pause| {
            *sum += *pause;
            Some(*sum)
        });
        let tries = tries.take_while(|sum| *sum < Duration::from_hours(72)).count();
        assert!((15..=40).contains(&tries), "{tries}");
        for share in [0.0, 0.3, 1.0] {
            let pause = pause(3, share);
            assert!(pause >= Duration::from_secs(8) && pause <= Duration::from_secs(16), "{pause:?}");
        }
    }

    #[test]
    fn an_endpoint_that_fails_is_left_alone_for_longer_and_longer_and_one_success_ends_that() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert!(!breaker.failed(now, 1.0));
            assert_eq!(breaker.phase(now), Phase::Closed);
        }
        assert!(breaker.failed(now, 1.0), "the fifth");
        assert_eq!(breaker.phase(now), Phase::Open(now + OPEN[0]));
        assert!(!breaker.failed(now, 1.0), "one that was under way");
        assert_eq!(breaker.phase(now), Phase::Open(now + OPEN[0]));
        let then = now + OPEN[0];
        assert_eq!(breaker.phase(then), Phase::HalfOpen);
        assert!(!breaker.failed(then, 1.0), "it was left alone before");
        assert_eq!(breaker.phase(then), Phase::Open(then + 2 * OPEN[0]));
        let mut later = then;
        for _ in 0..40 {
            later += OPEN[1];
            breaker.failed(later, 1.0);
        }
        assert_eq!(breaker.phase(later), Phase::Open(later + OPEN[1]));
        assert!(breaker.succeeded() && !breaker.succeeded());
        assert_eq!(breaker.phase(later), Phase::Closed);
        assert!(!breaker.failed(later, 1.0), "it counts from one again");
    }
}
