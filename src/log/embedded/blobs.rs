//! Blobs: long inputs, each in a file of its own, `blobs/<two digits>/<hash>.<thread>`. Files with the same content are
//! one (hard links), so the file system counts who refers to it, and nothing is kept in memory.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use parking_lot::Mutex;

use crate::domain::ids::ThreadId;

/// The directory of the blobs.
pub(super) const DIRECTORY: &str = "blobs";

/// An unfinished file.
const UNFINISHED: &str = ".new";

/// Bytes that are overwritten at once.
const PIECE: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    sync: bool,
    written: AtomicU64,
    /// Held while links are made or removed: an erasure must not overwrite what is linked just then.
    linking: Mutex<()>,
}

impl Blobs {
    /// The blobs below this directory. What a crash left unfinished goes.
    pub(super) fn new(dir: &Path, sync: bool) -> Self {
        let blobs = Self { dir: dir.join(DIRECTORY), sync, written: AtomicU64::new(0), linking: Mutex::default() };
        let _ = blobs.each(|path, name| if name.ends_with(UNFINISHED) { overwrite_and_remove(path) } else { Ok(()) });
        blobs
    }

    /// Keeps a blob of a thread. Keeping it again makes it young again.
    pub(super) fn put(&self, thread: ThreadId, hash: [u8; 32], content: &[u8]) -> io::Result<()> {
        let path = self.path(thread, hash);
        let dir = path.parent().expect("a file in a directory");
        std::fs::create_dir_all(dir)?;
        let _alone = self.linking.lock();
        if let Some(same) = same(dir, hash)? {
            File::options().write(true).open(&same)?.set_modified(SystemTime::now())?;
            match std::fs::hard_link(&same, &path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
                // A file system without links keeps a copy.
                Err(_) => {}
            }
        }
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = dir.join(format!("{number}{UNFINISHED}"));
        let written = self.write(&unfinished, content).and_then(|()| std::fs::rename(&unfinished, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        written?;
        if self.sync { File::open(dir)?.sync_all() } else { Ok(()) }
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        if self.sync { file.sync_all() } else { Ok(()) }
    }

    /// A blob of a thread.
    pub(super) fn get(&self, thread: ThreadId, hash: [u8; 32]) -> io::Result<Option<Bytes>> {
        match std::fs::read(self.path(thread, hash)) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Erases blobs of a thread. What another thread has, too, stays there.
    pub(super) fn erase(&self, thread: ThreadId, hashes: &HashSet<[u8; 32]>) -> io::Result<()> {
        hashes.iter().try_for_each(|hash| self.remove(&self.path(thread, *hash)))
    }

    /// Erases blobs that were kept last before `before`.
    pub(super) fn expire(&self, before: SystemTime) -> io::Result<()> {
        self.each(|path, _| {
            let kept = match std::fs::metadata(path) {
                Ok(found) => found.modified()?,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            if kept < before { self.remove(path) } else { Ok(()) }
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let _alone = self.linking.lock();
        match overwrite_and_remove(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn each(&self, mut f: impl FnMut(&Path, &str) -> io::Result<()>) -> io::Result<()> {
        let directories = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            directories => directories?,
        };
        for directory in directories {
            for entry in std::fs::read_dir(directory?.path())? {
                let entry = entry?;
                if let Some(name) = entry.file_name().to_str() {
                    f(&entry.path(), name)?;
                }
            }
        }
        Ok(())
    }

    fn path(&self, thread: ThreadId, hash: [u8; 32]) -> PathBuf {
        let hash = HEXLOWER.encode(&hash);
        self.dir.join(&hash[..2]).join(format!("{hash}.{thread}"))
    }
}

/// A file that has this content, of whichever thread.
fn same(dir: &Path, hash: [u8; 32]) -> io::Result<Option<PathBuf>> {
    let beginning = format!("{}.", HEXLOWER.encode(&hash));
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&beginning)) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Removes a file; if it is the last link to its content, that is overwritten before.
fn overwrite_and_remove(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let found = file.metadata()?;
    if found.nlink() == 1 {
        let zeros = vec![0; PIECE];
        let mut at = 0;
        while at < found.len() {
            let length = usize::try_from(found.len() - at).unwrap_or(PIECE).min(PIECE);
            file.write_all_at(&zeros[..length], at)?;
            at += length as u64;
        }
    }
    std::fs::remove_file(path)
}

/// A time in milliseconds of Unix time.
pub(super) fn time_of(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_a_content_and_the_last_one_takes_it_away() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(directory.path(), false);
        let (one, other, hash) = (ThreadId::random(), ThreadId::random(), [3; 32]);
        for thread in [one, other, one] {
            blobs.put(thread, hash, b"an image").unwrap();
        }
        assert_eq!(std::fs::metadata(blobs.path(one, hash)).unwrap().nlink(), 2);
        blobs.erase(one, &[hash].into()).unwrap();
        assert_eq!(blobs.get(one, hash).unwrap(), None);
        assert_eq!(blobs.get(other, hash).unwrap().unwrap(), "an image");
        let held = File::open(blobs.path(other, hash)).unwrap();
        blobs.expire(SystemTime::now() + Duration::from_secs(1)).unwrap();
        assert_eq!(blobs.get(other, hash).unwrap(), None);
        let mut left = [1; 8];
        held.read_exact_at(&mut left, 0).unwrap();
        assert_eq!(left, [0; 8], "what was there is overwritten");
    }

    #[test]
    fn what_a_crash_left_unfinished_goes() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join(DIRECTORY).join("ab");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("7{UNFINISHED}")), "half an im").unwrap();
        Blobs::new(directory.path(), false);
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    }
}
