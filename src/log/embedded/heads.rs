//! What is known in memory: the last records of the subjects in the open segments, of those whose index is being
//! written, and of the replies that run. All else is looked up in the indexes of the sealed segments.

use std::collections::HashMap;
use std::sync::Arc;

use super::frame::{Key, Location};
use super::index::{MARKED, RecordLocation, Summary, last_mark};
use super::segment::{Family, Name};
use crate::domain::ids::{InstanceId, ReplyId};
use crate::log::Position;

/// The last record of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: u64,
    /// Its time, in milliseconds of Unix time.
    pub(super) at: u64,
    pub(super) location: Location,
}

impl Head {
    /// Which of two heads, found in different places, is the later one: a subject that expired begins at 1 again. One whose
    /// record cannot be read has no time. Of two that are the same, one was written again: that is the other.
    pub(super) fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
        let is_later = if one.at == 0 || other.at == 0 {
            other.sequence >= one.sequence
        } else {
            (other.at, other.sequence) >= (one.at, one.sequence)
        };
        Some(if is_later { other } else { one })
    }
}

/// A reply that an instance generates, or generated when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) instance: InstanceId,
    pub(super) reply_log: RunningReplyLog,
    /// The oldest segment that may hold a snapshot of it, which can be older than the reply log.
    snapshots: u32,
}

impl Lease {
    /// Of a reply that was just accepted. `is_new`: in a thread that no other instance can have written.
    pub(super) const fn accepted(instance: InstanceId, is_new: bool) -> Self {
        let reply_log = if is_new { RunningReplyLog::Empty } else { RunningReplyLog::Unknown };
        Self { instance, reply_log, snapshots: u32::MAX }
    }

    /// Of a reply of which the log may hold anything.
    pub(super) const fn found(instance: InstanceId) -> Self {
        Self { instance, reply_log: RunningReplyLog::Unknown, snapshots: 0 }
    }

    /// Whether something of the reply stands in this segment, or may.
    pub(super) const fn may_be_in(&self, segment: u32) -> bool {
        match self.reply_log {
            RunningReplyLog::Unknown => true,
            RunningReplyLog::Known { oldest, .. } if oldest <= segment => true,
            RunningReplyLog::Empty | RunningReplyLog::Known { .. } => self.snapshots <= segment,
        }
    }
}

/// What memory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known<T> {
    /// Nothing: it has to be looked up.
    Unknown,
    /// That there is none.
    None,
    /// This is the last one in this family; a sealed segment of the other one may have a later one.
    Perhaps(Family, T),
    Is(T),
}

/// What is known of the reply log of a reply that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunningReplyLog {
    /// Nothing: it has to be looked up.
    Unknown,
    Empty,
    Known {
        head: Head,
        /// The oldest segment that holds something of it.
        oldest: u32,
    },
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) name: Name,
    /// Its length; what follows is not committed.
    pub(super) length: u64,
    /// Bytes of it that a start has read: a reply log's last record there may be followed by one in a sealed segment of the
    /// other family.
    pub(super) recovered: u64,
    /// The time at which it was opened, in milliseconds of Unix time.
    pub(super) opened_at: u64,
    pub(super) heads: HashMap<Key, Head>,
    pub(super) marks: Vec<(Position, u32)>,
    pub(super) counted: u64,
    pub(super) summary: Summary,
}

impl Open {
    pub(super) fn new(name: Name, opened_at: u64, capacity: usize) -> Self {
        Self {
            name,
            length: 0,
            recovered: 0,
            opened_at,
            heads: HashMap::with_capacity(capacity),
            marks: Vec::new(),
            counted: 0,
            summary: Summary::default(),
        }
    }

    /// Takes note of a record of a transcript.
    pub(super) fn note_position(&mut self, position: Position, offset: u32) {
        if self.counted.is_multiple_of(MARKED) {
            self.marks.push((position, offset));
        }
        self.counted += 1;
        self.summary.last_position = position;
    }

    /// As it is once it takes no more records.
    pub(super) fn sealed(self) -> Sealing {
        let Self { name, length, heads, marks, summary, .. } = self;
        Sealing { name, length, heads: Arc::new(heads), marks: Arc::new(marks), summary }
    }
}

/// A segment that takes no more records, whose index is not on disk yet.
#[derive(Debug, Clone)]
pub(super) struct Sealing {
    pub(super) name: Name,
    pub(super) length: u64,
    pub(super) heads: Arc<HashMap<Key, Head>>,
    pub(super) marks: Arc<Vec<(Position, u32)>>,
    pub(super) summary: Summary,
}

impl Sealing {
    /// Its last record of a subject, as an index has it.
    pub(super) fn places(&self) -> impl Iterator<Item = (Key, RecordLocation)> + '_ {
        let place = |head: &Head| RecordLocation { sequence: head.sequence, offset: head.location.offset };
        self.heads.iter().map(move |(key, head)| (*key, place(head)))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Heads {
    /// By [`Family::index`].
    pub(super) open: [Open; 2],
    /// Oldest first.
    pub(super) sealing: Vec<Sealing>,
    pub(super) leases: HashMap<ReplyId, Lease>,
}

/// A change of what is known, once it is on disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Head(Key, Head),
    /// A record of a transcript stands there.
    Position(Position, u32),
    Leased(ReplyId, Lease),
    Released(ReplyId),
    /// All that there is of a running reply stands from this segment on.
    Moved(ReplyId, u32),
}

