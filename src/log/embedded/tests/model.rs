//! Anything in any order, with crashes between: the log is held against a model of what its contract says.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::Embedded;
use super::{crashed, directory, holds, open, segments};
use crate::conversation::ids::{InstanceId, ReplyId, ThreadId};
use crate::log::{AppendError, Subject};

/// Runs with numbers of their own, and steps of each.
const RUNS: u64 = 40;
const STEPS: usize = 120;

/// A record of the model; `None`: it was erased.
type Record = (u64, Option<Bytes>);

/// What the contract says that the log holds.
#[derive(Default)]
struct Model {
    subjects: HashMap<Subject, Vec<Record>>,
    snapshots: HashMap<ReplyId, Bytes>,
    /// What was kept of a reply before, and is to be gone when it is sealed.
    old_snapshots: HashMap<ReplyId, Vec<Bytes>>,
    leases: BTreeMap<u64, (InstanceId, ReplyId)>,
    blobs: HashMap<(ThreadId, [u8; 32]), Bytes>,
    /// By position.
    order: BTreeMap<u64, (ThreadId, u64)>,
    projected: u64,
    position: u64,
}

struct World {
    random: fastrand::Rng,
    log: Embedded,
    directory: TempDir,
    model: Model,
    threads: Vec<ThreadId>,
    replies: Vec<ReplyId>,
    written: u64,
}

impl Model {
    fn last(&self, subject: Subject) -> u64 {
        self.subjects.get(&subject).and_then(|records| records.last()).map_or(0, |last| last.0)
    }

    fn store(&mut self, subject: Subject, payload: Bytes) -> u64 {
        let sequence = self.last(subject) + 1;
        self.subjects.entry(subject).or_default().push((sequence, Some(payload)));
        if let Subject::Transcript(thread) = subject {
            self.position += 1;
            self.order.insert(self.position, (thread, sequence));
        }
        sequence
    }

    fn erase(&mut self, subject: Subject, is_meant: impl Fn(u64) -> bool) -> Vec<Bytes> {
        let records = self.subjects.get_mut(&subject).into_iter().flatten();
        records.filter(|record| is_meant(record.0)).filter_map(|record| record.1.take()).collect()
    }

    /// Whether these bytes are to be found nowhere any more.
    fn is_gone(&self, bytes: &Bytes) -> bool {
        let part = |other: &Bytes| memchr::memmem::find(other, token(bytes)).is_some();
        let records = self.subjects.values().flatten().filter_map(|record| record.1.as_ref());
        !records.chain(self.blobs.values()).chain(self.snapshots.values()).any(part)
            && !self.old_snapshots.values().flatten().any(part)
    }
}

/// What makes these bytes unlike all others.
fn token(bytes: &[u8]) -> &[u8] {
    &bytes[..20]
}

impl World {
    fn new(seed: u64) -> Self {
        let directory = directory();
        let log = open(directory.path()).unwrap();
        let threads: Vec<_> = (0..3).map(|_| ThreadId::random()).collect();
        let replies = threads.iter().flat_map(|thread| [ReplyId::random(*thread), ReplyId::random(*thread)]);
        let replies = replies.collect();
        let random = fastrand::Rng::with_seed(seed);
        Self { random, log, directory, model: Model::default(), threads, replies, written: 0 }
    }

    /// Bytes of any kind, which begin like no others.
    fn payload(&mut self) -> Bytes {
        self.written += 1;
        let mut bytes = format!("<token-{:012}>", self.written).into_bytes();
        let length = if self.random.u8(..8) == 0 {
            *self.random.choice(&[1000, 9000]).unwrap()
        } else {
            self.random.usize(..90)
        };
        bytes.extend((0..length).map(|_| *self.random.choice(&[0, 0x0a, 0xb7, b'x', 0xa5, 0x5a, 3]).unwrap()));
        bytes.into()
    }

    fn reply(&mut self) -> ReplyId {
        let place = self.random.usize(..self.replies.len());
        // Now and then one ends and another begins.
        if self.random.u8(..6) == 0 {
            self.replies[place] = ReplyId::random(self.replies[place].thread());
        }
        self.replies[place]
    }

    fn subject(&mut self) -> Subject {
        if self.random.bool() {
            Subject::Chain(self.reply())
        } else {
            Subject::Transcript(self.threads[self.random.usize(..self.threads.len())])
        }
    }

