//! Holds what the log has against the model, also after an expiry, of which it may keep more than it has to.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use super::super::holds;
use super::{ModelTest, Record, key, token};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::log::Subject;

impl ModelTest {
    /// Erasure is physical.
    pub(super) fn are_gone(&self, erased: &[Bytes]) {
        for bytes in erased.iter().filter(|bytes| self.model.is_gone(bytes)) {
            let name = String::from_utf8_lossy(token(bytes)).into_owned();
            assert_eq!(holds(self.directory.path(), token(bytes)), None, "{name}");
        }
    }

    /// Whole segments go, and which that are is the log's own affair: what may not go is there.
    pub(super) async fn expire(&mut self) {
        // Reply logs are not stored for longer than transcripts.
        let retention = if self.random.bool() { Duration::from_hours(1) } else { Duration::ZERO };
        let window = Duration::ZERO;
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.log.expire(retention, window).await.unwrap();
        let held: HashSet<_> = self.model.leases.values().map(|(_, reply)| Subject::ReplyLog(*reply)).collect();
        let subjects: Vec<_> = self.model.subjects.keys().copied().collect();
        for subject in subjects {
            let is_retained = match subject {
                Subject::ReplyLog(_) => held.contains(&subject),
                Subject::Transcript(_) => retention > Duration::ZERO,
            };
            if is_retained {
                self.check(subject).await;
            } else {
                self.take_over(subject).await;
            }
        }
        if retention.is_zero() {
            self.model.blobs.clear();
        }
        for reply in self.model.snapshots.keys().copied().collect::<Vec<_>>() {
            if !held.contains(&Subject::ReplyLog(reply)) {
                let left = self.log.snapshot(reply).await.unwrap();
                assert!(left.is_none_or(|left| left.payload == self.model.snapshots[&reply]));
                // What becomes of its snapshot is not specified; from now on the model ignores it.
                self.model.snapshots.remove(&reply);
                self.replies
                    .iter_mut()
                    .filter(|other| **other == reply)
                    .for_each(|other| *other = ReplyId::random(other.thread()));
            }
        }
    }

    /// Of a subject that may have expired: what is left is the end of it, or all that is not in the store.
    pub(super) async fn take_over(&mut self, subject: Subject) {
        let read = self.log.read(subject, 0).await.unwrap();
        let last = self.log.last_record(subject).await.unwrap().map_or(0, |last| last.sequence);
        let known = self.model.subjects.remove(&subject).unwrap();
        let live: Vec<_> = known.iter().filter_map(|(sequence, payload)| Some((*sequence, payload.clone()?))).collect();
        let found: Vec<_> = read.into_iter().map(|stored| (stored.sequence, stored.payload)).collect();
        // A conclusion stands among the transcripts, and may outlive what was appended to the reply log after it.
        let is_part = found.is_empty() || live.windows(found.len()).any(|part| part == found);
        let is_reply_log = matches!(subject, Subject::ReplyLog(_));
        assert!(live.ends_with(&found) || is_reply_log && is_part, "{subject:?}: {found:?} of {live:?}");
        assert!(last == 0 || is_reply_log || Some(last) == known.last().map(|last| last.0), "{subject:?}");
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
            // A conclusion that is not read any more, since the reply log before it has expired: it is still there.
            self.log.erase(subject, vec![last]).await.unwrap();
            left.push((last, None));
        }
        if !left.is_empty() {
            self.model.subjects.insert(subject, left);
        }
    }

    pub(super) async fn check_some(&mut self) {
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

    pub(super) async fn check(&self, subject: Subject) {
        let last = self.log.last_record(subject).await.unwrap().map_or(0, |last| last.sequence);
        assert_eq!(last, self.model.last(subject), "{subject:?}");
        let records = self.model.subjects.get(&subject).into_iter().flatten();
        let wanted: Vec<_> = records.filter_map(|(sequence, payload)| Some((*sequence, payload.clone()?))).collect();
        let read = self.log.read(subject, 0).await.unwrap();
        assert_eq!(read.into_iter().map(|one| (one.sequence, one.payload)).collect::<Vec<_>>(), wanted, "{subject:?}");
    }

    pub(super) async fn check_all(&mut self) {
        for subject in self.model.subjects.keys().copied().collect::<Vec<_>>() {
            self.check(subject).await;
        }
        for (reply, snapshot) in &self.model.snapshots {
            assert_eq!(
                self.log.snapshot(*reply).await.unwrap().map(|one| one.payload).as_ref(),
                Some(snapshot),
                "{reply:?}"
            );
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
