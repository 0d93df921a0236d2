//! Rules that hold in some simulations: nobody takes a reply from an instance that is well, and no more replies run at once
//! than may.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::checker::{Checker, Deletion, State};
use crate::records::Taken;

/// What holds in a simulation, and not in all.
pub(crate) struct Rules {
    /// Since when an instance runs, is connected and has not left. Only where all is heard.
    pub(crate) well_since: Option<WellSince>,
    /// How many replies may run at once, where no instance came or went since a while.
    pub(crate) bound: Option<u64>,
    pub(crate) changed: Arc<Mutex<Changed>>,
}

/// When an instance came, went, or was not heard last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changed {
    last: Instant,
    before: Instant,
    /// The last time one did not go for good.
    is_pause: bool,
}

impl Changed {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now(), before: Instant::now(), is_pause: false }
    }

    /// It happens now; `is_pause`: an instance stands still or is cut off, and will be back.
    pub(crate) fn note(&mut self, is_pause: bool) {
        *self = Self { last: Instant::now(), before: self.last, is_pause };
    }

    /// How long an instance has been away, of which nothing but that happened for long.
    fn pause(&self) -> Option<Duration> {
        (self.is_pause && self.last - self.before > LONGEST_TAKEOVER).then(|| self.last.elapsed())
    }
}

pub(crate) type WellSince = Box<dyn Fn(&str) -> Option<Instant> + Send + Sync>;

/// After so long all instances know of each other.
const STEADY: Duration = Duration::from_secs(5);

/// A takeover that was begun while its owner seemed dead may be stored so much later.
const LONGEST_TAKEOVER: Duration = Duration::from_secs(15);

/// For so long nobody is taken for dead who may be back: half a second until it is asked, less one beat, and what it may take
/// to answer.
const SHORT_PAUSE: Duration = Duration::from_millis(1600);

impl Checker {
    /// Nobody takes a reply from an instance that works and is heard; but for whoever stops it.
    pub(crate) fn look_at_takeover(&self, taken: &Taken) {
        let known = self.reply(&taken.reply);
        if taken.from == taken.by || known.is_cancelled || known.deletion != Deletion::None {
            return;
        }
        let well = |instance: &String| self.rules.well_since.as_ref().and_then(|since| since(instance));
        let is_well = |instance| well(instance).is_some_and(|since| since.elapsed() > LONGEST_TAKEOVER);
        if is_well(&taken.from) && is_well(&taken.by) {
            let Taken { reply, from, by } = taken;
            self.violation(format!("{reply} is taken from {from}, which is well, by {by}"));
        }
        let pause = self.rules.changed.lock().pause().filter(|pause| *pause < SHORT_PAUSE);
        if let Some(pause) = pause.filter(|_| self.rules.well_since.is_some()) {
            self.violation(format!("{} is taken from {} after {pause:?}", taken.reply, taken.from));
        }
    }

    /// Notes a reply that is accepted, and counts those that run.
    pub(crate) fn count(&self, reply: String) {
        let Some(most) = self.rules.bound else { return };
        let steady = self.rules.changed.lock().last + STEADY;
        let mut state = self.state.lock();
        state.begun.push((Instant::now(), reply));
        let State { begun, records, .. } = &mut *state;
        begun.retain(|(_, reply)| records.runs_where_it_was_accepted(reply));
        let running = begun.iter().filter(|(at, _)| *at > steady).count() as u64;
        drop(state);
        if running > most {
            self.violation(format!("{running} replies run at once, and {most} may"));
        }
    }
}
