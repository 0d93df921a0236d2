//! How far the projection is, for callers outside of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::log::{Log, Shard, now_ms};

/// How far the projection is. Asks nothing: holds what the last pass reported.
pub(crate) struct Progress {
    log: Log,
    shards: Vec<OfShard>,
    store_up: AtomicBool,
}

#[derive(Default)]
struct OfShard {
    position: AtomicU64,
    /// When the oldest record that the store lacks was stored, in milliseconds of Unix time; 0 when it lacks none.
    oldest: AtomicU64,
}

/// How far the store is behind the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Records that it lacks.
    pub(crate) records: u64,
    /// The age of the oldest of them.
    pub(crate) age: Duration,
}

impl Progress {
    pub(super) fn new(log: Log, store_up: bool) -> Self {
        let shards = (0..log.records().shards()).map(|_| OfShard::default()).collect();
        Self { log, shards, store_up: AtomicBool::new(store_up) }
    }

    /// How far the store is behind.
    pub(crate) fn lag(&self) -> Lag {
        let (now, mut all) = (now_ms(), Lag::default());
        for (shard, of_shard) in (0..).zip(&self.shards) {
            let records =
                self.log.records().last_position(shard).saturating_sub(of_shard.position.load(Ordering::Relaxed));
            let oldest = of_shard.oldest.load(Ordering::Relaxed);
            all.records += records;
            if records > 0 && oldest > 0 {
                all.age = all.age.max(Duration::from_millis(now.saturating_sub(oldest)));
            }
        }
        all
    }

    /// The positions that the store has, of all shards together: it grows with every batch.
    pub(crate) fn reached_in_all(&self) -> u64 {
        self.shards.iter().map(|of| of.position.load(Ordering::Relaxed)).sum()
    }

    /// Whether the store took what it was last given.
    pub(crate) fn store_is_up(&self) -> bool {
        self.store_up.load(Ordering::Relaxed)
    }

    fn of(&self, shard: Shard) -> &OfShard {
        &self.shards[usize::try_from(shard).expect("32 bits")]
    }

    pub(super) fn position(&self, shard: Shard) -> u64 {
        self.of(shard).position.load(Ordering::Relaxed)
    }

    pub(super) fn reached(&self, shard: Shard, position: u64) {
        self.of(shard).position.store(position, Ordering::Relaxed);
    }

    pub(super) fn caught_up(&self, shard: Shard) {
        self.of(shard).oldest.store(0, Ordering::Relaxed);
        self.store_up.store(true, Ordering::Relaxed);
    }

    /// The oldest record that the store lacks is from this time, in milliseconds of Unix time.
    pub(super) fn waits_since(&self, shard: Shard, at: u64) {
        self.of(shard).oldest.store(at, Ordering::Relaxed);
    }

    /// A record waits, unless one is known to wait longer; from when it is, is known once it is read.
    pub(super) fn waits(&self, shard: Shard) {
        let oldest = &self.of(shard).oldest;
        let _ = oldest.compare_exchange(0, now_ms(), Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, shard: Shard, of_store: bool) {
        self.waits(shard);
        if of_store {
            self.store_up.store(false, Ordering::Relaxed);
        }
    }
}
