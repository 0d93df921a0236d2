//! Blobs: long inputs in files of their own. Each content is stored once, in `blobs/<two digits>/<hash>/content`;
//! beside it, each thread that refers to it has an empty file with its own time. So every reference expires by itself,
//! the last one takes the content with it, and nothing is held in memory.

use std::collections::HashSet;
use std::fs::{DirEntry, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use parking_lot::Mutex;

use crate::domain::ids::ThreadId;
use crate::health::disk::sync_directory;

/// The directory of the blobs.
pub(super) const DIRECTORY: &str = "blobs";

/// In it, contents that are being written, or overwritten: what a crash leaves here is removed at a start.
pub(super) const UNFINISHED: &str = "unfinished";

/// The content's file among its references.
pub(super) const CONTENT: &str = "content";

/// Bytes that are overwritten at once.
const PIECE: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    sync: bool,
    unfinished: AtomicU64,
    /// Held while references are made or removed: the last one must not go while another comes.
    referring: Mutex<()>,
}

impl Blobs {
    /// The blobs below this directory. What a crash left unfinished goes.
    pub(super) fn new(dir: &Path, sync: bool) -> Self {
        let blobs = Self { dir: dir.join(DIRECTORY), sync, unfinished: AtomicU64::new(0), referring: Mutex::default() };
        if let Err(error) = blobs.convert() {
            tracing::error!(%error, "files of long inputs that an older version wrote cannot be converted");
        }
        let left = entries(&blobs.dir.join(UNFINISHED));
        let _ = left.and_then(|left| left.iter().try_for_each(|file| overwrite_and_remove(&file.path())));
        blobs
    }

    /// Brings files of versions before this one into today's form: `<hash>.<thread>` was a content and its reference in one,
    /// the same content of several threads a file with several names. Those versions had no directory of unfinished files.
    fn convert(&self) -> io::Result<()> {
        if !self.dir.try_exists()? || self.dir.join(UNFINISHED).try_exists()? {
            return Ok(());
        }
        for shard in entries(&self.dir)? {
            for file in entries(&shard.path())? {
                let (name, path) = (file.file_name(), file.path());
                match name.to_str().and_then(|name| name.split_once('.')) {
                    None => {}
                    Some((_, "new")) => overwrite_and_remove(&path)?,
                    Some((hash, thread)) => {
                        let (dir, found) = (path.with_file_name(hash), file.metadata()?);
                        std::fs::create_dir_all(&dir)?;
                        File::create(dir.join(thread))?.set_modified(found.modified()?)?;
                        if !dir.join(CONTENT).try_exists()? {
                            std::fs::rename(&path, dir.join(CONTENT))?;
                        } else if found.nlink() > 1 {
                            std::fs::remove_file(&path)?;
                        } else {
                            overwrite_and_remove(&path)?;
                        }
                    }
                }
            }
        }
        std::fs::create_dir(self.dir.join(UNFINISHED))
    }

    /// Keeps a blob of a thread. Keeping it again makes it young again, for this thread.
    pub(super) fn put(&self, thread: ThreadId, hash: [u8; 32], content: &[u8]) -> io::Result<()> {
        let dir = self.path(hash);
        if !dir.join(CONTENT).try_exists()? {
            let unfinished = self.unfinished()?;
            let written = self.write(&unfinished, content).and_then(|()| self.refer(&dir, thread, Some(&unfinished)));
            // It is still there if that failed, or if another thread was first.
            let _ = overwrite_and_remove(&unfinished);
            return written;
        }
        match self.refer(&dir, thread, None) {
            // It was removed just then.
            Err(error) if error.kind() == ErrorKind::NotFound => self.put(thread, hash, content),
            other => other,
        }
    }

    /// Adds a thread's reference; moves the content there if there is none. `NotFound`: there is none.
    fn refer(&self, dir: &Path, thread: ThreadId, content: Option<&Path>) -> io::Result<()> {
        let _alone = self.referring.lock();
        let there = dir.join(CONTENT);
        match content {
            Some(content) if !there.try_exists()? => {
                std::fs::create_dir_all(dir)?;
                std::fs::rename(content, there)?;
            }
            Some(_) => {}
            None => {
                std::fs::metadata(there)?;
            }
        }
        let reference =
            OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(thread.to_string()))?;
        reference.set_modified(SystemTime::now())?;
        if self.sync {
            [Some(dir), dir.parent(), Some(&self.dir)].into_iter().flatten().try_for_each(sync_directory)?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        if self.sync { file.sync_all() } else { Ok(()) }
    }

    /// A blob of a thread.
    pub(super) fn get(&self, thread: ThreadId, hash: [u8; 32]) -> io::Result<Option<Bytes>> {
        let dir = self.path(hash);
        if !dir.join(thread.to_string()).try_exists()? {
            return Ok(None);
        }
        match std::fs::read(dir.join(CONTENT)) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Erases blobs of a thread. What another thread has, too, stays there.
    pub(super) fn erase(&self, thread: ThreadId, hashes: &HashSet<[u8; 32]>) -> io::Result<()> {
        hashes.iter().try_for_each(|hash| {
            let dir = self.path(*hash);
            self.release(&dir, || match std::fs::remove_file(dir.join(thread.to_string())) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                removed => removed,
            })
        })
    }

