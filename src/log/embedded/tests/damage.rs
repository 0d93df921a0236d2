//! Every byte flipped, and every file cut at every byte: the log opens, and loses what was hit and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::forward::{Forward, Step};
use super::super::frame::Key;
use super::super::recover::DIRECTORY;
use super::super::{Embedded, verify};
use super::{directory, files, indexed, open, restored, segments};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::log::{Stored, Subject};

/// What is in the log that is damaged.
struct Written {
    files: BTreeMap<PathBuf, Vec<u8>>,
    subjects: Vec<(Subject, Vec<Stored>)>,
    snapshots: Vec<(ReplyId, Option<Bytes>)>,
    blob: (ThreadId, [u8; 32], Bytes),
    tickets: BTreeSet<ReplyId>,
}

/// Where a record stands, and what it is of.
struct Place {
    from: u64,
    to: u64,
    keys: Vec<Key>,
}

const SECRET: &str = "an erased secret";

fn text(what: &str, number: u64) -> Bytes {
    format!(r#"{{"{what}":{number},"text":"{}"}}"#, "word ".repeat(usize::try_from(number % 7).unwrap())).into()
}

/// Two threads with several replies each: one that is erased, one whose reply log lies in several segments, one that runs.
async fn write(log: &Embedded, threads: &[ThreadId; 2]) -> Vec<ReplyId> {
    let mut replies = Vec::new();
    for round in 0..4 {
        for thread in threads {
            let transcript = Subject::Transcript(*thread);
            let reply = ReplyId::random(*thread);
            replies.push(reply);
            let last = log.last_record(transcript).await.unwrap().map(|last| last.sequence);
            let secret = Bytes::from(format!(r#"{{"accepted":"{SECRET}"}}"#));
            let accepted = if round == 1 { secret.clone() } else { text("accepted", round) };
            let accepted = log.accept(InstanceId::from_number(7), reply, last, accepted).await.unwrap();
            let mut last = 0;
            for number in 1..=6 {
                let events = if round == 1 { secret.clone() } else { text("events", number + round) };
                last = log.append(Subject::ReplyLog(reply), last, events).await.unwrap();
            }
            log.put_snapshot(reply, text("snapshot", round)).await.unwrap();
            if round == 3 {
                continue;
            }
            let common = "in both of them, the same words, as often as it takes to be found";
            let (done, ended) = (format!(r#"{{"done":"{common}"}}"#), format!(r#"{{"ended":"{common}","n":{round}}}"#));
            let ended = Some((accepted, ended.into()));
            let done = log.conclude(reply, Some(last), done.into(), ended).await.unwrap();
            log.erase_snapshot(reply).await.unwrap();
            if round == 1 {
                let fence = log.append(Subject::ReplyLog(reply), done.sequence, text("deleted", 0)).await.unwrap();
                log.erase_before(Subject::ReplyLog(reply), fence).await.unwrap();
                log.seal_snapshot(reply).await.unwrap();
                log.erase(transcript, vec![accepted]).await.unwrap();
            }
        }
    }
    replies
}

async fn written() -> Written {
    let directory = directory();
    let log = open(directory.path()).unwrap();
    let threads = [ThreadId::random(), ThreadId::random()];
    let replies = write(&log, &threads).await;
    let blob = (threads[0], [5; 32], Bytes::from_static(b"an image"));
    log.put_blob(blob.0, blob.1, blob.2.clone()).await.unwrap();
    let subjects: Vec<_> = threads.into_iter().map(Subject::Transcript).collect();
    let subjects = subjects.into_iter().chain(replies.iter().copied().map(Subject::ReplyLog));
    let (mut known, mut snapshots) = (Vec::new(), Vec::new());
    for subject in subjects {
        known.push((subject, log.read(subject, 0).await.unwrap()));
    }
    for reply in replies {
        snapshots.push((reply, log.snapshot(reply).await.unwrap().map(|stored| stored.payload)));
    }
    // What an erasure leaves to be written without being waited for is written before this.
    log.hold(InstanceId::from_number(1), known_reply(&snapshots)).await.unwrap();
    indexed(&log).await;
    let tickets = log.tickets().into_iter().map(|(_, reply)| reply).collect();
    Written { files: files(directory.path()), subjects: known, snapshots, blob, tickets }
}

/// The reply that runs.
fn known_reply(snapshots: &[(ReplyId, Option<Bytes>)]) -> ReplyId {
    snapshots.last().unwrap().0
}

/// The records of a segment.
fn places(path: &Path) -> Vec<Place> {
    let file = Arc::new(std::fs::File::open(path).unwrap());
    let end = file.metadata().unwrap().len();
    let mut forward = Forward::new(file, 0, end);
    let mut places = Vec::new();
    while let Some(step) = forward.next().unwrap() {
        let Step::Record { offset, header, .. } = step else { panic!("it is whole") };
        let from = u64::from(offset);
        let keys = header.links().map(|(key, _)| key).collect();
        places.push(Place { from, to: from + header.frame(), keys });
    }
    places
}

/// How a file is damaged.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip(usize),
    Cut(usize),
}

impl Harm {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Flip(at) => content[at] ^= 1 << (at % 8),
            Self::Cut(at) => content.truncate(at),
        }
    }

    /// Whether it looks like an end that was not written.
    const fn is_cut(self) -> bool {
        matches!(self, Self::Cut(_))
    }

    fn hits(self, place: &Place) -> bool {
        match self {
            Self::Flip(at) => (place.from..place.to).contains(&(at as u64)),
            Self::Cut(at) => place.to > at as u64,
        }
    }
}

/// Opens the damaged log twice, and holds it against what was written.
async fn holds(written: &Written, harmed: &TempDir, hits: &[&Place], is_end: bool, what: &str) {
    let hit: BTreeSet<_> = hits.iter().flat_map(|place| &place.keys).map(name).collect();
    let count: usize = hits.iter().map(|place| place.keys.len()).sum();
    let verified = verify(harmed.path(), false, None).unwrap();
    let log = open(harmed.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (mut lasts, mut missing) = (Vec::new(), 0);
    for (subject, records) in &written.subjects {
        let read = log.read(*subject, 0).await.unwrap();
        let is_hit = hit.contains(&name(&Key::from(*subject)));
        for record in &read {
            let known = records.iter().find(|known| known.sequence == record.sequence);
            assert!(
                known.is_some_and(|known| known.payload == record.payload) || (is_hit && record.payload.is_empty()),
                "{what}: {subject:?} {record:?}"
            );
        }
        let whole = read.iter().filter(|record| !record.payload.is_empty()).count();
        missing += records.len() - whole;
        assert!(is_hit || whole == records.len(), "{what}: {subject:?} lost something that was not hit");
        let last = log.last_record(*subject).await.unwrap().map_or(0, |last| last.sequence);
        assert!(is_hit || Some(last) == records.last().map(|last| last.sequence), "{what}: a fence moved");
        lasts.push((*subject, last));
    }
    assert!(missing <= count, "{what}: {missing} records are lost, and {count} were hit");
    assert!(
        missing == 0 || is_end || verified.damaged > 0 || verified.torn > 0,
        "{what}: {missing} records are lost, and that is not reported"
    );
    assert!(
        missing == 0 || is_end || verified.torn > 0 || log.usage().damaged > 0,
        "{what}: the log does not report it"
    );
    for (reply, snapshot) in &written.snapshots {
        let read = log.snapshot(*reply).await.unwrap().map(|stored| stored.payload);
        assert!(read == *snapshot || hit.contains(&name(&Key::Snapshot(*reply))), "{what}: {read:?}");
    }
    let (thread, hash, blob) = &written.blob;
    assert_eq!(log.blob(*thread, *hash).await.unwrap().as_ref(), Some(blob), "{what}");
    if hits.is_empty() {
        let tickets: BTreeSet<_> = log.tickets().into_iter().map(|(_, reply)| reply).collect();
        assert_eq!(tickets, written.tickets, "{what}");
    }
    goes_on(log, harmed, lasts, what).await;
}

/// Everything takes another record, and has it after another start.
async fn goes_on(log: Embedded, harmed: &TempDir, lasts: Vec<(Subject, u64)>, what: &str) {
    let mut after = Vec::new();
    for (subject, last) in lasts {
        let stored = log.append(subject, last, text("after", last)).await;
        let sequence = stored.unwrap_or_else(|error| panic!("{what}: {subject:?} {error}"));
        after.push((subject, sequence, text("after", last)));
    }
    let scanned = log.scan(0, 10_000).await.unwrap();
    assert!(scanned.is_sorted_by(|one, next| one.position < next.position), "{what}");
    let again = super::crashed(harmed.path());
    drop(log);
    let log = open(again.path()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    for (subject, sequence, payload) in after {
        let last = log.last_record(subject).await.unwrap().unwrap_or_else(|| panic!("{what}: {subject:?}"));
        assert_eq!((last.sequence, last.payload), (sequence, payload), "{what}: {subject:?}");
    }
    assert_eq!(super::holds(again.path(), SECRET.as_bytes()), None, "{what}");
}

fn name(key: &Key) -> Vec<u8> {
    format!("{key:?}").into_bytes()
}

/// Does harm to files with this extension, in one of so many parts.
async fn harm(extension: &str, harm: fn(usize) -> Harm) {
    let written = written().await;
    let whole = restored(&written.files);
    for (path, content) in &written.files {
        let is_meant = path.extension().map_or(path.ends_with(extension), |other| other == extension);
        if !is_meant {
            continue;
        }
        let places = if extension == "seg" { places(&whole.path().join(path)) } else { Vec::new() };
        let newest = ['t', 'c'].map(|family| segments(whole.path(), family, "seg").pop().unwrap());
        let is_open = newest.contains(&whole.path().join(path));
        for at in 0..content.len() {
            let harm = harm(at);
            let mut files = written.files.clone();
            harm.apply(files.get_mut(path).unwrap());
            let hit: Vec<_> = places.iter().filter(|place| harm.hits(place)).collect();
            holds(&written, &restored(&files), &hit, is_open && harm.is_cut(), &format!("{} {harm:?}", path.display()))
                .await;
        }
    }
    assert!(written.files.keys().filter(|path| path.starts_with(DIRECTORY)).count() > 10, "there are many segments");
}

#[tokio::test]
async fn a_flipped_byte_costs_the_record_that_it_hit() {
    harm("seg", Harm::Flip).await;
}

#[tokio::test]
async fn a_segment_that_is_cut_costs_what_was_behind() {
    harm("seg", Harm::Cut).await;
}

#[tokio::test]
async fn damage_to_an_index_costs_nothing() {
    harm("idx", Harm::Flip).await;
    harm("idx", Harm::Cut).await;
}

#[tokio::test]
async fn damage_to_the_name_of_the_log_costs_nothing() {
    harm("format", Harm::Flip).await;
    harm("format", Harm::Cut).await;
}
