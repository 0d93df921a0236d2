//! What the simulated log has stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::now_ms;
use super::tickets::Sets;
use crate::domain::ids::{ReplyId, ThreadId};
use crate::log::{AppendError, Position, Scanned, Stored, Subject, millis};

/// How long records are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    pub(super) retention: Duration,
    pub(super) replay_window: Duration,
}

/// A record that was just stored, and the sequence of the one before it in its subject.
pub(super) struct Appended {
    pub(super) subject: Subject,
    pub(super) previous: u64,
    pub(super) stored: Stored,
}

/// All streams.
pub(super) struct Streams {
    ages: Ages,
    transcripts: Stream<ThreadId>,
    reply_logs: Stream<ReplyId>,
    snapshots: Stream<ReplyId>,
    pub(super) tickets: Sets,
    pub(super) blobs: BTreeMap<(ThreadId, [u8; 32]), (u64, Bytes)>,
    /// Of which nobody was told yet.
    pub(super) appended: Vec<Appended>,
}

/// Records of many subjects in one order.
struct Stream<K> {
    last: u64,
    records: BTreeMap<u64, (K, Stored)>,
    subjects: BTreeMap<K, BTreeSet<u64>>,
}

impl Streams {
    pub(super) fn new(ages: Ages) -> Self {
        Self {
            ages,
            transcripts: Stream::default(),
            reply_logs: Stream::default(),
            snapshots: Stream::default(),
            tickets: Sets::default(),
            blobs: BTreeMap::new(),
            appended: Vec::new(),
        }
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: u64) {
        let before = |age: Duration| now.saturating_sub(millis(age));
        self.transcripts.expire(before(self.ages.retention));
        self.snapshots.expire(before(self.ages.retention));
        self.reply_logs.expire(before(self.ages.replay_window));
    }

    pub(super) fn append(&mut self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        let (previous, stored) = match subject {
            Subject::Transcript(thread) => self.transcripts.append(thread, Some(expected), payload)?,
            Subject::ReplyLog(reply) => self.reply_logs.append(reply, Some(expected), payload)?,
        };
        let sequence = stored.sequence;
        self.appended.push(Appended { subject, previous, stored });
        Ok(sequence)
    }

    pub(super) fn read(&self, subject: Subject, after: u64) -> Vec<Stored> {
        match subject {
            Subject::Transcript(thread) => self.transcripts.read(thread, after),
            Subject::ReplyLog(reply) => self.reply_logs.read(reply, after),
        }
    }

    pub(super) fn last(&self, subject: Subject) -> Option<Stored> {
        match subject {
            Subject::Transcript(thread) => self.transcripts.last_of(thread),
            Subject::ReplyLog(reply) => self.reply_logs.last_of(reply),
        }
        .cloned()
    }

    pub(super) fn erase(&mut self, subject: Subject, sequence: u64) {
        match subject {
            Subject::Transcript(_) => self.transcripts.erase(sequence),
            Subject::ReplyLog(_) => self.reply_logs.erase(sequence),
        }
    }

    /// Records after a position, as a replica has them that has not heard of the last `lag` writes.
    pub(super) fn scan(&self, after: Position, limit: usize, lag: u64) -> Vec<Scanned> {
        let until = self.transcripts.last.saturating_sub(lag);
        if after >= until {
            return Vec::new();
        }
        let records = self.transcripts.records.range(after + 1..=until).take(limit);
        let scanned = |(position, (thread, record)): (&u64, &(ThreadId, Stored))| Scanned {
            position: *position,
            thread: *thread,
            record: record.clone(),
        };
        records.map(scanned).collect()
    }

    pub(super) const fn last_position(&self) -> Position {
        self.transcripts.last
    }

    pub(super) fn put_snapshot(
        &mut self,
        reply: ReplyId,
        expected: Option<u64>,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        let (previous, stored) = self.snapshots.append(reply, expected, payload)?;
        self.snapshots.erase(previous);
        Ok(stored.sequence)
    }

    pub(super) fn snapshot(&self, reply: ReplyId) -> Option<Stored> {
        self.snapshots.last_of(reply).cloned()
    }

    pub(super) fn erase_snapshot(&mut self, reply: ReplyId) {
        if let Some(last) = self.snapshots.last_of(reply).map(|last| last.sequence) {
            self.snapshots.erase(last);
        }
    }

    pub(super) fn contents(&self) -> Vec<Bytes> {
        let transcripts = self.transcripts.records.values().map(|(_, record)| record.payload.clone());
        let others = self.reply_logs.records.values().chain(self.snapshots.records.values());
        let blobs = self.blobs.values().map(|(_, blob)| blob.clone());
        transcripts.chain(others.map(|(_, record)| record.payload.clone())).chain(blobs).collect()
    }
}

impl<K> Default for Stream<K> {
    fn default() -> Self {
        Self { last: 0, records: BTreeMap::new(), subjects: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Stream<K> {
    /// Stores a record if the subject's last is the expected one. An empty subject expects 0, whatever was there.
    fn append(&mut self, subject: K, expected: Option<u64>, payload: Bytes) -> Result<(u64, Stored), AppendError> {
        let last = self.last_of(subject).map_or(0, |last| last.sequence);
        if let Some(expected) = expected.filter(|expected| *expected != last) {
            return Err(AppendError::Conflict { expected, last });
        }
        self.last += 1;
        let stored = Stored { sequence: self.last, at: now_ms(), payload };
        self.records.insert(self.last, (subject, stored.clone()));
        self.subjects.entry(subject).or_default().insert(self.last);
        Ok((last, stored))
    }

    fn last_of(&self, subject: K) -> Option<&Stored> {
        let last = self.subjects.get(&subject)?.last()?;
        self.records.get(last).map(|(_, record)| record)
    }

    fn read(&self, subject: K, after: u64) -> Vec<Stored> {
        let Some(sequences) = self.subjects.get(&subject) else { return Vec::new() };
        let records = sequences.range(after + 1..).filter_map(|sequence| self.records.get(sequence));
        records.map(|(_, record)| record.clone()).collect()
    }

    fn erase(&mut self, sequence: u64) {
        let Some((subject, _)) = self.records.remove(&sequence) else { return };
        if let Some(sequences) = self.subjects.get_mut(&subject) {
            sequences.remove(&sequence);
            if sequences.is_empty() {
                self.subjects.remove(&subject);
            }
        }
    }

    /// Records come in the order of their times.
    fn expire(&mut self, before: u64) {
        while let Some((sequence, _)) = self.records.first_key_value().filter(|(_, (_, record))| record.at < before) {
            let sequence = *sequence;
            self.erase(sequence);
        }
    }
}
