//! A bucket of requests or tokens: so many flow in each minute, and so many it holds. Pure: the time is given.
//!
//! Counted in whole parts of a token, so that nothing is lost to rounding however often it is looked at. What was taken can
//! be given back, and what was used beyond it is a debt, which the next minutes pay.

use std::time::Duration;

/// Parts of one: as many flow in each millisecond as there are allowed in a minute.
const PARTS: i64 = 60_000;

/// A debt is never more than this many minutes' worth.
const LONGEST_DEBT: i64 = 60;

/// How much a bucket takes in, and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// What flows in each minute; at least 1.
    pub(super) per_minute: u64,
    /// What it holds; at least 1.
    pub(super) capacity: u64,
}

/// What is in it, as of a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// In [`PARTS`]; below zero: a debt.
    level: i64,
    /// Since some beginning.
    at: Duration,
}

/// There is not enough in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// After this time there will be, if nobody takes any meanwhile.
    For(Duration),
    /// It never holds as much.
    Forever,
}

impl Rate {
    /// As much as flows in a minute.
    pub(super) const fn minute(per_minute: u64) -> Self {
        Self { per_minute, capacity: per_minute }
    }

    /// The share of one among so many.
    pub(super) fn shared(self, among: u64) -> Self {
        let share = |amount: u64| (amount / among.max(1)).max(1);
        Self { per_minute: share(self.per_minute), capacity: share(self.capacity) }
    }

    fn full(self) -> i64 {
        parts(self.capacity)
    }

