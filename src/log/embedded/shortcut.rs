//! Small writes are made right where they are asked for, as long as the disk takes them at once: handing a write of
//! some microseconds to another thread and back costs several times as much as the write.
//!
//! Async code must not wait for a disk, nor for another write. So this is for small records that need no sync; while
//! the writer is busy or others wait, writes go to the thread, which makes few large ones of them; after a write that
//! took long they do for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::AppendError;
use super::op::{Op, Written};
use super::writer::Writer;

/// What is larger goes to the thread, in bytes.
const SMALL: usize = 16 * 1024;

/// A write that takes longer shows that the disk is slow. Longer than the turn that another process may have on a busy
/// processor.
const SLOW: Duration = Duration::from_millis(10);

/// For how long a slow disk is left to the thread, in milliseconds.
const PAUSE_MS: u64 = 250;

/// See the module.
pub(super) struct Shortcut {
    writer: Arc<Mutex<Writer>>,
    is_open: bool,
    begun: Instant,
    /// Milliseconds after `begun` from which on it may be taken.
    open_from: AtomicU64,
}

/// The right to make one write.
pub(super) struct Turn<'a> {
    shortcut: &'a Shortcut,
    writer: MutexGuard<'a, Writer>,
    begun: Instant,
}

impl Shortcut {
    pub(super) fn new(writer: Arc<Mutex<Writer>>, sync_always: bool) -> Self {
        let is_open = !sync_always && !writer.lock().is_counting();
        Self { writer, is_open, begun: Instant::now(), open_from: AtomicU64::new(0) }
    }

    /// The writer, for a write to be made here and now. `None`: it is one for the thread.
    pub(super) fn turn(&self, op: &Op) -> Option<Turn<'_>> {
        let begun = Instant::now();
        if !self.is_open || !is_small(op) || self.since_begun(begun) < self.open_from.load(Ordering::Relaxed) {
            return None;
        }
        let writer = self.writer.try_lock()?;
        Some(Turn { shortcut: self, writer, begun })
    }

    fn since_begun(&self, now: Instant) -> u64 {
        u64::try_from((now - self.begun).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Turn<'_> {
    /// Makes the write.
    pub(super) fn write(mut self, op: &Op) -> Result<Written, AppendError> {
        let result = self.writer.write_now(op);
        drop(self.writer);
        let now = Instant::now();
        if now - self.begun > SLOW {
            self.shortcut.open_from.store(self.shortcut.since_begun(now) + PAUSE_MS, Ordering::Relaxed);
        }
        result
    }
}

fn is_small(op: &Op) -> bool {
    match op {
        Op::Append { .. } | Op::Conclude { .. } => op.size() <= SMALL,
        Op::Hold { .. } | Op::Release(_) => true,
        _ => false,
    }
}