    /// Erases blobs that were last stored before `before`.
    pub(super) fn expire(&self, before: SystemTime) -> io::Result<()> {
        for shard in entries(&self.dir)?.iter().filter(|shard| shard.file_name() != UNFINISHED) {
            for content in entries(&shard.path())? {
                let dir = content.path();
                let is_old = |reference: &DirEntry| reference.metadata()?.modified().map(|stored| stored < before);
                self.release(&dir, || {
                    let references = entries(&dir)?.into_iter().filter(is_reference);
                    let mut old = references.filter(|reference| is_old(reference).unwrap_or(false));
                    old.try_for_each(|reference| std::fs::remove_file(reference.path()))
                })?;
            }
        }
        Ok(())
    }

    /// Removes references of a content, and the content if none is left.
    fn release(&self, dir: &Path, remove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let content = {
            let _alone = self.referring.lock();
            remove()?;
            if is_wanted(dir)? { None } else { self.take_out(dir)? }
        };
        // Outside the lock: a long content takes its time.
        content.map_or(Ok(()), |content| overwrite_and_remove(&content))
    }

    /// Moves a content that nothing refers to out of its directory, which goes.
    fn take_out(&self, dir: &Path) -> io::Result<Option<PathBuf>> {
        let unfinished = self.unfinished()?;
        match std::fs::rename(dir.join(CONTENT), &unfinished) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // A crash may have left an empty directory.
                let _ = std::fs::remove_dir(dir);
                return Ok(None);
            }
            moved => moved?,
        }
        std::fs::remove_dir(dir)?;
        Ok(Some(unfinished))
    }

    /// A path for a content that is on its way.
    fn unfinished(&self) -> io::Result<PathBuf> {
        let dir = self.dir.join(UNFINISHED);
        std::fs::create_dir_all(&dir)?;
        Ok(dir.join(self.unfinished.fetch_add(1, Ordering::Relaxed).to_string()))
    }

    /// Where a content and its references are.
    fn path(&self, hash: [u8; 32]) -> PathBuf {
        let hash = HEXLOWER.encode(&hash);
        self.dir.join(&hash[..2]).join(hash)
    }
}

fn is_reference(entry: &DirEntry) -> bool {
    entry.file_name() != CONTENT
}

/// Whether a content has a reference. Of many, only the first ones are looked at.
fn is_wanted(dir: &Path) -> io::Result<bool> {
    let mut entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    while let Some(entry) = entries.next().transpose()? {
        if is_reference(&entry) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is in a directory; nothing if there is none.
pub(super) fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}

/// Removes a file; what was in it is overwritten before.
fn overwrite_and_remove(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let zeros = vec![0; PIECE];
    let (mut at, end) = (0, file.metadata()?.size());
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
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

    fn files(dir: &Path) -> usize {
        entries(dir).unwrap().iter().map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
    }

    #[test]
    fn threads_share_a_content_and_the_last_one_takes_it_away() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(directory.path(), false);
        let (one, other, hash) = (ThreadId::random(), ThreadId::random(), [3; 32]);
        for thread in [one, other, one] {
            blobs.put(thread, hash, b"an image").unwrap();
        }
        assert_eq!(files(&blobs.dir), 3, "a content, two references");
        blobs.erase(one, &[hash].into()).unwrap();
        assert_eq!(blobs.get(one, hash).unwrap(), None);
        assert_eq!(blobs.get(other, hash).unwrap().unwrap(), "an image");
        let held = File::open(blobs.path(hash).join(CONTENT)).unwrap();
        blobs.expire(SystemTime::now() + Duration::from_secs(1)).unwrap();
        assert_eq!(blobs.get(other, hash).unwrap(), None);
        assert_eq!(files(&blobs.dir), 0);
        let mut left = [1; 8];
        held.read_exact_at(&mut left, 0).unwrap();
        assert_eq!(left, [0; 8], "what was there is overwritten");
    }

    #[test]
    fn a_reference_expires_also_while_others_use_the_content() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(directory.path(), false);
        let (one, other, hash) = (ThreadId::random(), ThreadId::random(), [3; 32]);
        blobs.put(one, hash, b"an image").unwrap();
        let old = SystemTime::now() - Duration::from_mins(1);
        File::options().write(true).open(blobs.path(hash).join(one.to_string())).unwrap().set_modified(old).unwrap();
        blobs.put(other, hash, b"an image").unwrap();
        blobs.expire(old + Duration::from_secs(1)).unwrap();
        assert_eq!(blobs.get(one, hash).unwrap(), None);
        assert_eq!(blobs.get(other, hash).unwrap().unwrap(), "an image");
        assert_eq!(files(&blobs.dir), 2);
    }

    #[test]
    fn threads_that_come_and_go_at_once_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (blobs, hash) = (Blobs::new(directory.path(), false), [3; 32]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let thread = ThreadId::random();
                        blobs.put(thread, hash, b"an image").unwrap();
                        assert_eq!(blobs.get(thread, hash).unwrap().unwrap(), "an image");
                        blobs.erase(thread, &[hash].into()).unwrap();
                    }
                });
            }
        });
        assert_eq!(files(&blobs.dir), 0);
    }

    #[test]
    fn what_a_crash_left_unfinished_goes() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join(DIRECTORY).join(UNFINISHED);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("7"), "half an im").unwrap();
        Blobs::new(directory.path(), false);
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    }
}
