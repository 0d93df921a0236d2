//! How far a shard of the log was carried: everything up to there is delivered, or noted as still to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::log::Position;

/// How far a shard was read, and what of that is under way. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Tracker(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    read: Position,
    /// How many deliveries of a record are under way.
    open: BTreeMap<Position, usize>,
}

/// A delivery of a record that is under way. Dropped without [`Ticket::done`] it stays so: the next carrier makes it again.
#[derive(Debug)]
pub(super) struct Ticket {
    tracker: Tracker,
    position: Position,
    _permit: OwnedSemaphorePermit,
}

impl Tracker {
    pub(super) fn new(read: Position) -> Self {
        Self(Arc::new(Mutex::new(Inner { read, open: BTreeMap::new() })))
    }

    /// A delivery of the record at this position begins.
    pub(super) fn begin(&self, position: Position, permit: OwnedSemaphorePermit) -> Ticket {
        *self.0.lock().open.entry(position).or_default() += 1;
        Ticket { tracker: self.clone(), position, _permit: permit }
    }

    /// All deliveries of records up to here have begun.
    pub(super) fn read_to(&self, position: Position) {
        let mut inner = self.0.lock();
        inner.read = inner.read.max(position);
    }

    /// Everything up to here is done.
    pub(super) fn carried(&self) -> Position {
        let inner = self.0.lock();
        let before_open = inner.open.keys().next().map_or(Position::MAX, |first| first.saturating_sub(1));
        inner.read.min(before_open)
    }
}

impl Ticket {
    /// The delivery is made, or noted as still to be.
    pub(super) fn done(self) {
        let mut inner = self.tracker.0.lock();
        if let Some(count) = inner.open.get_mut(&self.position) {
            *count -= 1;
            if *count == 0 {
                inner.open.remove(&self.position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_position_waits_for_every_delivery_before_it() {
        let permits = Arc::new(Semaphore::new(10));
        let permit = || Arc::clone(&permits).try_acquire_owned().unwrap();
        let tracker = Tracker::new(3);
        assert_eq!(tracker.carried(), 3);
        let [first, second, third] = [5, 5, 7].map(|position| tracker.begin(position, permit()));
        assert_eq!(tracker.carried(), 3, "they were begun, and all of 5 may not be");
        tracker.read_to(9);
        assert_eq!(tracker.carried(), 4);
        third.done();
        first.done();
        assert_eq!(tracker.carried(), 4, "one of 5 is under way");
        second.done();
        assert_eq!((tracker.carried(), permits.available_permits()), (9, 10));
        drop(tracker.begin(10, permit()));
        tracker.read_to(10);
        assert_eq!(tracker.carried(), 9, "what was left is made again");
    }
}