    async fn step(&mut self) {
        match self.random.u8(..32) {
            0..=9 => self.append().await,
            10..=12 => self.accept().await,
            13..=15 => self.conclude().await,
            16..=17 => self.snapshot().await,
            18 => self.lease().await,
            19..=21 => self.erase().await,
            22 => self.erase_before().await,
            23 => self.seal().await,
            24..=25 => self.blob().await,
            26 => {
                self.model.projected = self.random.u64(self.model.projected..=self.model.position);
                self.log.projected(self.model.projected);
            }
            27 => self.expire().await,
            28..=29 => self.crash(),
            _ => self.check_some().await,
        }
    }

    async fn append(&mut self) {
        let (subject, payload) = (self.subject(), self.payload());
        let last = self.model.last(subject);
        let expected = if self.random.u8(..5) == 0 { self.random.u64(..last + 3) } else { last };
        let stored = match self.random.u8(..4) {
            0 => self.log.append_deletion(subject, expected, payload.clone()).await,
            _ => self.log.append(subject, expected, payload.clone()).await,
        };
        if expected == last {
            assert_eq!(stored.unwrap(), self.model.store(subject, payload), "{subject:?}");
        } else {
            assert!(matches!(stored, Err(AppendError::Conflict { last: told, .. }) if told == last), "{stored:?}");
        }
    }

    async fn accept(&mut self) {
        let (reply, payload, instance) = (self.reply(), self.payload(), InstanceId::from_number(self.random.u64(..9)));
        let transcript = Subject::Transcript(reply.thread());
        let last = self.model.last(transcript);
        let stored = self.log.accept(instance, reply, Some(last), payload.clone()).await.unwrap();
        assert_eq!(stored, self.model.store(transcript, payload));
        self.model.leases.insert(key(reply), (instance, reply));
    }

    async fn conclude(&mut self) {
        let reply = self.reply();
        let (chain, transcript) = (Subject::Chain(reply), Subject::Transcript(reply.thread()));
        let done = self.payload();
        let ended: Bytes = if self.random.bool() { self.payload() } else { [&done[..], b" and so on"].concat().into() };
        let (last, at) = (self.model.last(chain), self.model.last(transcript));
        let at = if self.random.u8(..5) == 0 { at + 1 } else { at };
        let end = (self.random.u8(..6) > 0).then(|| (at, ended.clone()));
        let fits = end.is_some() && at == self.model.last(transcript);
        let concluded = self.log.conclude(reply, Some(last), done.clone(), end).await.unwrap();
        assert_eq!((concluded.sequence, concluded.in_transcript), (self.model.store(chain, done), fits));
        if fits {
            self.model.store(transcript, ended);
            self.model.leases.remove(&key(reply));
        }
    }

    async fn snapshot(&mut self) {
        let (reply, snapshot) = (self.reply(), self.payload());
        let old = if self.random.u8(..4) == 0 {
            self.log.erase_snapshot(reply).await.unwrap();
            self.model.snapshots.remove(&reply)
        } else {
            self.log.put_snapshot(reply, snapshot.clone()).await.unwrap();
            self.model.snapshots.insert(reply, snapshot)
        };
        self.model.old_snapshots.entry(reply).or_default().extend(old);
    }

    async fn lease(&mut self) {
        let (reply, instance) = (self.reply(), InstanceId::from_number(self.random.u64(..9)));
        if self.random.bool() {
            self.log.hold(instance, reply).await.unwrap();
            self.model.leases.insert(key(reply), (instance, reply));
        } else {
            self.log.release(reply);
            self.model.leases.remove(&key(reply));
            // Nobody waits for a release; what is written after it has it before.
            self.log.hold(instance, self.replies[0]).await.unwrap();
            self.model.leases.insert(key(self.replies[0]), (instance, self.replies[0]));
        }
    }

    async fn erase(&mut self) {
        let subject = self.subject();
        let last = self.model.last(subject);
        let sequences: Vec<_> = (1..last).filter(|_| self.random.u8(..3) == 0).collect();
        self.log.erase(subject, sequences.clone()).await.unwrap();
        let erased = self.model.erase(subject, |sequence| sequences.contains(&sequence));
        self.are_gone(&erased);
    }

