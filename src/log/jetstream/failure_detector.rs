//! Who was heard of when, and what follows from it. Pure: it knows neither NATS nor a clock.
//!
//! An instance beats four times a second. One that is silent for [`SILENT`] is asked: if nobody is there to answer twice
//! in a row, or no answer comes for [`DEAF`], it is dead. Whoever has been away itself (a lost connection, a frozen
//! process) heard nothing meanwhile, and judges nobody for [`REST`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::domain::ids::InstanceId;
use crate::log::peers::Life;

/// After so long without a beat an instance is asked.
pub(super) const SILENT: Duration = Duration::from_millis(500);

/// After so long without an answer it is dead.
pub(super) const DEAF: Duration = Duration::from_millis(1500);

/// How long nobody is judged after an absence of one's own.
pub(super) const REST: Duration = Duration::from_secs(3);

/// A dead instance is forgotten after this; who then asks for it finds out again.
const FORGET: Duration = Duration::from_hours(3);

/// So many times in a row nobody must be there to answer.
const EMPTY: u32 = 2;

/// All that are known.
#[derive(Debug)]
pub(super) struct FailureDetector {
    entries: HashMap<u64, Entry>,
    judges_from: Instant,
}

#[derive(Debug)]
struct Entry {
    heard: Instant,
    /// Since when it lives, as far as was heard.
    since: Instant,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    /// Never heard of, or silent: since when it is asked, and how often nobody was there in a row.
    Asked {
        since: Instant,
        empty: u32,
        known: bool,
    },
    Dead,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Here,
    /// Nobody listens there.
    Nobody,
    /// None came in time.
    None,
}

impl FailureDetector {
    pub(super) fn new(now: Instant) -> Self {
        Self { entries: HashMap::new(), judges_from: now + REST }
    }

    /// We were away: whatever was said, we did not hear it.
    pub(super) fn was_away(&mut self, now: Instant) {
        self.judges_from = now + REST;
        for entry in self.entries.values_mut() {
            if entry.state != State::Dead {
                entry.heard = now;
                entry.state = State::Alive;
            }
        }
    }

    /// It was heard of.
    pub(super) fn heard(&mut self, instance: InstanceId, now: Instant) {
        let known = self.entries.get(&instance.number()).filter(|known| known.state != State::Dead);
        let since = known.map_or(now, |known| known.since);
        self.entries.insert(instance.number(), Entry { heard: now, since, state: State::Alive });
    }

    /// It said goodbye.
    pub(super) fn left(&mut self, instance: InstanceId, now: Instant) {
        self.entries.insert(instance.number(), Entry { heard: now, since: now, state: State::Dead });
    }

    /// What is known of it. One that was never heard of will be asked.
    pub(super) fn life(&mut self, instance: InstanceId, now: Instant) -> Life {
        let stranger = || Entry { heard: now, since: now, state: State::Asked { since: now, empty: 0, known: false } };
        match self.entries.entry(instance.number()).or_insert_with(stranger).state {
            State::Alive | State::Asked { known: true, .. } => Life::Alive,
            State::Asked { .. } => Life::Unknown,
            State::Dead => Life::Dead,
        }
    }

    /// Those that live, as far as is known.
    pub(super) fn living(&self) -> impl Iterator<Item = InstanceId> {
        self.entries.iter().filter(|(_, entry)| entry.lives()).map(|(number, _)| InstanceId::from_number(*number))
    }

    /// Those that live, as far as is known, and that judge others: whoever came a moment ago does not yet.
    pub(super) fn judges(&self, now: Instant) -> impl Iterator<Item = InstanceId> {
        let judges = move |entry: &Entry| entry.lives() && now - entry.since >= REST;
        self.entries.iter().filter(move |(_, entry)| judges(entry)).map(|(number, _)| InstanceId::from_number(*number))
    }

    /// Those to be asked now.
    pub(super) fn silent(&mut self, now: Instant) -> Vec<InstanceId> {
        self.entries.retain(|_, entry| entry.state != State::Dead || now - entry.heard < FORGET);
        if now < self.judges_from {
            return Vec::new();
        }
        let mut asked = Vec::new();
        for (number, entry) in &mut self.entries {
            if entry.state == State::Alive && now - entry.heard > SILENT {
                entry.state = State::Asked { since: now, empty: 0, known: true };
            }
            if let State::Asked { since, .. } = &mut entry.state {
                // A stranger that was met while we did not judge is asked from now on.
                *since = (*since).max(self.judges_from);
                asked.push(InstanceId::from_number(*number));
            }
        }
        asked
    }

