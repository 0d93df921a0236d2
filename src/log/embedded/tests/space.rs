//! What is erased gives its space back.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::recover::DIRECTORY;
use super::super::{Config, Embedded, SEGMENT_BYTES};
use super::{holds, restored};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::log::Subject;

fn taken(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join(DIRECTORY)).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.map(|found| found.blocks() * 512).sum()
}

#[tokio::test]
async fn a_reply_of_many_short_records_gives_its_space_back() {
    // On a disk: holes in memory are of another kind.
    let directory = TempDir::new().unwrap();
    let config =
        Config { dir: directory.path().to_owned(), sync_always: false, min_free_disk: 0, segment_bytes: SEGMENT_BYTES };
    let log = Embedded::open(config).unwrap();
    let before = taken(directory.path());
    let reply_log = Subject::ReplyLog(ReplyId::random(ThreadId::random()));
    let mut last = 0;
    for number in 0..100_000_u32 {
        last = log.append(reply_log, last, Bytes::from(format!("one letter, {number}"))).await.unwrap();
    }
    let full = taken(directory.path()) - before;
    assert!(full > 8 << 20, "{full} bytes");
    log.erase_before(reply_log, last).await.unwrap();
    let left = taken(directory.path()) - before;
    // A megabyte is claimed ahead.
    assert!(left < full / 8, "{left} of {full} bytes are left");
    assert_eq!(holds(directory.path(), b"one letter, 500"), None);
    assert_eq!(log.read(reply_log, 0).await.unwrap().len(), 1);
    assert!(log.append(reply_log, last - 1, Bytes::from_static(b"late")).await.is_err());
    let copy = restored(&super::files(directory.path()));
    let again = super::open(copy.path()).unwrap();
    assert_eq!(again.last_record(reply_log).await.unwrap().unwrap().sequence, last);
}
