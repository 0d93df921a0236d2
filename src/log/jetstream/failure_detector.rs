//! The failure detector: when each instance was last heard, and what follows. Pure: it knows neither NATS nor a clock.
//!
//! An instance sends four heartbeats a second. One that misses them for [`SILENT`] is asked: if there is no responder
//! twice in a row, or no answer comes for [`DEAF`], it is dead. A detector that was away itself (a lost connection, a
//! frozen process) heard nothing meanwhile: for a while it judges no instance that it has not heard since. An instance
//! that it hears again lives and is connected, and from then on counts as before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::domain::ids::InstanceId;
use crate::log::peers::Life;

/// After this long without a heartbeat an instance is asked.
pub(in crate::log) const SILENT: Duration = Duration::from_millis(500);

/// After this long without an answer it is dead.
pub(in crate::log) const DEAF: Duration = Duration::from_millis(1500);

/// After a lost connection, how long an instance that was not heard since is not judged: the servers may have been away
/// for all, and each comes back in its own time. Its tries to connect are 200 ms apart at most.
pub(in crate::log) const RECONNECTING: Duration = Duration::from_millis(1500);

/// The same after a start, or after one's own process stood still: the others were connected all the time, and beat four
/// times a second.
pub(in crate::log) const LISTENING: Duration = Duration::from_millis(750);

/// An instance that has just started does not yet know which others are dead, and takes over only what others leave.
pub(in crate::log) const NEW: Duration = Duration::from_secs(2);

/// A dead instance is forgotten after this; the next query for it starts over.
const FORGET: Duration = Duration::from_hours(3);

/// This many times in a row there must be no responder.
const EMPTY: u32 = 2;

/// All that are known.
#[derive(Debug)]
pub(in crate::log) struct FailureDetector {
    entries: HashMap<u64, Entry>,
    /// From when on instances are judged that were never heard.
    judges_from: Instant,
}

#[derive(Debug)]
struct Entry {
    heard: Instant,
    /// Since when it lives, as far as was heard.
    since: Instant,
    /// From when on a missed heartbeat counts.
    judged_from: Instant,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    /// Never heard of, or missing heartbeats: since when it is asked, and how often there was no responder in a row.
    Asked {
        since: Instant,
        empty: u32,
        known: bool,
    },
    Dead,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) enum Answer {
    Here,
    /// Nobody listens there.
    Nobody,
    /// None came in time.
    None,
}

impl FailureDetector {
    pub(in crate::log) fn new(now: Instant) -> Self {
        Self { entries: HashMap::new(), judges_from: now + LISTENING }
    }

    /// We were away, so that we may not have heard what was sent; `rest`: for how long that is no wonder.
    pub(in crate::log) fn was_away(&mut self, now: Instant, rest: Duration) {
        self.judges_from = self.judges_from.max(now + rest);
        for entry in self.entries.values_mut() {
            let judged_from = entry.judged_from.max(now + rest);
            entry.state = match entry.state {
                State::Dead => continue,
                State::Asked { known: false, .. } => State::Asked { since: judged_from, empty: 0, known: false },
                State::Alive | State::Asked { .. } => State::Alive,
            };
            entry.judged_from = judged_from;
        }
    }

    /// It was heard of.
    pub(in crate::log) fn heard(&mut self, instance: InstanceId, now: Instant) {
        let known = self.entries.get(&instance.number()).filter(|known| known.state != State::Dead);
        let since = known.map_or(now, |known| known.since);
        self.entries.insert(instance.number(), Entry { heard: now, since, judged_from: now, state: State::Alive });
    }

    /// It sent its goodbye.
    pub(in crate::log) fn left(&mut self, instance: InstanceId, now: Instant) {
        let entry = Entry { heard: now, since: now, judged_from: now, state: State::Dead };
        self.entries.insert(instance.number(), entry);
    }

