//! Finds what is old enough to go. Reads only; the writer erases what is found.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::op::Op;
use super::tables::{BIRTH, BLOB, SNAPSHOT, number, reply_of, ticket_key, transcript_value};
use super::{Shared, Subject};
use crate::log::now_ms;

/// Records that one pass erases at most, of each kind; the next pass takes the rest.
const PASS: usize = 16 * 1024;

/// Records that are erased in one write: others wait behind it.
const CHUNK: usize = 256;

pub(super) fn find(shared: &Shared, retention: Duration, replay_window: Duration) -> fjall::Result<Vec<Op>> {
    let mut found = transcripts(shared, cutoff(retention))?;
    found.extend(chains(shared, cutoff(replay_window))?);
    found.extend(snapshots(shared, cutoff(retention))?);
    found.extend(blobs(shared, cutoff(retention))?);
    Ok(found)
}

/// The time before which things are too old, in milliseconds of Unix time.
fn cutoff(age: Duration) -> u64 {
    now_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Transcript records that the store holds. The very last stays: it says where positions go on.
fn transcripts(shared: &Shared, before: u64) -> fjall::Result<Vec<Op>> {
    let projected = shared.projected.load(Ordering::Relaxed);
    let last = shared.last_position.load(Ordering::Acquire);
    let mut old = Vec::new();
    for entry in shared.tables.transcript.iter().take(PASS) {
        let (key, value) = entry.into_inner()?;
        let position = number(&key);
        let (thread, record) = transcript_value(value);
        if position > projected || position >= last || record.at >= before {
            break;
        }
        old.push((position, thread, record.sequence));
    }
    Ok(old.chunks(CHUNK).map(|chunk| Op::ExpireTranscript(chunk.to_vec())).collect())
}

/// Chains whose last record is old and that no ticket holds.
fn chains(shared: &Shared, before: u64) -> fjall::Result<Vec<Op>> {
    let tables = &shared.tables;
    let mut old = Vec::new();
    for entry in tables.index.prefix([BIRTH]).take(PASS) {
        let key = entry.key()?;
        let (born, reply) = (number(&key[1..]), reply_of(&key[9..]));
        if born >= before {
            break;
        }
        if tables.index.contains_key(ticket_key(reply))? {
            continue;
        }
        let last = tables.last_sequence(Subject::Chain(reply))?;
        let records = tables.read(Subject::Chain(reply), last.saturating_sub(1))?;
        if records.iter().all(|record| record.at < before) {
            old.push(Op::ExpireChain { born, reply, last });
        }
    }
    Ok(old)
}

fn snapshots(shared: &Shared, before: u64) -> fjall::Result<Vec<Op>> {
    let mut old = Vec::new();
    for entry in shared.tables.large.prefix([SNAPSHOT]).take(PASS) {
        let (key, value) = entry.into_inner()?;
        if number(&value) < before {
            old.push(Op::EraseSnapshot(reply_of(&key[1..])));
        }
    }
    Ok(old)
}

fn blobs(shared: &Shared, before: u64) -> fjall::Result<Vec<Op>> {
    let mut old = Vec::new();
    for entry in shared.tables.large.prefix([BLOB]).take(PASS) {
        let (key, value) = entry.into_inner()?;
        if number(&value) < before {
            let thread = crate::conversation::ids::ThreadId::from_bytes(key[1..17].try_into().expect("a blob's key"));
            let hash = key[17..49].try_into().expect("a blob's key");
            old.push(Op::EraseBlobs { thread, hashes: [hash].into() });
        }
    }
    Ok(old)
}