    async fn erase_before(&mut self) {
        let subject = self.subject();
        let before = self.random.u64(..=self.model.last(subject));
        self.log.erase_before(subject, before).await.unwrap();
        let erased = self.model.erase(subject, |sequence| sequence < before);
        self.are_gone(&erased);
    }

    async fn seal(&mut self) {
        let reply = self.reply();
        self.log.seal_snapshot(reply).await.unwrap();
        let mut erased = self.model.old_snapshots.remove(&reply).unwrap_or_default();
        erased.extend(self.model.snapshots.remove(&reply));
        self.are_gone(&erased);
    }

    /// Erasure is physical.
    fn are_gone(&self, erased: &[Bytes]) {
        for bytes in erased.iter().filter(|bytes| self.model.is_gone(bytes)) {
            let name = String::from_utf8_lossy(token(bytes)).into_owned();
            assert_eq!(holds(self.directory.path(), token(bytes)), None, "{name}");
        }
    }

    async fn blob(&mut self) {
        let thread = self.threads[self.random.usize(..self.threads.len())];
        let known: Vec<_> = self.model.blobs.keys().copied().filter(|(of, _)| *of == thread).collect();
        if let Some(known) = known.first().filter(|_| self.random.bool()) {
            self.log.erase_blobs(thread, HashSet::from([known.1])).await.unwrap();
            let erased = self.model.blobs.remove(known).unwrap();
            return self.are_gone(&[erased]);
        }
        let same = self.model.blobs.iter().next().map(|((_, hash), blob)| (*hash, blob.clone()));
        let (hash, blob) = match same.filter(|_| self.random.bool()) {
            Some(same) => same,
            None => (std::array::from_fn(|_| self.random.u8(..)), self.payload()),
        };
        self.log.put_blob(thread, hash, blob.clone()).await.unwrap();
        self.model.blobs.insert((thread, hash), blob);
    }

    /// Whole segments go, and which that are is the log's own affair: what may not go is there.
    async fn expire(&mut self) {
        // Chains are not kept for longer than transcripts.
        let retention = if self.random.bool() { Duration::from_hours(1) } else { Duration::ZERO };
        let window = Duration::ZERO;
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.log.expire(retention, window).await.unwrap();
        let held: HashSet<_> = self.model.leases.values().map(|(_, reply)| Subject::Chain(*reply)).collect();
        let subjects: Vec<_> = self.model.subjects.keys().copied().collect();
        for subject in subjects {
            let is_kept = match subject {
                Subject::Chain(_) => held.contains(&subject),
                Subject::Transcript(_) => retention > Duration::ZERO,
            };
            if is_kept {
                self.check(subject).await;
            } else {
                self.take_over(subject).await;
            }
        }
        if retention.is_zero() {
            self.model.blobs.clear();
        }
        for reply in self.model.snapshots.keys().copied().collect::<Vec<_>>() {
            if !held.contains(&Subject::Chain(reply)) {
                let left = self.log.snapshot(reply).await.unwrap();
                assert!(left.is_none_or(|left| left.payload == self.model.snapshots[&reply]));
                // What becomes of it is not told; from now on it is another's.
                self.model.snapshots.remove(&reply);
                self.replies
                    .iter_mut()
                    .filter(|other| **other == reply)
                    .for_each(|other| *other = ReplyId::random(other.thread()));
            }
        }
    }

    /// Of a subject that may have expired: what is left is the end of it, or all that is not in the store.
    async fn take_over(&mut self, subject: Subject) {
        let read = self.log.read(subject, 0).await.unwrap();
        let last = self.log.last_record(subject).await.unwrap().map_or(0, |last| last.sequence);
        let known = self.model.subjects.remove(&subject).unwrap();
        let live: Vec<_> = known.iter().filter_map(|(sequence, payload)| Some((*sequence, payload.clone()?))).collect();
        let found: Vec<_> = read.into_iter().map(|stored| (stored.sequence, stored.payload)).collect();
        assert!(live.ends_with(&found), "{subject:?}: {found:?} of {live:?}");
        assert!(last == 0 || Some(last) == known.last().map(|last| last.0), "{subject:?}");
        if let Subject::Transcript(thread) = subject {
            let unprojected = self.model.order.range(self.model.projected + 1..).filter(|(_, (of, _))| *of == thread);
            for (_, (_, sequence)) in unprojected {
                let is_erased = !live.iter().any(|(other, _)| other == sequence);
                assert!(is_erased || found.iter().any(|(other, _)| other == sequence), "{subject:?} {sequence}");
            }
        }
        self.model.order.retain(|_, (thread, sequence)| {
            Subject::Transcript(*thread) != subject || found.iter().any(|(other, _)| other == sequence)
        });
        let mut left: Vec<Record> = found.into_iter().map(|(sequence, payload)| (sequence, Some(payload))).collect();
        if last > left.last().map_or(0, |last| last.0) {
            left.push((last, None));
        }
        if !left.is_empty() {
            self.model.subjects.insert(subject, left);
        }
    }