impl Heads {
    pub(super) fn new(open: [Open; 2]) -> Self {
        Self { open, sealing: Vec::new(), leases: HashMap::new() }
    }

    /// The last record of a subject.
    pub(super) fn known(&self, key: &Key) -> Known<Head> {
        if let Key::ReplyLog(reply) = key
            && let Some(lease) = self.leases.get(reply)
        {
            match lease.reply_log {
                RunningReplyLog::Known { head, .. } => return Known::Is(head),
                RunningReplyLog::Empty => return Known::None,
                RunningReplyLog::Unknown => {}
            }
        }
        // Never in both: see `apply`.
        let found = self.open.iter().find_map(|open| Some((open, *open.heads.get(key)?)));
        match (found, key) {
            (None, _) => Known::Unknown,
            (Some((open, head)), Key::ReplyLog(_)) if u64::from(head.location.offset) < open.recovered => {
                Known::Perhaps(open.name.family, head)
            }
            (Some((_, head)), _) => Known::Is(head),
        }
    }

    /// Its last record in an open segment, or in one whose index is not on disk yet.
    pub(super) fn last_in(&self, number: u32, key: &Key) -> Known<Head> {
        match self.open(number) {
            Some(open) => open.heads.get(key).map_or(Known::None, |head| Known::Is(*head)),
            None => self.unindexed(number, key),
        }
    }

    /// Its last record in a segment, while the index of that is not on disk yet. (For an open one see
    /// [`Heads::known`].)
    pub(super) fn unindexed(&self, number: u32, key: &Key) -> Known<Head> {
        if self.open(number).is_some() {
            return Known::None;
        }
        self.sealing(number)
            .map_or(Known::Unknown, |sealing| sealing.heads.get(key).map_or(Known::None, |head| Known::Is(*head)))
    }

    fn open(&self, number: u32) -> Option<&Open> {
        self.open.iter().find(|open| open.name.number == number)
    }

    fn sealing(&self, number: u32) -> Option<&Sealing> {
        self.sealing.iter().find(|sealing| sealing.name.number == number)
    }

    /// What is true of a segment as a whole, where its index is not on disk yet; of an open one nothing is.
    pub(super) fn unindexed_summary(&self, number: u32) -> Known<Summary> {
        if self.open(number).is_some() {
            return Known::None;
        }
        self.sealing(number).map_or(Known::Unknown, |sealing| Known::Is(sealing.summary))
    }

    /// Where to begin to read a segment whose index is not on disk yet, to see all after a position.
    pub(super) fn mark(&self, number: u32, after: Position) -> Option<u32> {
        let open = self.open(number).map(|open| &open.marks);
        let marks = open.or_else(|| self.sealing(number).map(|sealing| &*sealing.marks))?;
        Some(last_mark(marks, after))
    }

    /// The committed length of a segment that has no index yet.
    pub(super) fn length(&self, number: u32) -> Option<u64> {
        let open = self.open(number).map(|open| open.length);
        open.or_else(|| self.sealing(number).map(|sealing| sealing.length))
    }

    pub(super) fn apply(&mut self, family: Family, change: Change) {
        match change {
            Change::Head(key, head) => {
                let [transcripts, reply_logs] = &mut self.open;
                let (own, other) = match family {
                    Family::Transcripts => (transcripts, reply_logs),
                    Family::Chains => (reply_logs, transcripts),
                };
                own.summary.last_at = own.summary.last_at.max(head.at);
                own.heads.insert(key, head);
                match key {
                    Key::ReplyLog(reply) => {
                        other.heads.remove(&key);
                        self.note_reply_log(reply, head);
                    }
                    Key::Snapshot(reply) => {
                        if let Some(lease) = self.leases.get_mut(&reply) {
                            lease.snapshots = lease.snapshots.min(head.location.segment);
                        }
                    }
                    Key::Transcript(_) => {}
                }
            }
            Change::Position(position, offset) => {
                self.open[family.index()].note_position(position, offset);
            }
            Change::Leased(reply, lease) => {
                let known = self.leases.get(&reply).copied().unwrap_or(lease);
                self.leases.insert(reply, Lease { instance: lease.instance, ..known });
            }
            Change::Released(reply) => {
                self.leases.remove(&reply);
            }
            Change::Moved(reply, to) => {
                let Some(lease) = self.leases.get_mut(&reply) else { return };
                lease.snapshots = to;
                if let RunningReplyLog::Known { oldest, .. } = &mut lease.reply_log {
                    *oldest = to;
                }
            }
        }
    }

    fn note_reply_log(&mut self, reply: ReplyId, head: Head) {
        let Some(lease) = self.leases.get_mut(&reply) else { return };
        lease.reply_log = match lease.reply_log {
            RunningReplyLog::Known { oldest, .. } => RunningReplyLog::Known { head, oldest },
            // It may have begun long before.
            RunningReplyLog::Unknown if head.sequence > 1 => RunningReplyLog::Known { head, oldest: 0 },
            RunningReplyLog::Empty | RunningReplyLog::Unknown => {
                RunningReplyLog::Known { head, oldest: head.location.segment }
            }
        };
    }

    /// Replaces an open segment, whose index is now to be written.
    pub(super) fn roll(&mut self, next: Open) -> Sealing {
        let sealing = std::mem::replace(&mut self.open[next.name.family.index()], next).sealed();
        self.sealing.push(sealing.clone());
        sealing
    }
}
