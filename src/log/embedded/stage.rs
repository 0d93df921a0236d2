//! Puts writes into the buffers of the open segments, those whose fences hold. Nothing of it is true before the buffers
//! are written.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;

use super::erase::Erasure;
use super::frame::{self, Body, Concluding, Key, Link, Location};
use super::heads::{Change, Head, Lease};
use super::op::{Op, Written};
use super::segment::Family;
use super::tail::Tail;
use super::walk::Want;
use super::{AppendError, Position, Shared, Subject};
use crate::domain::ids::ReplyId;

/// What becomes true once the buffers are written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) changes: Vec<(Family, Change)>,
    /// What was appended where.
    pub(super) records: Vec<(Subject, u64)>,
    pub(super) announced: Vec<(Location, Erasure)>,
    pub(super) completed: Vec<Location>,
    /// The heads of what this draft has written.
    overlay: HashMap<Key, Head>,
}

impl Draft {
    pub(super) fn clear(&mut self) {
        self.changes.clear();
        self.records.clear();
        self.announced.clear();
        self.completed.clear();
        self.overlay.clear();
    }

    fn set(&mut self, family: Family, key: Key, head: Head) {
        self.overlay.insert(key, head);
        self.changes.push((family, Change::Head(key, head)));
    }
}

/// Puts writes into a draft.
pub(super) struct Stage<'a> {
    pub(super) shared: &'a Shared,
    /// By [`Family::index`].
    pub(super) tails: &'a mut [Tail; 2],
    pub(super) draft: &'a mut Draft,
    pub(super) next_position: &'a mut Position,
    pub(super) at: u64,
}

