//! How many requests a service is given at once: as many as are configured, fewer once it says that they are too many,
//! and again more while it does not. Pure: it is told what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// Without a word of overload for so long, one request more is allowed.
pub const CLEAN: Duration = Duration::from_secs(1);

/// A limit that adapts: additive increase, multiplicative decrease.
#[derive(Debug)]
pub struct Limit {
    configured: usize,
    /// What it was brought down to, and when. `None`: it is as configured.
    lowered: Option<(usize, Instant)>,
}

impl Limit {
    /// This many, at least one.
    pub fn new(configured: usize) -> Self {
        Self { configured: configured.max(1), lowered: None }
    }

    /// How many may be in flight now.
    pub fn now(&self, now: Instant) -> usize {
        let Some((to, at)) = self.lowered else { return self.configured };
        let clean = now.saturating_duration_since(at).as_secs() / CLEAN.as_secs();
        to.saturating_add(usize::try_from(clean).unwrap_or(usize::MAX)).min(self.configured)
    }

    /// As it is configured.
    pub const fn configured(&self) -> usize {
        self.configured
    }

    /// The service said that it has too much to do, in answer to a request of `begun`, while so many were in flight.
    /// The new limit, if this changes it: what was sent before the last change says nothing of it.
    pub fn overloaded(&mut self, begun: Instant, in_flight: usize, now: Instant) -> Option<usize> {
        if self.lowered.is_some_and(|(_, at)| begun < at) {
            return None;
        }
        // What was in flight was too much, however high the limit.
        let limit = self.now(now);
        let to = (limit.min(in_flight) / 2).max(1);
        self.lowered = Some((to, now));
        (to < limit).then_some(to)
    }

    /// Whether it is back where it was configured, if it was lower.
    pub fn recovered(&mut self, now: Instant) -> bool {
        let recovered = self.lowered.is_some() && self.now(now) == self.configured;
        if recovered {
            self.lowered = None;
        }
        recovered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_halves_what_was_in_flight_once_and_clean_seconds_bring_it_back() {
        let start = Instant::now();
        let mut limit = Limit::new(64);
        assert_eq!(limit.overloaded(start, 40, start), Some(20));
        assert_eq!(limit.overloaded(start - CLEAN, 39, start), None, "sent before the limit was lowered");
        assert_eq!(limit.now(start + CLEAN * 3), 23);
        assert_eq!(limit.overloaded(start + CLEAN, 23, start + CLEAN * 3), Some(11));
        assert!(!limit.recovered(start + CLEAN * 50));
        assert_eq!(limit.now(start + CLEAN * 100), 64);
        assert!(limit.recovered(start + CLEAN * 100) && !limit.recovered(start + CLEAN * 100));
    }

    #[test]
    fn one_request_is_always_allowed() {
        let now = Instant::now();
        let mut limit = Limit::new(0);
        assert_eq!((limit.now(now), limit.overloaded(now, 1, now), limit.now(now)), (1, None, 1));
    }
}
