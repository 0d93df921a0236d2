//! Whether the disk takes what is to be written. Reported by the writes themselves, and measured once a second.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;

use super::AppendError;
use crate::health::disk;

/// Space that has to be there before writes are taken again, after one found none; in bytes.
const PROBE: u64 = 2 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Less is free than `MIN_FREE_DISK`.
    scarce: AtomicBool,
    /// What was free when it was looked at last, in bytes.
    free: AtomicU64,
    /// A write found no space.
    refused: AtomicBool,
    /// Whether the writes fail for another reason, and which.
    problem: Mutex<Option<String>>,
    has_problem: AtomicBool,
}

impl Space {
    /// Whether something new may be accepted.
    pub(super) fn admits(&self) -> Result<(), AppendError> {
        if self.has_problem.load(Ordering::Relaxed) {
            let problem = self.problem.lock().clone();
            return Err(AppendError::Unavailable(problem.unwrap_or_default()));
        }
        if self.scarce.load(Ordering::Relaxed) || self.refused.load(Ordering::Relaxed) {
            return Err(AppendError::Full);
        }
        Ok(())
    }

    /// What is left on the disk, in bytes.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// A write found no space. What is there is whole.
    pub(super) fn refused(&self) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::error!("the disk is full: nothing new is accepted, and what runs waits");
        }
    }

    /// A write failed. What is there is whole.
    pub(super) fn failed(&self, error: &io::Error) {
        self.set_problem(Some(format!("a write failed: {error}")));
    }

    /// A write succeeded. That proves nothing about space: a small one may still have fitted.
    pub(super) fn wrote(&self) {
        if self.has_problem.load(Ordering::Relaxed) {
            self.set_problem(None);
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        let mut known = self.problem.lock();
        match (&*known, &problem) {
            (None, Some(problem)) => tracing::error!(problem, "the log cannot be written: nothing new is accepted"),
            (Some(_), None) => tracing::info!("the log can be written again"),
            _ => {}
        }
        self.has_problem.store(problem.is_some(), Ordering::Relaxed);
        *known = problem;
    }

    /// Looks at the directory of the log. `Err`: it is no longer the one that was opened.
    pub(super) fn look(&self, dir: &Path, opened: &File, min_free: u64) -> Result<(), String> {
        is_same(dir, opened)?;
        if let Ok(free) = disk::free_bytes(dir) {
            self.free.store(free, Ordering::Relaxed);
            let scarce = free < min_free;
            if scarce != self.scarce.swap(scarce, Ordering::Relaxed) {
                if scarce {
                    tracing::error!(dir = %dir.display(), free, "the disk is nearly full: nothing new is accepted");
                } else {
                    tracing::info!("the disk has enough free space again");
                }
            }
        }
        if self.refused.load(Ordering::Relaxed) || self.has_problem.load(Ordering::Relaxed) {
            match probe(dir) {
                Ok(()) => {
                    self.wrote();
                    if self.refused.swap(false, Ordering::Relaxed) {
                        tracing::info!("there is space on the disk again");
                    }
                }
                Err(error) => tracing::debug!(%error, "the disk still accepts no writes"),
            }
        } else if let Err(error) = disk::try_to_write(dir)
            && !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            self.set_problem(Some(format!("{} cannot be written: {error}", dir.display())));
        }
        Ok(())
    }
}

/// Whether the directory still holds the lock that is ours.
fn is_same(dir: &Path, opened: &File) -> Result<(), String> {
    let there = std::fs::metadata(dir.join(super::LOCK));
    match (there, opened.metadata()) {
        (Ok(there), Ok(opened)) if (there.dev(), there.ino()) == (opened.dev(), opened.ino()) => Ok(()),
        (Err(error), _) if error.kind() != io::ErrorKind::NotFound => Ok(()),
        _ => Err(format!("{} was removed or replaced while the server ran", dir.display())),
    }
}

/// Takes some space, and gives it back.
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join(".space");
    let file = File::create(&path)?;
    let taken = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, PROBE) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
            std::fs::write(&path, vec![0; usize::try_from(PROBE).unwrap_or(0)])
        }
        taken => taken.map_err(io::Error::from),
    };
    std::fs::remove_file(&path)?;
    taken
}