    /// What is known of it. One that was never heard of will be asked.
    pub(in crate::log) fn life(&mut self, instance: InstanceId, now: Instant) -> Life {
        let judged_from = self.judges_from.max(now);
        let state = State::Asked { since: judged_from, empty: 0, known: false };
        let stranger = || Entry { heard: now, since: now, judged_from, state };
        match self.entries.entry(instance.number()).or_insert_with(stranger).state {
            State::Alive | State::Asked { known: true, .. } => Life::Alive,
            State::Asked { .. } => Life::Unknown,
            State::Dead => Life::Dead,
        }
    }

    /// Those that live, as far as is known.
    pub(in crate::log) fn living(&self) -> impl Iterator<Item = InstanceId> {
        self.entries.iter().filter(|(_, entry)| entry.lives()).map(|(number, _)| InstanceId::from_number(*number))
    }

    /// Since when it is dead.
    pub(in crate::log) fn dead_since(&self, instance: InstanceId) -> Option<Instant> {
        let entry = self.entries.get(&instance.number())?;
        (entry.state == State::Dead).then_some(entry.since)
    }

    /// How long ago it was heard of last; of one that never was, since when it is known.
    pub(in crate::log) fn silence(&self, instance: InstanceId, now: Instant) -> Option<Duration> {
        self.entries.get(&instance.number()).map(|entry| now.saturating_duration_since(entry.heard))
    }

    /// Those that live, as far as is known, and that judge others: one that has just started does not yet.
    pub(in crate::log) fn judges(&self, now: Instant) -> impl Iterator<Item = InstanceId> {
        let judges = move |entry: &Entry| entry.lives() && now - entry.since >= NEW;
        self.entries.iter().filter(move |(_, entry)| judges(entry)).map(|(number, _)| InstanceId::from_number(*number))
    }

    /// Those to be asked now.
    pub(in crate::log) fn silent(&mut self, now: Instant) -> Vec<InstanceId> {
        self.entries.retain(|_, entry| entry.state != State::Dead || now - entry.heard < FORGET);
        let mut asked = Vec::new();
        for (number, entry) in self.entries.iter_mut().filter(|(_, entry)| now >= entry.judged_from) {
            if entry.state == State::Alive && now - entry.heard > SILENT {
                entry.state = State::Asked { since: now, empty: 0, known: true };
            }
            if matches!(entry.state, State::Asked { .. }) {
                asked.push(InstanceId::from_number(*number));
            }
        }
        asked
    }

