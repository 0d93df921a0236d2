//! What was known lately, so that most of it need not be looked up.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: when the younger is full it becomes the older, and the older is forgotten.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// Remembers up to twice as many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, young: HashMap::new(), old: HashMap::new() }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    pub(super) fn set(&mut self, key: K, value: V) {
        if self.young.len() >= self.most {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
    }
}
