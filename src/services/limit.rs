//! How many requests a service is given at once: as many as are configured, fewer once it says that they are too many,
//! and again more while it does not. Pure: it is told what time it is.
//!
//! A service that refuses a call and then takes one that came on top of more others has not said that they are too many.

use std::time::Duration;

use tokio::time::Instant;

/// Without a word of overload for so long, one request more is allowed. It is also the shortest time between two words of
/// overload that count: they come in bursts.
pub(crate) const CLEAN: Duration = Duration::from_secs(1);

/// It is not lowered below this, nor below what is configured: overload that comes whatever is sent says nothing of how
/// much may be sent.
pub(crate) const LOWEST: usize = 8;

/// In so many clean seconds it is back where the service said that they are too many; from there on it grows slowly.
const BACK: usize = 4;

/// So many refusals lower it, if no call that came on top of as many others is taken between them.
const ENOUGH: u32 = 2;

/// So many do, however few calls there are.
const ENOUGH_OF_FEW: u32 = 3;

/// Refusals that lie so far apart have nothing to do with each other.
const APART: Duration = Duration::from_secs(5);

/// A limit that adapts: additive increase, multiplicative decrease.
#[derive(Debug)]
pub(crate) struct Limit {
    configured: usize,
    /// `None`: it is as configured.
    lowered: Option<Lowered>,
    /// `None`: the last that came on top of as many others as one that was refused was taken.
    refused: Option<Refused>,
}

/// What was refused lately.
#[derive(Debug, Clone, Copy)]
struct Refused {
    /// On top of how many others, itself included: the fewest.
    place: usize,
    times: u32,
    /// When last.
    at: Instant,
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// When it was sent.
    pub(crate) begun: Instant,
    /// Which of those in flight it was then: 1 where there were no others.
    pub(crate) place: usize,
}

/// A limit that was brought down.
#[derive(Debug, Clone, Copy)]
struct Lowered {
    /// To this many, and what was won back since by calls that went well.
    to: usize,
    /// From so many.
    from: usize,
    /// When.
    at: Instant,
    /// Calls that went well since one more was allowed for them.
    went_well: usize,
}

impl Limit {
    /// This many, at least one.
    pub(crate) fn new(configured: usize) -> Self {
        Self { configured: configured.max(1), lowered: None, refused: None }
    }

    /// How many may be in flight now.
    pub(crate) fn now(&self, now: Instant) -> usize {
        let Some(Lowered { to, from, at, .. }) = self.lowered else { return self.configured };
        let clean = now.saturating_duration_since(at).as_secs() / CLEAN.as_secs();
        let clean = usize::try_from(clean).unwrap_or(usize::MAX);
        // Too many may have been too many for a moment.
        let gap = from.saturating_sub(to);
        let each = (gap / BACK).max(1);
        let back = clean.saturating_mul(each);
        let grown = if back <= gap { to + back } else { from.max(to).saturating_add(clean - gap.div_ceil(each)) };
        grown.min(self.configured)
    }

    /// As it is configured.
    pub(crate) const fn configured(&self) -> usize {
        self.configured
    }

    /// The service took a request, which was the so-manieth in flight when it was sent.
    pub(crate) fn taken(&mut self, place: usize) {
        if self.refused.is_some_and(|refused| place >= refused.place) {
            self.refused = None;
        }
    }

