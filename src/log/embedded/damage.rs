//! Damage that was found: named in the log, once each, and counted.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::frame::{Key, Location};

/// Places that are remembered, so that each is reported once.
const REMEMBERED: usize = 10_000;

/// Something that cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    what: String,
    location: Location,
}

impl Lost {
    pub(super) fn record(key: &Key, sequence: u64, location: Location) -> Self {
        let what = match key {
            Key::Transcript(thread) => format!("record {sequence} of thread {thread}"),
            Key::ReplyLog(reply) => format!("record {sequence} of the events of reply {reply}"),
            Key::Snapshot(reply) => format!("a snapshot of reply {reply}, which its events repeat"),
        };
        Self { what, location }
    }

    pub(super) fn bytes(from: u64, to: u64, segment: u32) -> Self {
        let what = format!("{} bytes, whose records are unknown", to - from);
        Self { what, location: Location { segment, offset: u32::try_from(from).unwrap_or(u32::MAX) } }
    }

    pub(super) fn other(what: &str, location: Location) -> Self {
        Self { what: what.to_owned(), location }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (segment {:08x}, byte {})", self.what, self.location.segment, self.location.offset)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Damage {
    seen: Mutex<HashSet<Location>>,
    count: AtomicU64,
}

impl Damage {
    /// Takes note of something that is lost.
    pub(super) fn found(&self, lost: &Lost) {
        let mut seen = self.seen.lock();
        if seen.len() >= REMEMBERED || !seen.insert(lost.location) {
            return;
        }
        drop(seen);
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%lost, "a part of the log is damaged; the rest is served, and what the store has is taken from there (see: rejoinder check)");
    }

    /// Reports what was at a place that was found already.
    #[expect(clippy::unused_self, reason = "it belongs to what was found")]
    pub(super) fn named(&self, lost: &Lost) {
        tracing::error!(%lost, "this is what cannot be read");
    }

    /// How many places were found.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
