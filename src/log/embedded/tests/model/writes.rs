//! What is done to the log, and to the model beside it.

use std::collections::HashSet;
use std::io::Write as _;

use bytes::Bytes;

use super::super::{crashed, open, segments};
use super::{ModelTest, Record, key};
use crate::domain::ids::{InstanceId, ReplyId};
use crate::log::{AppendError, Subject};

impl ModelTest {
    pub(super) async fn append(&mut self) {
        let (subject, payload) = (self.subject(), self.payload());
        if self.concluded.contains(&subject) {
            return;
        }
        let last = self.model.last(subject);
        let expected = if self.random.u8(..5) == 0 { self.random.u64(..last + 3) } else { last };
        let stored = match self.random.u8(..4) {
            0 => self.log.append_deletion(subject, expected, payload.clone()).await,
            _ => self.log.append(subject, expected, payload.clone()).await,
        };
        if expected == last {
            assert_eq!(stored.unwrap(), self.model.store(subject, payload), "{subject:?}");
        } else {
            assert!(matches!(stored, Err(AppendError::Conflict { last: actual, .. }) if actual == last), "{stored:?}");
        }
    }

    pub(super) async fn accept(&mut self) {
        let place = self.random.usize(..self.replies.len());
        let reply = ReplyId::random(self.replies[place].thread());
        let (payload, instance) = (self.payload(), InstanceId::from_number(self.random.u64(..9)));
        self.replies[place] = reply;
        let transcript = Subject::Transcript(reply.thread());
        let last = self.model.last(transcript);
        let stored = self.log.accept(instance, reply, Some(last), payload.clone()).await.unwrap();
        assert_eq!(stored, self.model.store(transcript, payload));
        self.model.leases.insert(key(reply), (instance, reply));
    }

    pub(super) async fn conclude(&mut self) {
        let reply = self.reply();
        let (reply_log, transcript) = (Subject::ReplyLog(reply), Subject::Transcript(reply.thread()));
        if self.concluded.contains(&reply_log) {
            return;
        }
        let done = self.payload();
        let ended: Bytes = if self.random.bool() { self.payload() } else { [&done[..], b" and so on"].concat().into() };
        let (last, at) = (self.model.last(reply_log), self.model.last(transcript));
        let at = if self.random.u8(..5) == 0 { at + 1 } else { at };
        let end = (self.random.u8(..6) > 0).then(|| (at, ended.clone()));
        let fits = end.is_some() && at == self.model.last(transcript);
        let concluded = self.log.conclude(reply, Some(last), done.clone(), end).await.unwrap();
        assert_eq!((concluded.sequence, concluded.in_transcript), (self.model.store(reply_log, done), fits));
        if fits {
            self.concluded.insert(reply_log);
            self.model.store(transcript, ended);
            self.model.leases.remove(&key(reply));
        }
    }

    pub(super) async fn snapshot(&mut self) {
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

    pub(super) async fn lease(&mut self) {
        let (reply, instance) = (self.reply(), InstanceId::from_number(self.random.u64(..9)));
        if self.concluded.contains(&Subject::ReplyLog(reply)) {
            return;
        }
        if self.random.bool() {
            self.log.hold(instance, reply).await.unwrap();
            self.model.leases.insert(key(reply), (instance, reply));
        } else {
            self.release(reply).await;
        }
    }

    pub(super) async fn release(&mut self, reply: ReplyId) {
        self.log.release(reply);
        self.model.leases.remove(&key(reply));
        // Nobody waits for a release; what is written after it has it before.
        self.accept().await;
    }

    /// As the server deletes a reply, also one that is concluded; with a crash or an expiry between any two steps.
    pub(super) async fn delete(&mut self) {
        let (reply, instance) = (self.reply(), InstanceId::from_number(1));
        let reply_log = Subject::ReplyLog(reply);
        let is_there = |records: &Vec<Record>| records.last().is_some_and(|last| last.1.is_some());
        if !self.model.subjects.get(&reply_log).is_some_and(is_there) {
            return;
        }
        self.concluded.insert(reply_log);
        self.log.hold(instance, reply).await.unwrap();
        self.model.leases.insert(key(reply), (instance, reply));
        self.between().await;
        let (last, payload) = (self.model.last(reply_log), self.payload());
        assert_eq!(self.log.append_deletion(reply_log, last, payload.clone()).await.unwrap(), last + 1);
        self.model.store(reply_log, payload);
        self.between().await;
        self.log.erase_before(reply_log, last + 1).await.unwrap();
        let erased = self.model.erase(reply_log, |sequence| sequence <= last);
        self.are_gone(&erased);
        self.between().await;
        self.seal(reply).await;
        self.between().await;
        self.release(reply).await;
    }

    pub(super) async fn between(&mut self) {
        match self.random.u8(..8) {
            0 => self.expire().await,
            1 => self.crash(),
            _ => {}
        }
    }

    pub(super) async fn erase(&mut self) {
        let subject = self.subject();
        let last = self.model.last(subject);
        let sequences: Vec<_> = (1..last).filter(|_| self.random.u8(..3) == 0).collect();
        self.log.erase(subject, sequences.clone()).await.unwrap();
        let erased = self.model.erase(subject, |sequence| sequences.contains(&sequence));
        self.are_gone(&erased);
    }

    pub(super) async fn erase_before(&mut self) {
        let subject = self.subject();
        let before = self.random.u64(..=self.model.last(subject));
        self.log.erase_before(subject, before).await.unwrap();
        let erased = self.model.erase(subject, |sequence| sequence < before);
        self.are_gone(&erased);
    }

    pub(super) async fn seal(&mut self, reply: ReplyId) {
        self.log.seal_snapshot(reply).await.unwrap();
        let mut erased = self.model.old_snapshots.remove(&reply).unwrap_or_default();
        erased.extend(self.model.snapshots.remove(&reply));
        self.are_gone(&erased);
    }

    pub(super) async fn blob(&mut self) {
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

    /// The process ends anywhere: what was acknowledged is there. Something that was not may stand behind it.
    pub(super) fn crash(&mut self) {
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
}