    /// The service said that it has too much to do, in answer to a request of `begun`, which was then the so-manieth in
    /// flight, while so many are. The new limit, if this changes it: what was sent before the last change says nothing
    /// of it, nor does a refusal alone.
    pub(crate) fn overloaded(&mut self, request: Request, in_flight: usize, now: Instant) -> Option<usize> {
        let Request { begun, place } = request;
        let counts = |at: Instant| begun >= at && now.saturating_duration_since(at) >= CLEAN;
        if self.lowered.is_some_and(|lowered| !counts(lowered.at)) {
            return None;
        }
        let before = self.refused.filter(|before| now.saturating_duration_since(before.at) < APART);
        let place = before.map_or(place, |before| before.place.min(place));
        let times = before.map_or(0, |before| before.times) + 1;
        self.refused = Some(Refused { place, times, at: now });
        if times < if place > LOWEST { ENOUGH } else { ENOUGH_OF_FEW } {
            return None;
        }
        self.refused = None;
        // What was in flight was too much, however high the limit.
        let limit = self.now(now);
        let from = limit.min(in_flight);
        let to = (from / 2).max(LOWEST).min(limit);
        self.lowered = Some(Lowered { to, from, at: now, went_well: 0 });
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

    /// Refusals that say enough.
    fn overloaded(limit: &mut Limit, begun: Instant, in_flight: usize, now: Instant) -> Option<usize> {
        let request = Request { begun, place: in_flight };
        (0..ENOUGH_OF_FEW).find_map(|_| limit.overloaded(request, in_flight, now))
    }

    #[test]
    fn overload_halves_what_was_in_flight_once_and_clean_seconds_bring_it_back() {
        let start = Instant::now();
        let mut limit = Limit::new(64);
        assert_eq!(overloaded(&mut limit, start, 40, start), Some(20));
        let before = start.checked_sub(CLEAN).unwrap();
        assert_eq!(overloaded(&mut limit, before, 39, start + CLEAN), None, "sent before the limit was lowered");
        assert_eq!(overloaded(&mut limit, start, 39, start + CLEAN / 2), None, "the same burst");
        assert_eq!([1, 3, 4, 5, 9].map(|clean| limit.now(start + CLEAN * clean)), [25, 35, 40, 41, 45]);
        assert_eq!(overloaded(&mut limit, start + CLEAN, 23, start + CLEAN * 3), Some(11));
        assert!(!limit.succeeded(start + CLEAN * 40));
        assert_eq!(limit.now(start + CLEAN * 100), 64);
        assert!(limit.succeeded(start + CLEAN * 100) && !limit.succeeded(start + CLEAN * 100));
    }

    #[test]
    fn calls_that_go_well_bring_it_back_too() {
        let start = Instant::now();
        let mut limit = Limit::new(64);
        overloaded(&mut limit, start, 32, start);
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
        assert_eq!((limit.now(now), overloaded(&mut limit, now, 1, now), limit.now(now)), (1, None, 1));
        let mut limit = Limit::new(64);
        for second in 0..60 {
            let now = now + CLEAN * second;
            overloaded(&mut limit, now, 64, now);
            assert!(limit.now(now) >= LOWEST);
        }
    }

    #[test]
    fn a_refusal_after_which_more_is_taken_is_no_overload() {
        let start = Instant::now();
        let mut limit = Limit::new(1000);
        for call in 0..100 {
            let now = start + CLEAN * call / 10;
            let request = Request { begun: now, place: 20 };
            assert_eq!(limit.overloaded(request, 25, now), None, "of call {call}");
            limit.taken(19);
            limit.taken(21);
        }
        let now = start + CLEAN * 10;
        assert_eq!(limit.overloaded(Request { begun: now, place: 31 }, 31, now), None);
        limit.taken(30);
        assert_eq!(limit.overloaded(Request { begun: now, place: 32 }, 32, now), Some(16), "30 is what it takes");
    }

    #[test]
    fn a_service_that_refuses_whatever_is_sent_gets_little() {
        let now = Instant::now();
        let mut limit = Limit::new(1000);
        let refused = |limit: &mut Limit, now| limit.overloaded(Request { begun: now, place: 3 }, 3, now);
        assert_eq!([(); 3].map(|()| refused(&mut limit, now)), [None, None, Some(LOWEST)]);
        let mut limit = Limit::new(1000);
        for refusal in 0..10 {
            assert_eq!(refused(&mut limit, now + APART * refusal), None, "they lie far apart");
        }
    }
}
