//! How many requests a service is given at once: as many as are configured, fewer once it says that they are too many,
//! and again more while it does not. Pure: it is told what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// Without a word of overload for so long, one request more is allowed. It is also the shortest time between two words of
/// overload that count: they come in bursts.
pub(crate) const CLEAN: Duration = Duration::from_secs(1);

/// It is not lowered below this, nor below what is configured: overload that comes whatever is sent says nothing of how
/// much may be sent.
pub(crate) const LOWEST: usize = 8;

/// A limit that adapts: additive increase, multiplicative decrease.
#[derive(Debug)]
pub(crate) struct Limit {
    configured: usize,
    /// `None`: it is as configured.
    lowered: Option<Lowered>,
}

/// A limit that was brought down.
#[derive(Debug, Clone, Copy)]
struct Lowered {
    /// To this many, and what was won back since by calls that went well.
    to: usize,
    /// When.
    at: Instant,
    /// Calls that went well since one more was allowed for them.
    went_well: usize,
}

impl Limit {
    /// This many, at least one.
    pub(crate) fn new(configured: usize) -> Self {
        Self { configured: configured.max(1), lowered: None }
    }

    /// How many may be in flight now.
    pub(crate) fn now(&self, now: Instant) -> usize {
        let Some(Lowered { to, at, .. }) = self.lowered else { return self.configured };
        let clean = now.saturating_duration_since(at).as_secs() / CLEAN.as_secs();
        to.saturating_add(usize::try_from(clean).unwrap_or(usize::MAX)).min(self.configured)
    }

    /// As it is configured.
    pub(crate) const fn configured(&self) -> usize {
        self.configured
    }

    /// The service said that it has too much to do, in answer to a request of `begun`, while so many were in flight.
    /// The new limit, if this changes it: what was sent before the last change says nothing of it.
    pub(crate) fn overloaded(&mut self, begun: Instant, in_flight: usize, now: Instant) -> Option<usize> {
        let counts = |at: Instant| begun >= at && now.saturating_duration_since(at) >= CLEAN;
        if self.lowered.is_some_and(|lowered| !counts(lowered.at)) {
            return None;
        }
        // What was in flight was too much, however high the limit.
        let limit = self.now(now);
        let to = (limit.min(in_flight) / 2).max(LOWEST).min(limit);
        self.lowered = Some(Lowered { to, at: now, went_well: 0 });
        (to < limit).then_some(to)
    }

    /// A call went well. As many as may be in flight win one more. Whether the limit is now where it was configured, if
    /// it was lower.
    pub(crate) fn succeeded(&mut self, now: Instant) -> bool {
        let limit = self.now(now);
        let Some(lowered) = &mut self.lowered else { return false };
        lowered.went_well += 1;
        if lowered.went_well >= limit {
            lowered.to += 1;
            lowered.went_well = 0;
        }
        let recovered = self.now(now) == self.configured;
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
        assert_eq!(limit.overloaded(start - CLEAN, 39, start + CLEAN), None, "sent before the limit was lowered");
        assert_eq!(limit.overloaded(start, 39, start + CLEAN / 2), None, "the same burst");
        assert_eq!(limit.now(start + CLEAN * 3), 23);
        assert_eq!(limit.overloaded(start + CLEAN, 23, start + CLEAN * 3), Some(11));
        assert!(!limit.succeeded(start + CLEAN * 50));
        assert_eq!(limit.now(start + CLEAN * 100), 64);
        assert!(limit.succeeded(start + CLEAN * 100) && !limit.succeeded(start + CLEAN * 100));
    }

    #[test]
    fn calls_that_go_well_bring_it_back_too() {
        let start = Instant::now();
        let mut limit = Limit::new(64);
        limit.overloaded(start, 32, start);
        assert_eq!(limit.now(start), 16);
        (0..16).for_each(|_| assert!(!limit.succeeded(start)));
        assert_eq!(limit.now(start), 17);
        let calls = (1..5000).find(|_| limit.succeeded(start)).unwrap();
        assert_eq!((limit.now(start), calls), (64, (17..64).sum()));
    }

    #[test]
    fn it_is_not_brought_down_to_nothing_and_one_request_is_always_allowed() {
        let now = Instant::now();
        let mut limit = Limit::new(0);
        assert_eq!((limit.now(now), limit.overloaded(now, 1, now), limit.now(now)), (1, None, 1));
        let mut limit = Limit::new(64);
        for second in 0..60 {
            let now = now + CLEAN * second;
            limit.overloaded(now, 64, now);
            assert!(limit.now(now) >= LOWEST);
        }
    }
}