impl Stage<'_> {
    pub(super) fn stage(&mut self, op: &Op) -> Result<Written, AppendError> {
        match op {
            Op::Append { subject, expected, payload, lease, .. } => {
                let sequence = match subject {
                    Subject::Transcript(_) => self.append_transcript(*subject, *expected, payload, *lease)?,
                    Subject::ReplyLog(reply) => self.append_reply_log(*reply, *expected, payload)?,
                };
                return Ok(Written { sequence, ..Written::default() });
            }
            Op::Conclude { reply, expected, done, ended } => {
                return self.conclude(*reply, *expected, done, ended.as_ref());
            }
            Op::Snapshot { reply, snapshot } => self.snapshot(*reply, self.at, snapshot)?,
            Op::Hold { instance, reply } => {
                self.write(Family::Transcripts, self.at, Body::Hold { reply: *reply, instance: *instance }, &[]);
                self.change(Family::Transcripts, Change::Leased(*reply, Lease::found(*instance)));
            }
            Op::Release(reply) => {
                self.write(Family::Transcripts, self.at, Body::Release { reply: *reply }, &[]);
                self.change(Family::Transcripts, Change::Released(*reply));
            }
            Op::Erase(erasure) => {
                let location = self.write(Family::Transcripts, self.at, Body::Erasing, &erasure.encode());
                self.draft.announced.push((location, erasure.clone()));
                return Ok(Written { location, ..Written::default() });
            }
            Op::Erased(announced) => {
                self.write(Family::Transcripts, self.at, Body::Erased { announced: *announced }, &[]);
                self.draft.completed.push(*announced);
            }
            Op::Move(reply) => return self.rewrite(*reply),
            Op::Roll(_) => {}
        }
        Ok(Written::default())
    }

    fn append_transcript(
        &mut self,
        subject: Subject,
        expected: Option<u64>,
        payload: &[u8],
        lease: Option<(crate::domain::ids::InstanceId, ReplyId)>,
    ) -> Result<u64, AppendError> {
        let Subject::Transcript(thread) = subject else { unreachable!("the caller looked") };
        let link = self.fence(subject, expected)?;
        let position = *self.next_position;
        *self.next_position += 1;
        let body = Body::Transcript { thread, link, position, lease: lease.map(|(instance, reply)| (reply, instance)) };
        let location = self.write(Family::Transcripts, self.at, body, payload);
        self.note_transcript(subject, link, position, location);
        if let Some((instance, reply)) = lease {
            self.change(Family::Transcripts, Change::Leased(reply, Lease::accepted(instance, expected.is_none())));
        }
        Ok(link.sequence)
    }

    fn note_transcript(&mut self, subject: Subject, link: Link, position: Position, location: Location) {
        let head = Head { sequence: link.sequence, at: self.at, location };
        self.draft.set(Family::Transcripts, subject.into(), head);
        self.change(Family::Transcripts, Change::Position(position, location.offset));
        self.draft.records.push((subject, link.sequence));
    }

    fn append_reply_log(&mut self, reply: ReplyId, expected: Option<u64>, payload: &[u8]) -> Result<u64, AppendError> {
        let subject = Subject::ReplyLog(reply);
        let link = self.fence(subject, expected)?;
        let location = self.write(Family::Chains, self.at, Body::ReplyLog { reply, link }, payload);
        let head = Head { sequence: link.sequence, at: self.at, location };
        self.draft.set(Family::Chains, subject.into(), head);
        self.draft.records.push((subject, link.sequence));
        Ok(link.sequence)
    }

    fn conclude(
        &mut self,
        reply: ReplyId,
        expected: Option<u64>,
        done: &[u8],
        ended: Option<&(u64, Bytes)>,
    ) -> Result<Written, AppendError> {
        let transcript = Subject::Transcript(reply.thread());
        // Somebody else may have changed the thread: then the end goes where it is now, which the caller finds out.
        let place = ended.and_then(|(expected, ended)| Some((self.fence(transcript, Some(*expected)).ok()?, ended)));
        let Some((in_transcript, ended)) = place else {
            let sequence = self.append_reply_log(reply, expected, done)?;
            return Ok(Written { sequence, ..Written::default() });
        };
        let reply_log = self.fence(Subject::ReplyLog(reply), expected)?;
        let position = *self.next_position;
        *self.next_position += 1;
        let location = self.tails[Family::Transcripts.index()].next();
        let place = Concluding { reply, reply_log, transcript: in_transcript, position };
        frame::write_conclusion(&mut self.tails[Family::Transcripts.index()].buffer, self.at, place, done, ended);
        let head = Head { sequence: reply_log.sequence, at: self.at, location };
        self.draft.set(Family::Transcripts, Key::ReplyLog(reply), head);
        self.draft.records.push((Subject::ReplyLog(reply), reply_log.sequence));
        self.note_transcript(transcript, in_transcript, position, location);
        self.change(Family::Transcripts, Change::Released(reply));
        Ok(Written { sequence: reply_log.sequence, ended: true, location })
    }

    fn snapshot(&mut self, reply: ReplyId, at: u64, snapshot: &[u8]) -> Result<(), AppendError> {
        let key = Key::Snapshot(reply);
        let previous = self.head(&key)?.map_or(Location::NONE, |head| head.location);
        let location = self.write(Family::Chains, at, Body::Snapshot { reply, previous }, snapshot);
        self.draft.set(Family::Chains, key, Head { sequence: 0, at, location });
        Ok(())
    }

    /// Writes what there is of a running reply again, and announces that the copies before are to be erased.
    fn rewrite(&mut self, reply: ReplyId) -> Result<Written, AppendError> {
        let begin = self.tails[Family::Chains.index()].name.number;
        let mut copies = Vec::new();
        let key = Key::ReplyLog(reply);
        if let Some(head) = self.head(&key)? {
            let walked = self.shared.walk_again(&key, head, Want::after(0)).map_err(unavailable)?;
            let mut previous = Location::NONE;
            copies.extend(walked.found.iter().map(|found| found.location));
            for found in walked.found.into_iter().rev() {
                let (Some(header), Some(record)) = (found.header, found.record) else { continue };
                let link = Link { sequence: found.link.sequence, previous };
                previous = self.write(Family::Chains, header.at, Body::ReplyLog { reply, link }, &record);
                let head = Head { sequence: link.sequence, at: header.at, location: previous };
                self.draft.set(Family::Chains, key, head);
            }
        }
        let key = Key::Snapshot(reply);
        if let Some(head) = self.head(&key)? {
            let before = self.shared.snapshots(&key, head).map_err(unavailable)?;
            copies.extend(before.iter().map(|found| found.location));
            // Also a snapshot that marks that none is wanted any more: it is the last one.
            let (at, snapshot) = self.shared.snapshot(reply).map_err(unavailable)?.unwrap_or_default();
            let body = Body::Snapshot { reply, previous: Location::NONE };
            let location = self.write(Family::Chains, at, body, &snapshot);
            self.draft.set(Family::Chains, key, Head { sequence: 0, at, location });
        }
        self.change(Family::Chains, Change::Moved(reply, begin));
        let erasure = Erasure::copies(reply, copies);
        let location = self.write(Family::Transcripts, self.at, Body::Erasing, &erasure.encode());
        self.draft.announced.push((location, erasure));
        Ok(Written { location, ..Written::default() })
    }

    /// Where the subject's next record goes, if its last is the expected one. `None` expects a subject that is new.
    fn fence(&self, subject: Subject, expected: Option<u64>) -> Result<Link, AppendError> {
        let Some(expected) = expected else { return Ok(Link { sequence: 1, previous: Location::NONE }) };
        let head = self.head(&subject.into())?;
        let last = head.map_or(0, |head| head.sequence);
        if last != expected {
            return Err(AppendError::Conflict { expected, last });
        }
        Ok(Link { sequence: last + 1, previous: head.map_or(Location::NONE, |head| head.location) })
    }

    fn head(&self, key: &Key) -> Result<Option<Head>, AppendError> {
        match self.draft.overlay.get(key) {
            Some(head) => Ok(Some(*head)),
            None => self.shared.head(key).map_err(unavailable),
        }
    }

    fn write(&mut self, family: Family, at: u64, body: Body, payload: &[u8]) -> Location {
        let tail = &mut self.tails[family.index()];
        let location = tail.next();
        frame::write(&mut tail.buffer, at, body, payload);
        location
    }

    fn change(&mut self, family: Family, change: Change) {
        self.draft.changes.push((family, change));
    }
}

#[expect(clippy::needless_pass_by_value, reason = "handed to `map_err`")]
pub(super) fn unavailable(error: io::Error) -> AppendError {
    AppendError::Unavailable(error.to_string())
}