    /// Notes an answer. Whether the instance is dead now, and was not before.
    pub(in crate::log) fn answered(&mut self, instance: InstanceId, answer: Answer, now: Instant) -> bool {
        if answer == Answer::Here {
            self.heard(instance, now);
            return false;
        }
        let Some(entry) = self.entries.get_mut(&instance.number()) else { return false };
        let State::Asked { since, empty, .. } = &mut entry.state else { return false };
        *empty = if answer == Answer::Nobody { *empty + 1 } else { 0 };
        let is_gone = *empty >= EMPTY || (answer == Answer::None && now - *since >= DEAF);
        let dies = is_gone && now >= entry.judged_from;
        if dies {
            (entry.since, entry.state) = (now, State::Dead);
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
        let (instance, now) = (InstanceId::random(), begun + LISTENING);
        detector.heard(instance, now);
        (detector, instance, now)
    }

    #[test]
    fn an_instance_with_heartbeats_lives_and_is_not_asked() {
        let (mut detector, instance, now) = detector();
        assert!(detector.silent(now + 450 * MS).is_empty());
        assert_eq!(detector.life(instance, now), Life::Alive);
        assert_eq!(detector.judges(now).count(), 0, "it has just come");
        assert_eq!(detector.judges(now + NEW).collect::<Vec<_>>(), [instance]);
    }

    #[test]
    fn an_instance_that_misses_heartbeats_is_asked_and_dead_after_two_answers_without_responders() {
        let (mut detector, instance, now) = detector();
        let now = now + 800 * MS;
        assert_eq!(detector.silent(now), [instance]);
        assert_eq!(detector.life(instance, now), Life::Alive, "not yet");
        assert!(!detector.answered(instance, Answer::Nobody, now));
        assert!(detector.answered(instance, Answer::Nobody, now + 200 * MS));
        assert_eq!(detector.life(instance, now), Life::Dead);
        assert!(!detector.answered(instance, Answer::Nobody, now + 400 * MS), "once");
        assert_eq!(detector.dead_since(instance), Some(now + 200 * MS));
        assert_eq!(detector.judges(now + 2 * NEW).count(), 0);
        // It was only slow.
        detector.heard(instance, now + 500 * MS);
        assert_eq!((detector.life(instance, now), detector.dead_since(instance)), (Life::Alive, None));
    }

    #[test]
    fn an_instance_that_does_not_answer_is_dead_after_a_while() {
        let (mut detector, instance, now) = detector();
        let asked = now + 800 * MS;
        assert_eq!(detector.silent(asked), [instance]);
        assert!(!detector.answered(instance, Answer::None, asked + 500 * MS));
        assert_eq!(detector.silent(asked + 600 * MS), [instance]);
        assert!(!detector.answered(instance, Answer::None, asked + 1100 * MS));
        assert!(detector.answered(instance, Answer::None, asked + DEAF));
    }

    #[test]
    fn a_detector_that_was_away_does_not_judge_for_a_while_what_it_has_not_heard_since() {
        let (mut detector, instance, now) = detector();
        let now = now + 800 * MS;
        assert_eq!(detector.silent(now), [instance]);
        assert!(!detector.answered(instance, Answer::Nobody, now));
        let away = now + 100 * MS;
        detector.was_away(away, RECONNECTING);
        assert!(!detector.answered(instance, Answer::Nobody, away + 100 * MS));
        assert!(detector.silent(away + 2 * RECONNECTING / 3).is_empty());
        assert_eq!(detector.life(instance, away), Life::Alive);
        assert_eq!(detector.silent(away + RECONNECTING), [instance]);
        assert!(!detector.answered(instance, Answer::Nobody, away + RECONNECTING), "what was before does not count");
        assert!(detector.answered(instance, Answer::Nobody, away + RECONNECTING + 200 * MS));
    }

    #[test]
    fn an_instance_heard_again_after_an_absence_is_judged_as_before() {
        let (mut detector, instance, now) = detector();
        detector.was_away(now, RECONNECTING);
        detector.heard(instance, now + 100 * MS);
        let asked = now + 100 * MS + SILENT + MS;
        assert!(asked < now + RECONNECTING);
        assert_eq!(detector.silent(asked), [instance]);
        assert!(!detector.answered(instance, Answer::Nobody, asked));
        assert!(detector.answered(instance, Answer::Nobody, asked + 200 * MS));
    }

    #[test]
    fn a_short_rest_does_not_end_a_longer_one() {
        let (mut detector, instance, now) = detector();
        detector.was_away(now, RECONNECTING);
        detector.was_away(now + MS, LISTENING);
        assert!(detector.silent(now + RECONNECTING / 2).is_empty());
        assert_eq!(detector.silent(now + RECONNECTING), [instance]);
    }

    #[test]
    fn a_stranger_met_while_away_is_found_out_about_later() {
        let (mut detector, _, now) = detector();
        detector.was_away(now, RECONNECTING);
        let stranger = InstanceId::random();
        assert_eq!(detector.life(stranger, now), Life::Unknown);
        detector.was_away(now + MS, RECONNECTING);
        assert_eq!(detector.life(stranger, now + MS), Life::Unknown, "it did not come to life by that");
        assert!(!detector.silent(now + RECONNECTING).contains(&stranger));
        assert!(detector.silent(now + RECONNECTING + MS).contains(&stranger));
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
