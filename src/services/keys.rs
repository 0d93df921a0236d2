//! The keys of a service, taken in turn: where one is refused, or has been used too much, the next one is.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::values::Secret;

/// Keys in the order in which they are used.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<Secret>,
    current: AtomicUsize,
}

/// Which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyIndex(usize);

impl Keys {
    /// These keys, the first one first.
    pub(super) const fn new(keys: Vec<Secret>) -> Self {
        Self { keys, current: AtomicUsize::new(0) }
    }

    /// The key to use now.
    pub(super) fn current(&self) -> (KeyIndex, Option<&Secret>) {
        let index = self.current.load(Ordering::Relaxed);
        (KeyIndex(index), self.keys.get(index))
    }

    /// How often a request is worth sending: once with each key.
    pub(super) fn tries(&self) -> usize {
        self.keys.len().max(1)
    }

    /// This key was refused: the next one is used, unless somebody else has found the same. The number of the new one,
    /// from 1, if this changed it.
    pub(super) fn refused(&self, index: KeyIndex) -> Option<usize> {
        if self.keys.len() < 2 {
            return None;
        }
        let next = (index.0 + 1) % self.keys.len();
        let changed = self.current.compare_exchange(index.0, next, Ordering::Relaxed, Ordering::Relaxed);
        changed.is_ok().then_some(next + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_makes_way_for_the_next_once() {
        let keys = Keys::new(vec![Secret::new("a"), Secret::new("b")]);
        let (first, key) = keys.current();
        assert_eq!(key.map(Secret::expose), Some("a"));
        assert_eq!((keys.refused(first), keys.refused(first)), (Some(2), None));
        let (second, key) = keys.current();
        assert_eq!(key.map(Secret::expose), Some("b"));
        assert_eq!((keys.refused(second), keys.tries()), (Some(1), 2));
    }

    #[test]
    fn a_single_key_stays_and_none_is_none() {
        let keys = Keys::new(vec![Secret::new("a")]);
        assert_eq!((keys.refused(keys.current().0), keys.tries()), (None, 1));
        assert_eq!((Keys::new(Vec::new()).current().1, Keys::new(Vec::new()).tries()), (None, 1));
    }
}
