//! Inspects the place of an embedded log without opening it: nothing is created there, and a
//! server that runs on it does not notice.

use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::recover::{DIRECTORY, is_older_form};
use super::{LOCK, OpenError};
use crate::health::disk;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Whether there is a log. If not, it could be made.
    pub exists: bool,
    /// Whether another process has it open.
    pub in_use: bool,
    /// Bytes that are free on its disk.
    pub free: u64,
}

/// Looks whether a log could be opened in this directory, or made. Blocks.
pub fn inspect(dir: &Path) -> Result<Inspection, OpenError> {
    let unwritable = |source| OpenError::Unwritable { dir: dir.to_owned(), source };
    let there = disk::nearest(dir).map_err(unwritable)?;
    disk::try_to_write(&there).map_err(unwritable)?;
    let free = disk::free_bytes(&there).map_err(unwritable)?;
    if is_older_form(&dir.join(DIRECTORY)) {
        return Err(OpenError::OlderForm { dir: dir.join(DIRECTORY) });
    }
    let lock = dir.join(DIRECTORY).join(LOCK);
    let exists = lock.try_exists().map_err(unwritable)?;
    let in_use = exists && is_locked(&lock).map_err(unwritable)?;
    Ok(Inspection { exists, in_use, free })
}

/// Whether a process holds the lock. For a moment it is ours; a server that starts just then tries again.
fn is_locked(lock: &Path) -> io::Result<bool> {
    let file = OpenOptions::new().read(true).write(true).open(lock)?;
    match file.try_lock() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Embedded, SEGMENT_BYTES};
    use super::*;

    #[test]
    fn an_inspection_creates_nothing_and_sees_who_has_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("not/there");
        let found = inspect(&dir).unwrap();
        assert!(!found.exists && !found.in_use && found.free > 0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

        let log = Embedded::open(Config {
            dir: dir.clone(),
            sync_always: false,
            min_free_disk: 0,
            segment_bytes: SEGMENT_BYTES,
        })
        .unwrap();
        let found = inspect(&dir).unwrap();
        assert!(found.exists && found.in_use);
        drop(log);
        // Its thread lets go of it a moment later.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while inspect(&dir).unwrap().in_use {
            assert!(std::time::Instant::now() < deadline, "the lock was not let go");
            std::thread::yield_now();
        }
    }
}
