//! Whether a service is asked at all. A state machine, told how asking went and what time it is; it asks nobody.
//!
//! Closed: it is asked. Open: it failed too often, or a health check did; it is asked only where nobody else can be.
//! Half open: one real request tries whether it works again.

use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row open it, where nothing else is said.
pub(crate) const IN_A_ROW: u32 = 5;

/// So many calls have to have ended within a minute before their share of failures says something.
pub(crate) const ENOUGH_CALLS: u32 = 10;

/// How long it stays open at first, where only real requests can tell whether the service works.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(2500);

/// The longest that it stays open before it is tried again: the service is used again soon after it is back.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a failing health check alone keeps it from being tried: the check may be what is wrong.
pub(crate) const LONGEST_DOUBT: Duration = Duration::from_mins(1);

/// The minute over which the share of failures is looked at, in parts.
const SLOT: Duration = Duration::from_secs(5);
const SLOTS: usize = 12;

/// Whether a service is asked.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// So many failures in a row open it.
    threshold: u32,
    /// Failures since it last went well.
    in_a_row: u32,
    calls: Calls,
    /// How long it was open last.
    pause: Duration,
    /// Where slots are counted from.
    epoch: Instant,
}

/// How a breaker is, for those who look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is asked.
    Closed,
    /// It is not.
    Open,
    /// One request tries it.
    HalfOpen,
}

impl Phase {
    /// A word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admits {
    /// It may.
    Yes,
    /// It may, alone: how it goes decides.
    Trial,
    /// Only where nobody else can be asked.
    No,
}

/// A change of state, to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It opened.
    Opened(Why),
    /// It is to be tried.
    HalfOpened,
    /// It is asked again.
    Closed,
}

/// Why a breaker opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Calls failed, one after another.
    InARow(u32),
    /// Too large a share failed.
    Share {
        /// So many failed …
        failed: u32,
        /// … of so many.
        of: u32,
    },
    /// The request that tried it failed.
    Trial,
    /// A health check failed.
    Check,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        since: Instant,
        /// When it may be tried.
        until: Instant,
        /// The last health check failed: the service cannot be reached.
        away: bool,
    },
    HalfOpen {
        since: Instant,
        /// A request is trying it.
        trying: bool,
    },
}

impl Breaker {
    /// A closed one.
    pub(crate) const fn new(now: Instant) -> Self {
        Self::opening_after(IN_A_ROW, now)
    }

    /// A closed one that so many failures in a row open.
    pub(crate) const fn opening_after(threshold: u32, now: Instant) -> Self {
        Self { state: State::Closed, threshold, in_a_row: 0, calls: Calls::new(), pause: FIRST_PAUSE, epoch: now }
    }

