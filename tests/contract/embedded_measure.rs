//! What the embedded log costs with much in it. Measurements, to be run by hand:
//!
//! ```text
//! MEASURE_DIR=/var/tmp/many MEASURE_REPLIES=2000000 cargo test --release --test contract -- --ignored --nocapture measure_log
//! ```
//!
//! `MEASURE_DIR` stays, so that a server can be started on it (`DATA_DIR`).

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use rejoinder::domain::ids::{InstanceId, ReplyId, ThreadId};
use rejoinder::log::embedded::{Config, SEGMENT_BYTES};
use rejoinder::log::{Embedded, Log, Subject};

fn open(dir: PathBuf, segment_bytes: u64) -> Log {
    let config = Config { dir, sync_always: false, min_free_disk: 0, segment_bytes };
    Log::Embedded(Embedded::open(config).expect("a log"))
}

/// A reply as the server writes one: accepted, and concluded in one append.
async fn reply(log: &Log, instance: InstanceId) {
    let reply = ReplyId::random(ThreadId::random());
    let text = |length: usize| Bytes::from(format!("{{\"{reply}\":\"{}\"}}", "x".repeat(length)));
    let accepted = log.records().accept(instance, reply, None, text(600)).await.unwrap();
    log.records().conclude(reply, None, text(800), Some((accepted, text(800)))).await.unwrap();
}

#[tokio::test]
#[ignore = "a measurement, of a release build"]
async fn measure_log_a_start_with_many_replies() {
    let count: u64 = std::env::var("MEASURE_REPLIES").map_or(200_000, |count| count.parse().expect("a number"));
    let directory = tempfile::tempdir().unwrap();
    let dir = std::env::var_os("MEASURE_DIR").map_or_else(|| directory.path().to_owned(), PathBuf::from);
    let log = open(dir.clone(), SEGMENT_BYTES);
    let (instance, begun) = (InstanceId::random(), Instant::now());
    for _ in 0..count {
        reply(&log, instance).await;
    }
    println!("{count} replies written in {:?}, {:?}", begun.elapsed(), log.usage());
    drop(log);
    // Its threads let go of it a moment later.
    while rejoinder::log::embedded::inspect(&dir).unwrap().in_use {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let log = open(dir, SEGMENT_BYTES);
    println!("opened in {:?}, {:?}", begun.elapsed(), log.usage());
}

#[tokio::test]
#[ignore = "a measurement, of a release build"]
async fn measure_log_a_thread_in_50_segments() {
    let directory = tempfile::tempdir().unwrap();
    // Small ones, each with a record of the thread between some hundred others.
    let log = open(directory.path().to_owned(), 256 << 10);
    let (instance, subject) = (InstanceId::random(), Subject::Transcript(ThreadId::random()));
    let mut last = 0;
    while log.usage().segments < 52 {
        let before = log.usage().segments;
        last = log.records().append(subject, last, Bytes::from("a turn ".repeat(100))).await.unwrap();
        while log.usage().segments == before {
            reply(&log, instance).await;
        }
    }
    let mut times = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        assert_eq!(log.records().read(subject, 0).await.unwrap().len() as u64, last);
        times.push(begun.elapsed());
    }
    times.sort();
    println!("{last} records in as many segments read in {:?} (median), {:?} (p99)", times[100], times[198]);
}