    /// How long until so many parts have flowed in.
    fn time_for(self, parts: i64) -> Duration {
        let per_ms = i64::try_from(self.per_minute).unwrap_or(i64::MAX).max(1);
        let ms = parts.max(0).div_euclid(per_ms) + i64::from(parts.max(0) % per_ms > 0);
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

impl Bucket {
    /// A full one.
    pub(super) fn full(rate: Rate, now: Duration) -> Self {
        Self { level: rate.full(), at: now }
    }

    /// Whether so much can be taken.
    pub(super) fn has(&mut self, rate: Rate, amount: u64, now: Duration) -> Result<(), Short> {
        self.fill(rate, now);
        match parts(amount) - self.level {
            ..=0 => Ok(()),
            _ if amount > rate.capacity => Err(Short::Forever),
            missing => Err(Short::For(rate.time_for(missing))),
        }
    }

    /// Takes so much, also what is not there.
    pub(super) fn take(&mut self, rate: Rate, amount: u64, now: Duration) {
        self.fill(rate, now);
        let least = -parts(rate.per_minute).saturating_mul(LONGEST_DEBT);
        self.level = self.level.saturating_sub(parts(amount)).max(least);
    }

    /// Gives back what was taken and not used.
    pub(super) fn give_back(&mut self, rate: Rate, amount: u64, now: Duration) {
        self.fill(rate, now);
        self.level = self.level.saturating_add(parts(amount)).min(rate.full());
    }

    /// What can be taken now.
    pub(super) fn left(&mut self, rate: Rate, now: Duration) -> u64 {
        self.fill(rate, now);
        u64::try_from(self.level.div_euclid(PARTS)).unwrap_or(0)
    }

    /// The time until it is full.
    pub(super) fn full_in(&mut self, rate: Rate, now: Duration) -> Duration {
        self.fill(rate, now);
        rate.time_for(rate.full() - self.level)
    }

    fn fill(&mut self, rate: Rate, now: Duration) {
        // What is less than a millisecond counts the next time.
        let passed = now.saturating_sub(self.at).as_millis();
        let Some(ms) = i64::try_from(passed).ok().filter(|ms| *ms > 0) else { return };
        self.at += Duration::from_millis(ms.unsigned_abs());
        let per_ms = i64::try_from(rate.per_minute).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(per_ms.saturating_mul(ms)).min(rate.full());
    }
}

fn parts(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX).saturating_mul(PARTS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes it if it is there.
    fn took(bucket: &mut Bucket, rate: Rate, amount: u64, now: Duration) -> Result<(), Short> {
        bucket.has(rate, amount, now)?;
        bucket.take(rate, amount, now);
        Ok(())
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_after_the_other() {
        let rate = Rate { per_minute: 60, capacity: 10 };
        let mut bucket = Bucket::full(rate, SECOND);
        assert_eq!((0..20).filter(|_| took(&mut bucket, rate, 1, SECOND).is_ok()).count(), 10);
        assert_eq!(took(&mut bucket, rate, 1, SECOND), Err(Short::For(SECOND)));
        assert_eq!(took(&mut bucket, rate, 1, SECOND * 3 / 2), Err(Short::For(SECOND / 2)));
        assert_eq!(took(&mut bucket, rate, 1, SECOND * 2), Ok(()));
        assert_eq!(bucket.full_in(rate, SECOND * 2), SECOND * 10);
        assert_eq!((bucket.left(rate, SECOND * 5), bucket.left(rate, SECOND * 500)), (3, 10));
    }

    #[test]
    fn what_never_fits_is_told_from_what_does_later() {
        let rate = Rate::minute(100);
        let mut bucket = Bucket::full(rate, SECOND);
        assert_eq!(bucket.has(rate, 101, SECOND), Err(Short::Forever));
        assert_eq!(took(&mut bucket, rate, 100, SECOND), Ok(()));
        assert_eq!(bucket.has(rate, 100, SECOND), Err(Short::For(SECOND * 60)));
    }

    #[test]
    fn what_was_not_used_comes_back_and_what_was_used_beyond_is_owed() {
        let rate = Rate::minute(600);
        let mut bucket = Bucket::full(rate, SECOND);
        bucket.take(rate, 600, SECOND);
        bucket.give_back(rate, 200, SECOND);
        assert_eq!(bucket.left(rate, SECOND), 200);
        bucket.give_back(rate, 9_999, SECOND);
        assert_eq!(bucket.left(rate, SECOND), 600, "no more than it holds");
        bucket.take(rate, 700, SECOND);
        assert_eq!(bucket.has(rate, 10, SECOND), Err(Short::For(SECOND * 11)));
        bucket.take(rate, u64::MAX, SECOND);
        assert_eq!(bucket.has(rate, 1, SECOND * 3602), Ok(()), "a debt has an end");
    }

    #[test]
    fn looking_often_loses_nothing() {
        let rate = Rate { per_minute: 7, capacity: 7 };
        let mut bucket = Bucket::full(rate, Duration::ZERO);
        bucket.take(rate, 7, Duration::ZERO);
        for micros in (0..60_000_000).step_by(333) {
            bucket.fill(rate, Duration::from_micros(micros));
        }
        assert_eq!(bucket.left(rate, SECOND * 60), 7);
    }

    proptest! {
        /// Whatever is asked for when, no more is let through than flowed in and was there at first.
        #[test]
        fn nobody_gets_more_than_the_limit_and_one_burst(
            (per_minute, capacity) in (1_u64..2_000, 1_u64..500),
            asks in prop::collection::vec((0_u64..3_000, 1_u64..50), 1..200),
        ) {
            let rate = Rate { per_minute, capacity };
            let (mut bucket, mut now, mut got) = (Bucket::full(rate, Duration::ZERO), 0, 0);
            for (pause, amount) in asks {
                now += pause;
                if took(&mut bucket, rate, amount, Duration::from_millis(now)).is_ok() {
                    got += amount;
                }
                prop_assert!(got * 60_000 <= per_minute * now + capacity * 60_000);
            }
        }

        /// Who is told to wait so long gets it then.
        #[test]
        fn who_comes_back_when_it_is_told_to_is_let_through(
            (per_minute, capacity) in (1_u64..100_000, 1_u64..5_000), amount in 1_u64..5_000, taken in 0_u64..9_000,
        ) {
            let rate = Rate { per_minute, capacity };
            let mut bucket = Bucket::full(rate, Duration::ZERO);
            bucket.take(rate, taken, Duration::ZERO);
            match bucket.has(rate, amount, Duration::ZERO) {
                Ok(()) => {}
                Err(Short::Forever) => prop_assert!(amount > capacity),
                Err(Short::For(wait)) => prop_assert_eq!(bucket.has(rate, amount, wait), Ok(())),
            }
        }
    }
}