    /// How it is now.
    pub(crate) const fn phase(&self) -> Phase {
        match self.state {
            State::Closed => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// Whether a health check found that the service cannot be reached.
    pub(crate) const fn is_away(&self) -> bool {
        matches!(self.state, State::Open { away: true, .. })
    }

    /// Whether a request could go now. Changes nothing.
    pub(crate) fn admits(&self, now: Instant) -> Admits {
        match self.state {
            State::Closed => Admits::Yes,
            State::Open { until, .. } if now >= until => Admits::Trial,
            State::HalfOpen { trying: false, .. } => Admits::Trial,
            State::Open { .. } | State::HalfOpen { .. } => Admits::No,
        }
    }

    /// A request goes, admitted or not: where there is nobody else, it goes all the same. Whether it is the one that
    /// tries the service, and what that changed.
    pub(crate) fn goes(&mut self, now: Instant) -> (bool, Option<Change>) {
        if self.admits(now) != Admits::Trial {
            return (false, None);
        }
        let was_open = self.phase() == Phase::Open;
        self.state = State::HalfOpen { since: now, trying: true };
        (true, was_open.then_some(Change::HalfOpened))
    }

    /// A call that was begun at `begun` went well, or is going well: it has brought something.
    pub(crate) fn spoke(&mut self, begun: Instant) -> Option<Change> {
        self.in_a_row = 0;
        let since = match self.state {
            State::Closed => return None,
            State::Open { since, .. } | State::HalfOpen { since, .. } => since,
        };
        // What was begun before says nothing of how it is now.
        (begun >= since).then(|| self.close())
    }

    /// A call that was begun at `begun` went well to its end.
    pub(crate) fn succeeded(&mut self, begun: Instant, now: Instant) -> Option<Change> {
        self.calls.count(self.slot(now), false);
        self.spoke(begun)
    }

    /// A call failed; it was the one that tried the service, or not.
    pub(crate) fn failed(&mut self, was_trial: bool, now: Instant) -> Option<Change> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.calls.count(self.slot(now), true);
        match self.state {
            State::Closed => {}
            State::HalfOpen { .. } if was_trial => {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                return Some(self.open(now, self.pause, false, Why::Trial));
            }
            State::Open { .. } | State::HalfOpen { .. } => return None,
        }
        let (failed, of) = self.calls.within_window(self.slot(now));
        let why = if self.in_a_row >= self.threshold {
            Why::InARow(self.in_a_row)
        } else if of >= ENOUGH_CALLS && failed * 2 >= of {
            Why::Share { failed, of }
        } else {
            return None;
        };
        Some(self.open(now, self.pause, false, why))
    }

    /// The request that tried the service ended without saying how it is: another one is to try.
    pub(crate) fn trial_dropped(&mut self) {
        if let State::HalfOpen { trying, .. } = &mut self.state {
            *trying = false;
        }
    }

    /// A health check went well: the service can be tried.
    pub(crate) fn check_succeeded(&mut self, now: Instant) -> Option<Change> {
        match &mut self.state {
            // What only real requests can tell is not overruled before its time.
            State::Open { away, until, .. } if *away || now >= *until => {
                self.state = State::HalfOpen { since: now, trying: false };
                Some(Change::HalfOpened)
            }
            _ => None,
        }
    }

    /// A health check failed, and nothing was heard of the service meanwhile.
    pub(crate) fn check_failed(&mut self, now: Instant) -> Option<Change> {
        match &mut self.state {
            State::Open { until, away, .. } => {
                if !std::mem::replace(away, true) {
                    *until = (*until).max(now + LONGEST_DOUBT);
                }
                None
            }
            State::HalfOpen { trying: true, .. } => None,
            State::Closed | State::HalfOpen { .. } => Some(self.open(now, LONGEST_DOUBT, true, Why::Check)),
        }
    }

    fn open(&mut self, now: Instant, pause: Duration, away: bool, why: Why) -> Change {
        self.state = State::Open { since: now, until: now + pause, away };
        self.calls = Calls::new();
        self.in_a_row = 0;
        Change::Opened(why)
    }

    fn close(&mut self) -> Change {
        self.state = State::Closed;
        self.calls = Calls::new();
        self.in_a_row = 0;
        self.pause = FIRST_PAUSE;
        Change::Closed
    }

    fn slot(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs() / SLOT.as_secs()
    }
}

/// How calls ended lately, by slots of time: bounded, however many calls there are.
#[derive(Debug)]
struct Calls {
    slots: [Counted; SLOTS],
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    slot: u64,
    failed: u32,
    of: u32,
}

impl Calls {
    const fn new() -> Self {
        Self { slots: [Counted { slot: 0, failed: 0, of: 0 }; SLOTS] }
    }

    fn count(&mut self, slot: u64, failed: bool) {
        let counted = &mut self.slots[usize::try_from(slot).unwrap_or(usize::MAX) % SLOTS];
        if counted.slot != slot {
            *counted = Counted { slot, failed: 0, of: 0 };
        }
        counted.failed = counted.failed.saturating_add(failed.into());
        counted.of = counted.of.saturating_add(1);
    }

    /// How many failed, of how many.
    fn within_window(&self, now: u64) -> (u32, u32) {
        let recent = self.slots.iter().filter(|counted| counted.slot + SLOTS as u64 > now);
        recent.fold((0, 0), |(failed, of), counted| {
            (failed.saturating_add(counted.failed), of.saturating_add(counted.of))
        })
    }
}

#[cfg(test)]
mod tests;
