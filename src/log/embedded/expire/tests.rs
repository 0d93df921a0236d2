use std::path::Path;

use bytes::Bytes;

use super::super::{Config, Embedded};
use super::*;
use crate::domain::ids::ThreadId;
use crate::log::Subject;

/// A log of small segments, with so many records.
async fn with_records(dir: &Path, count: u64) -> Embedded {
    let config = Config { dir: dir.to_owned(), sync_always: false, min_free_disk: 0, segment_bytes: 900 };
    let log = Embedded::open(config).unwrap();
    for _ in 0..count {
        let record = Bytes::from(vec![b'x'; 100]);
        log.append(Subject::Transcript(ThreadId::random()), 0, record).await.unwrap();
    }
    log
}

async fn first(log: &Embedded) -> Position {
    // (What was written in this millisecond is not older than nothing.)
    let now = now_ms();
    while now_ms() == now {
        tokio::task::yield_now().await;
    }
    log.expire(Duration::ZERO, Duration::from_hours(1)).await.unwrap();
    log.shared.scan(0, 1).unwrap().first().map_or(0, |first| first.position)
}

#[tokio::test]
async fn what_webhooks_did_not_read_waits_for_them_and_no_longer_than_that() {
    let directory = tempfile::tempdir().unwrap();
    let log = with_records(directory.path(), 20).await;
    log.projected(20);
    log.carried(0);
    assert_eq!(first(&log).await, 1, "nobody read anything");
    log.carried(10);
    let kept = first(&log).await;
    assert!((5..=11).contains(&kept), "{kept}: whole segments that were read go");
    log.carried(20);
    assert_eq!(first(&log).await, 0);
}

#[tokio::test]
async fn the_store_is_waited_for_also_when_webhooks_are_further() {
    let directory = tempfile::tempdir().unwrap();
    let log = with_records(directory.path(), 20).await;
    log.carried(20);
    assert_eq!(first(&log).await, 1);
}

#[tokio::test]
async fn the_log_stops_waiting_for_webhooks_that_never_come() {
    let directory = tempfile::tempdir().unwrap();
    let log = with_records(directory.path(), 20).await;
    log.projected(20);
    log.carried(0);
    assert_eq!(first(&log).await, 1);
    let waits_for = |webhooks| log.shared.old_transcripts_after(Duration::ZERO, webhooks).unwrap().len();
    assert_eq!(waits_for(Duration::from_hours(1)), 0);
    assert!(waits_for(Duration::ZERO) > 0, "the time is over");
    log.carried(20);
    assert!(waits_for(Duration::from_hours(1)) > 0);
    assert_eq!(*log.shared.carried.waits_since.lock(), None, "the next wait begins anew");
}