    /// The process ends anywhere: what was acknowledged is there. Something that was not may stand behind it.
    fn crash(&mut self) {
        let copy = crashed(self.directory.path());
        for family in ['t', 'c'] {
            let Some(open) = segments(copy.path(), family, "seg").pop() else { continue };
            let mut file = std::fs::OpenOptions::new().append(true).open(&open).unwrap();
            let torn: Vec<u8> = match self.random.u8(..3) {
                0 => Vec::new(),
                1 => vec![0; self.random.usize(..200)],
                _ => {
                    let content = std::fs::read(&open).unwrap();
                    content[..content.len().min(self.random.usize(..24))].to_vec()
                }
            };
            file.write_all(&torn).unwrap();
        }
        self.log = open(copy.path()).unwrap();
        self.log.projected(self.model.projected);
        self.directory = copy;
    }

    async fn check_some(&mut self) {
        let subject = self.subject();
        self.check(subject).await;
        let after = self.random.u64(..=self.model.position);
        let limit = self.random.usize(1..50);
        let scanned = self.log.scan(after, limit).await.unwrap();
        let payload = |(thread, sequence): &(ThreadId, u64)| {
            let records = &self.model.subjects[&Subject::Transcript(*thread)];
            records.iter().find(|record| record.0 == *sequence).and_then(|record| record.1.clone())
        };
        let wanted = self.model.order.range(after + 1..).filter_map(|(position, of)| Some((*position, payload(of)?)));
        let found: Vec<_> = scanned.into_iter().map(|one| (one.position, one.record.payload)).collect();
        assert_eq!(found, wanted.take(limit).collect::<Vec<_>>(), "after {after}");
    }

    async fn check(&self, subject: Subject) {
        let last = self.log.last_record(subject).await.unwrap().map_or(0, |last| last.sequence);
        assert_eq!(last, self.model.last(subject), "{subject:?}");
        let records = self.model.subjects.get(&subject).into_iter().flatten();
        let wanted: Vec<_> = records.filter_map(|(sequence, payload)| Some((*sequence, payload.clone()?))).collect();
        let read = self.log.read(subject, 0).await.unwrap();
        assert_eq!(read.into_iter().map(|one| (one.sequence, one.payload)).collect::<Vec<_>>(), wanted, "{subject:?}");
    }

    async fn check_all(&mut self) {
        for subject in self.model.subjects.keys().copied().collect::<Vec<_>>() {
            self.check(subject).await;
        }
        for (reply, snapshot) in &self.model.snapshots {
            assert_eq!(self.log.snapshot(*reply).await.unwrap().map(|one| one.payload).as_ref(), Some(snapshot));
        }
        for ((thread, hash), blob) in &self.model.blobs {
            assert_eq!(self.log.blob(*thread, *hash).await.unwrap().as_ref(), Some(blob));
        }
        let mut tickets: Vec<_> = self.log.tickets().into_iter().map(|(of, reply)| (key(reply), (of, reply))).collect();
        tickets.sort_by_key(|(key, _)| *key);
        assert_eq!(tickets, self.model.leases.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(self.log.last_position(), self.model.position);
        assert_eq!(self.log.usage().damaged, 0);
    }
}

fn key(reply: ReplyId) -> u64 {
    u64::from_le_bytes(reply.own()[..8].try_into().unwrap())
}

/// Tells which run went wrong.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the run of number {}", self.0);
        }
    }
}

#[tokio::test]
async fn whatever_is_done_in_whatever_order_the_log_holds_what_was_acknowledged() {
    for seed in 0..RUNS {
        let _told = Told(seed);
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.check_all().await;
        world.crash();
        world.check_all().await;
    }
}
