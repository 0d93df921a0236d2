//! A copy of a log, while a server may be writing it.
//!
//! What is copied is what a `kill -9` in that moment would leave, and is read as such: a torn end is cut, an erasure that was
//! announced is completed. So that nothing in the copy refers to what is not there, transcripts are copied before the reply
//! logs, and blobs last: each is kept before what refers to it. Of a segment's index a copy is made only where the segment
//! takes no more records.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::blobs;
use super::recover::{DIRECTORY, FORMAT};
use super::segment::{Family, Name, Segments};
use crate::health::disk::sync_directory;

/// How much was copied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Segment files.
    pub segments: usize,
    /// Long inputs.
    pub blobs: usize,
    /// Bytes of both.
    pub bytes: u64,
}

/// Copies the log of one `DATA_DIR` into another, which has none. Blocks.
pub fn copy(from: &Path, to: &Path) -> io::Result<Copied> {
    let (from, to) = (from.join(DIRECTORY), to.join(DIRECTORY));
    std::fs::create_dir_all(&to)?;
    let mut copied = Copied::default();
    for family in Family::BOTH {
        // What is written into new ones while these are copied comes after all that is in the copy.
        let segments = Segments::look(&from)?;
        let names = segments.of(family);
        for name in &names {
            copy_segment(&segments, *name, Some(name) == names.last(), &to, &mut copied)?;
        }
    }
    copy_blobs(&from.join(blobs::DIRECTORY), &to.join(blobs::DIRECTORY), &mut copied)?;
    // Last: without it the copy is none.
    copy_file(&from.join(FORMAT), &to.join(FORMAT))?;
    sync_directory(&to)?;
    Ok(copied)
}

fn copy_segment(segments: &Segments, name: Name, is_open: bool, to: &Path, copied: &mut Copied) -> io::Result<()> {
    let beside = |path: PathBuf| to.join(path.file_name().unwrap_or_default());
    let path = segments.path(name);
    let bytes = match copy_file(&path, &beside(path.clone())) {
        Ok(bytes) => bytes,
        // It expired just now: all of it is older than its retention.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    (copied.segments, copied.bytes) = (copied.segments + 1, copied.bytes + bytes);
    let index = segments.index_path(name);
    match copy_file(&index, &beside(index.clone())) {
        // Whoever opens the copy makes it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // It became full while it was copied.
        Ok(_) if is_open => std::fs::remove_file(beside(index)),
        copied => copied.map(drop),
    }
}

/// Copies contents and the threads that refer to them, with their times.
fn copy_blobs(from: &Path, to: &Path, copied: &mut Copied) -> io::Result<()> {
    for entry in there(blobs::entries(from))?.unwrap_or_default() {
        let (path, beside) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == blobs::UNFINISHED {
            std::fs::create_dir_all(&beside)?;
        } else if there(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
            copy_blobs(&path, &beside, copied)?;
        } else {
            std::fs::create_dir_all(to)?;
            // What was deleted meanwhile must not be copied.
            if let Some(bytes) = there(copy_file(&path, &beside))? {
                copied.bytes += bytes;
                copied.blobs += usize::from(entry.file_name() == blobs::CONTENT);
            }
        }
    }
    Ok(())
}

/// `None`: it is not there any more.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Copies a file as far as it goes at the beginning, with its time and mode, and writes it to the disk.
pub(crate) fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let source = File::open(from)?;
    let found = source.metadata()?;
    let mut copy = OpenOptions::new().write(true).create_new(true).open(to)?;
    let bytes = io::copy(&mut source.take(found.len()), &mut copy)?;
    copy.set_permissions(found.permissions())?;
    copy.set_modified(found.modified()?)?;
    copy.sync_all()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Embedded, verify};
    use super::*;
    use crate::domain::ids::{ReplyId, ThreadId};
    use crate::log::Subject;

    fn open(dir: &Path) -> Embedded {
        let dir = dir.to_owned();
        Embedded::open(Config { dir, sync_always: false, min_free_disk: 0, segment_bytes: 64 << 10 }).unwrap()
    }

    #[tokio::test]
    async fn a_copy_that_is_made_while_much_is_written_is_whole_up_to_a_point() {
        let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = open(dir.path());
        let (thread, reply) = (ThreadId::random(), ReplyId::random(ThreadId::random()));
        let writing = tokio::spawn({
            let log = log.clone();
            async move {
                for sequence in 0.. {
                    let payload = bytes::Bytes::from(format!("{{\"n\":{sequence},\"x\":\"{}\"}}", "y".repeat(500)));
                    log.append(Subject::ReplyLog(reply), sequence, payload.clone()).await.unwrap();
                    log.append(Subject::Transcript(thread), sequence, payload).await.unwrap();
                    if sequence % 50 == 49 {
                        log.erase(Subject::Transcript(thread), vec![sequence - 20]).await.unwrap();
                    }
                }
            }
        });
        let mut reached = 0;
        for number in 0..8 {
            let to = copies.path().join(number.to_string());
            // Some more are written before the next.
            while log.read(Subject::Transcript(thread), reached).await.unwrap().len() < 300 {
                tokio::task::yield_now().await;
            }
            let acknowledged = log.last_record(Subject::Transcript(thread)).await.unwrap().unwrap().sequence;
            let (from, beside) = (dir.path().to_owned(), to.clone());
            tokio::task::spawn_blocking(move || copy(&from, &beside)).await.unwrap().unwrap();
            let found = verify(&to, false, None).unwrap();
            assert_eq!((found.damaged, found.lost), (0, vec![]), "copy {number}");
            let copy = open(&to);
            let (said, generated) = (
                copy.read(Subject::Transcript(thread), 0).await.unwrap(),
                copy.read(Subject::ReplyLog(reply), 0).await.unwrap(),
            );
            reached = said.last().unwrap().sequence;
            assert!(reached >= acknowledged && generated.last().unwrap().sequence >= reached, "copy {number}");
            assert_eq!(generated.len() as u64, generated.last().unwrap().sequence, "no record is missing");
        }
        writing.abort();
    }
}
