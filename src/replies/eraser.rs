//! Deletes whole threads: stops what runs in one first.

use std::sync::Arc;

use super::stopper::Stopper;
use super::threads::Threads;
use super::{Busy, Error, Result};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::thread::Thread;

/// How often a thread in which replies keep coming is tried again.
const MOST_TRIES: usize = 8;

/// Deletes threads. A handle: cheap to clone.
#[derive(Clone)]
pub(super) struct Eraser {
    threads: Threads,
    stopper: Arc<Stopper>,
}

impl Eraser {
    pub(super) const fn new(threads: Threads, stopper: Arc<Stopper>) -> Self {
        Self { threads, stopper }
    }

    pub(super) const fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Deletes a thread, if `check` allows it, with what runs in it. Returns whether it was deleted.
    pub(super) async fn delete(&self, id: ThreadId, check: impl Fn(&Thread) -> bool) -> Result<bool> {
        for _ in 0..MOST_TRIES {
            let thread = self.threads.read(id).await?.thread;
            if !check(&thread) {
                return Ok(false);
            }
            let running: Vec<ReplyId> =
                thread.replies().filter(|entry| entry.runs()).map(|entry| entry.accepted.reply).collect();
            for reply in running {
                match self.stopper.delete(reply).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            match self.threads.delete_thread(id, &check).await {
                // One more was accepted meanwhile.
                Err(Error::Busy(Busy::Stopping)) => {}
                result => return result,
            }
        }
        Err(Busy::Stopping.into())
    }
}
