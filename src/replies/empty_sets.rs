//! Leases of dead instances that were found empty. There is one set for each instance of the last week, and every sweep of
//! every instance would read them all: as long as an instance stays dead, its empty set is read once, and now and then
//! again, in case a write of its last moment came late.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::ids::{InstanceId, ReplyId};

/// After this long all are read again.
const AGAIN: Duration = Duration::from_mins(5);

/// Instances whose set was found empty, and since when they were dead.
#[derive(Debug)]
pub(super) struct EmptySets {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    dead_since: HashMap<u64, Instant>,
    /// When they were forgotten last.
    forgotten: Instant,
}

/// The sets that one sweep reads.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    sets: &'a EmptySets,
    owners: Mutex<Vec<(InstanceId, Option<Instant>)>>,
}

impl EmptySets {
    pub(super) fn new(now: Instant) -> Self {
        Self { known: Mutex::new(Known { dead_since: HashMap::new(), forgotten: now }) }
    }

    /// A sweep begins.
    pub(super) fn begin(&self, now: Instant) -> Reading<'_> {
        let mut known = self.known.lock();
        if now.saturating_duration_since(known.forgotten) >= AGAIN {
            *known = Known { dead_since: HashMap::new(), forgotten: now };
        }
        drop(known);
        Reading { sets: self, owners: Mutex::default() }
    }
}

impl Reading<'_> {
    /// Whether to read the set of an instance that is dead since then. (One that lived since may have filled it.)
    pub(super) fn wants(&self, owner: InstanceId, dead_since: Option<Instant>) -> bool {
        let is_empty =
            dead_since.is_some_and(|since| self.sets.known.lock().dead_since.get(&owner.number()) == Some(&since));
        if !is_empty {
            self.owners.lock().push((owner, dead_since));
        }
        !is_empty
    }

    /// These were in them.
    pub(super) fn found(self, leases: &[(InstanceId, ReplyId)]) {
        let mut known = self.sets.known.lock();
        for (owner, since) in self.owners.into_inner() {
            if let Some(since) = since
                && leases.iter().all(|(other, _)| *other != owner)
            {
                known.dead_since.insert(owner.number(), since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ThreadId;

    #[test]
    fn an_empty_set_is_read_once_as_long_as_its_owner_stays_dead() {
        let (now, owner, other) = (Instant::now(), InstanceId::random(), InstanceId::random());
        let sets = EmptySets::new(now);
        let first = sets.begin(now);
        assert!(first.wants(owner, Some(now)) && first.wants(other, Some(now)));
        first.found(&[(other, ReplyId::random(ThreadId::random()))]);
        let second = sets.begin(now);
        assert!(!second.wants(owner, Some(now)), "it was empty");
        assert!(second.wants(other, Some(now)), "it was not");
        assert!(second.wants(owner, Some(now + AGAIN / 2)), "it lived, and died again");
        let third = sets.begin(now + AGAIN);
        assert!(third.wants(owner, Some(now)), "now and then all are read");
    }

    #[test]
    fn the_set_of_one_that_is_not_known_to_be_dead_is_always_read() {
        let (now, own) = (Instant::now(), InstanceId::random());
        let sets = EmptySets::new(now);
        for _ in 0..2 {
            let reading = sets.begin(now);
            assert!(reading.wants(own, None));
            reading.found(&[]);
        }
    }
}
