//! How far the projection is, for those who look at it from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::log::{Log, now_ms};

/// How far the projection is. Asks nobody: tells what the last pass told.
pub struct Progress {
    log: Log,
    position: AtomicU64,
    /// When the oldest record that the store lacks was stored, in milliseconds of Unix time; 0 when it lacks none.
    oldest: AtomicU64,
    store_up: AtomicBool,
}

/// How far the store is behind the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records that it lacks.
    pub records: u64,
    /// The age of the oldest of them.
    pub age: Duration,
}

impl Progress {
    pub(super) fn new(log: Log, store_up: bool) -> Self {
        Self { log, position: AtomicU64::new(0), oldest: AtomicU64::new(0), store_up: AtomicBool::new(store_up) }
    }

    /// How far the store is behind.
    pub fn lag(&self) -> Lag {
        let records = self.log.last_position().saturating_sub(self.position());
        let oldest = self.oldest.load(Ordering::Relaxed);
        if records == 0 || oldest == 0 {
            return Lag { records, age: Duration::ZERO };
        }
        Lag { records, age: Duration::from_millis(now_ms().saturating_sub(oldest)) }
    }

    /// Whether the store took what it was last given.
    pub fn store_is_up(&self) -> bool {
        self.store_up.load(Ordering::Relaxed)
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    pub(super) fn reached(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    pub(super) fn caught_up(&self) {
        self.oldest.store(0, Ordering::Relaxed);
        self.store_up.store(true, Ordering::Relaxed);
    }

    /// The oldest record that the store lacks is from this time, in milliseconds of Unix time.
    pub(super) fn waits_since(&self, at: u64) {
        self.oldest.store(at, Ordering::Relaxed);
    }

    /// A record waits, unless one is known to wait longer; from when it is, is known once it is read.
    pub(super) fn waits(&self) {
        let _ = self.oldest.compare_exchange(0, now_ms(), Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, of_store: bool) {
        self.waits();
        if of_store {
            self.store_up.store(false, Ordering::Relaxed);
        }
    }
}