    /// Notes an answer. Whether the instance is dead now, and was not before.
    pub(super) fn answered(&mut self, instance: InstanceId, answer: Answer, now: Instant) -> bool {
        if answer == Answer::Here {
            self.heard(instance, now);
            return false;
        }
        let judges = now >= self.judges_from;
        let Some(entry) = self.entries.get_mut(&instance.number()) else { return false };
        let State::Asked { since, empty, .. } = &mut entry.state else { return false };
        *empty = if answer == Answer::Nobody { *empty + 1 } else { 0 };
        let dies = judges && (*empty >= EMPTY || (answer == Answer::None && now - *since >= DEAF));
        if dies {
            *entry = Entry { heard: now, since: now, state: State::Dead };
        }
        dies
    }
}

impl Entry {
    const fn lives(&self) -> bool {
        matches!(self.state, State::Alive | State::Asked { known: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A detector that judges, with one instance on it that has just beaten.
    fn detector() -> (FailureDetector, InstanceId, Instant) {
        let begun = Instant::now();
        let mut detector = FailureDetector::new(begun);
        let (instance, now) = (InstanceId::random(), begun + REST);
        detector.heard(instance, now);
        (detector, instance, now)
    }

    #[test]
    fn who_beats_lives_and_is_not_asked() {
        let (mut detector, instance, now) = detector();
        assert!(detector.silent(now + 450 * MS).is_empty());
        assert_eq!(detector.life(instance, now), Life::Alive);
        assert_eq!(detector.judges(now).count(), 0, "it has just come");
        assert_eq!(detector.judges(now + REST).collect::<Vec<_>>(), [instance]);
    }

    #[test]
    fn who_is_silent_is_asked_and_dead_when_twice_nobody_is_there() {
        let (mut detector, instance, now) = detector();
        let now = now + 800 * MS;
        assert_eq!(detector.silent(now), [instance]);
        assert_eq!(detector.life(instance, now), Life::Alive, "not yet");
        assert!(!detector.answered(instance, Answer::Nobody, now));
        assert!(detector.answered(instance, Answer::Nobody, now + 200 * MS));
        assert_eq!(detector.life(instance, now), Life::Dead);
        assert!(!detector.answered(instance, Answer::Nobody, now + 400 * MS), "once");
        assert_eq!(detector.judges(now + 2 * REST).count(), 0);
        // It was only slow.
        detector.heard(instance, now + 500 * MS);
        assert_eq!(detector.life(instance, now), Life::Alive);
    }

    #[test]
    fn who_does_not_answer_is_dead_after_a_while() {
        let (mut detector, instance, now) = detector();
        let asked = now + 800 * MS;
        assert_eq!(detector.silent(asked), [instance]);
        assert!(!detector.answered(instance, Answer::None, asked + 500 * MS));
        assert_eq!(detector.silent(asked + 600 * MS), [instance]);
        assert!(!detector.answered(instance, Answer::None, asked + 1100 * MS));
        assert!(detector.answered(instance, Answer::None, asked + DEAF));
    }

    #[test]
    fn whoever_was_away_judges_nobody_for_a_while() {
        let (mut detector, instance, now) = detector();
        let now = now + 800 * MS;
        assert_eq!(detector.silent(now), [instance]);
        assert!(!detector.answered(instance, Answer::Nobody, now));
        detector.was_away(now + 100 * MS);
        assert!(!detector.answered(instance, Answer::Nobody, now + 200 * MS));
        assert!(detector.silent(now + 2 * REST / 3).is_empty());
        assert_eq!(detector.life(instance, now), Life::Alive);
        assert_eq!(detector.silent(now + 2 * REST), [instance]);
    }

    #[test]
    fn a_stranger_is_found_out_about() {
        let (mut detector, _, now) = detector();
        let stranger = InstanceId::random();
        assert_eq!(detector.life(stranger, now), Life::Unknown);
        assert_eq!(detector.silent(now), [stranger]);
        assert!(!detector.answered(stranger, Answer::Nobody, now));
        assert!(detector.answered(stranger, Answer::Nobody, now + 200 * MS));
        assert_eq!(detector.life(stranger, now), Life::Dead);
        let other = InstanceId::random();
        detector.left(other, now);
        assert_eq!(detector.life(other, now), Life::Dead);
    }
}
