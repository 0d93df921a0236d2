//! Reads a subject, from its last record back along the links.

use std::io;

use bytes::Bytes;

use super::Shared;
use super::damage::Lost;
use super::forward::{Forward, Step, read_up_to};
use super::frame::{Header, Key, LONGEST_HEADER, Link, Location};
use super::heads::{Head, Known};
use super::segment::{Family, Name};
use crate::domain::ids::ReplyId;
use crate::log::Stored;

/// Bytes that are read at once: records of one subject tend to stand near each other.
const WINDOW: u64 = 32 * 1024;
/// So many of them before the record that is wanted.
const BEFORE: u64 = 24 * 1024;

/// A record of a subject.
pub(super) struct Found {
    pub(super) location: Location,
    pub(super) link: Link,
    /// `None`: it cannot be read.
    pub(super) header: Option<Header>,
    /// `None`: it was erased.
    pub(super) record: Option<Bytes>,
    /// Whether its bytes are not what was written; then it has no record either.
    pub(super) is_damaged: bool,
}

/// What a walk came to.
#[derive(Default)]
pub(super) struct Walked {
    /// Newest first.
    pub(super) found: Vec<Found>,
    /// Whether older records than these, which were wanted, have expired.
    pub(super) is_cut: bool,
    /// Where it would go on.
    pub(super) rest: Option<Head>,
}

/// What a walk is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    /// Only records after this sequence.
    pub(super) after: u64,
    /// Records at most; the walk can go on from there.
    pub(super) limit: usize,
    /// Whether what they hold is wanted, too.
    pub(super) records: bool,
    /// Only as far as it stays in these segments.
    pub(super) within: Option<[u32; 2]>,
}

impl Want {
    /// All records after this sequence.
    pub(super) const fn after(after: u64) -> Self {
        Self { after, limit: usize::MAX, records: true, within: None }
    }
}

/// A piece of a segment.
struct Window {
    segment: u32,
    from: u64,
    bytes: Bytes,
}

/// A record on the way is not what was written; or was erased while it was read.
struct Unclear;

enum At {
    Record(Box<Header>, Bytes),
    /// The segment has expired.
    Gone,
    Damaged,
}

impl Shared {
    /// The records of a subject after the sequence `after`, in order. An erased one is left out. A damaged one keeps its
    /// place, without a payload.
    pub(super) fn read(&self, key: &Key, after: u64) -> io::Result<Vec<Stored>> {
        let Some(mut head) = self.head(key)? else { return Ok(Vec::new()) };
        let Walked { found, is_cut, .. } = loop {
            let walked = self.walk_again(key, head, Want::after(after))?;
            // A running reply's log may have been moved out of an old segment meanwhile.
            match self.head(key)? {
                Some(now) if walked.is_cut && now.location != head.location => head = now,
                _ => break walked,
            }
        };
        // The rest of a reply log that has begun to expire has no meaning.
        if is_cut && matches!(key, Key::ReplyLog(_)) {
            return Ok(Vec::new());
        }
        Ok(stored(found))
    }

    /// As [`Shared::read`], of what was written lately and is not much: it is in the memory of the operating system, so
    /// that reading it takes less time than handing it to another thread. `None`: it is something else.
    pub(super) fn read_recent(&self, key: &Key, after: u64) -> Option<Vec<Stored>> {
        /// Records, at most.
        const FEW: usize = 64;
        let (head, open) = {
            let heads = self.heads.read();
            let head = match heads.known(key) {
                Known::Is(head) => head,
                Known::None => return Some(Vec::new()),
                Known::Perhaps(..) | Known::Unknown => return None,
            };
            (head, heads.open.each_ref().map(|open| open.name.number))
        };
        let want = Want { limit: FEW, within: Some(open), ..Want::after(after) };
        let walked = self.walk(key, head, want, false).ok()?.ok()?;
        let is_whole = !walked.is_cut && walked.rest.is_none();
        is_whole.then(|| stored(walked.found))
    }

    /// The last record of a subject, also one that cannot be read.
    pub(super) fn last(&self, key: &Key) -> io::Result<Option<Stored>> {
        let Some(head) = self.head(key)? else { return Ok(None) };
        let walked = self.walk_again(key, head, Want { limit: 1, ..Want::after(0) })?;
        let last = walked.found.into_iter().next();
        Ok(last.map(|found| Stored {
            sequence: found.link.sequence,
            at: found.at(),
            payload: found.record.unwrap_or_default(),
        }))
    }

    /// Walks; once more if a record was not as it should be, since an erasure may have come between: now it may not.
    pub(super) fn walk_again(&self, key: &Key, head: Head, want: Want) -> io::Result<Walked> {
        if let Ok(walked) = self.walk(key, head, want, false)? {
            return Ok(walked);
        }
        let _alone = self.cleaning.lock();
        self.walk_alone(key, head, want)
    }

    /// Walks, while nothing is erased but by the caller.
    pub(super) fn walk_alone(&self, key: &Key, head: Head, want: Want) -> io::Result<Walked> {
        Ok(self.walk(key, head, want, true)?.unwrap_or_default())
    }

    /// Stops where something is damaged, unless it is to go round that.
    fn walk(&self, key: &Key, head: Head, want: Want, go_round: bool) -> io::Result<Result<Walked, Unclear>> {
        let mut window = None;
        let mut found = Vec::new();
        let (mut sequence, mut location) = (head.sequence, head.location);
        while location != Location::NONE && sequence > want.after {
            if found.len() >= want.limit || want.within.is_some_and(|within| !within.contains(&location.segment)) {
                let rest = Some(Head { sequence, at: 0, location });
                return Ok(Ok(Walked { found, is_cut: false, rest }));
            }
            match self.at(&mut window, location, want.records)? {
                At::Gone => return Ok(Ok(Walked { found, is_cut: true, rest: None })),
                At::Record(header, payload) if header.link(key).is_some_and(|link| link.sequence <= sequence) => {
                    let link = header.link(key).expect("it was just looked at");
                    let record = if want.records { header.record(key, &payload) } else { Ok(None) };
                    if record.is_err() && !go_round {
                        return Ok(Err(Unclear));
                    }
                    if record.is_err() {
                        self.damage.found(&Lost::record(key, link.sequence, location));
                    }
                    let is_damaged = record.is_err();
                    let header = Some(*header);
                    found.push(Found { location, link, header, record: record.unwrap_or(None), is_damaged });
                    (sequence, location) = (link.sequence.saturating_sub(1), link.previous);
                }
                _ if !go_round => return Ok(Err(Unclear)),
                _ => {
                    self.damage.found(&Lost::record(key, sequence, location));
                    found.push(lost(sequence, location));
                    let Some(before) = self.before(key, sequence, location)? else { break };
                    (sequence, location) = (before.sequence, before.location);
                }
            }
        }
        Ok(Ok(Walked { found, is_cut: false, rest: None }))
    }

    /// The last snapshot of a reply, with its sequence.
    pub(super) fn snapshot(&self, reply: ReplyId) -> io::Result<Option<(u64, Bytes)>> {
        let key = Key::Snapshot(reply);
        let Some(head) = self.head(&key)? else { return Ok(None) };
        let At::Record(header, payload) = self.at(&mut None, head.location, true)? else { return Ok(None) };
        let Ok(snapshot) = header.record(&key, &payload) else {
            self.damage.found(&Lost::record(&key, 0, head.location));
            return Ok(None);
        };
        Ok(snapshot.filter(|snapshot| !snapshot.is_empty()).map(|snapshot| (header.at, snapshot)))
    }

    /// All snapshots of a reply that are still there, newest first.
    pub(super) fn snapshots(&self, key: &Key, head: Head) -> io::Result<Vec<Found>> {
        let (mut found, mut location) = (Vec::new(), head.location);
        while location != Location::NONE {
            match self.at(&mut None, location, false)? {
                At::Record(header, _) if header.link(key).is_some() => {
                    let link = header.link(key).expect("it was just looked at");
                    found.push(Found { location, link, header: Some(*header), record: None, is_damaged: false });
                    location = link.previous;
                }
                At::Gone => break,
                _ => {
                    self.damage.found(&Lost::record(key, 0, location));
                    let older = self.before(key, 1, location)?;
                    location = older.map_or(Location::NONE, |head| head.location);
                }
            }
        }
        Ok(found)
    }

    /// The record before one that cannot be read, and so names none: the last one before its sequence in any segment.
    fn before(&self, key: &Key, sequence: u64, location: Location) -> io::Result<Option<Head>> {
        let families: &[Family] = match key {
            Key::Transcript(_) => &[Family::Transcripts],
            Key::Snapshot(_) => &[Family::Chains],
            Key::ReplyLog(_) => &Family::BOTH,
        };
        let mut before: Option<Head> = None;
        for family in families {
            for name in self.segments.of(*family).into_iter().rev() {
                let found = self.before_in(key, sequence, location, name)?;
                if found.is_some() {
                    before = before.into_iter().chain(found).max_by_key(|head| head.sequence);
                    break;
                }
            }
        }
        Ok(before)
    }

    /// The last record of a subject before this sequence, and before the damaged place, in one segment.
    fn before_in(&self, key: &Key, sequence: u64, damaged: Location, name: Name) -> io::Result<Option<Head>> {
        if let Key::Snapshot(_) = key
            && name.number > damaged.segment
        {
            return Ok(None);
        }
        let known = self.heads.read().last_in(name.number, key);
        let last = match known {
            Known::Is(head) | Known::Perhaps(_, head) => Some(head),
            Known::None => None,
            Known::Unknown => self.indexed_head(name, key)?,
        };
        let is_before = |head: &Head| head.sequence < sequence && head.location != damaged;
        match last {
            Some(head) if is_before(&head) => Ok(Some(head)),
            None if name.number != damaged.segment && !self.may_be_left_out(key, damaged, name) => Ok(None),
            _ => {
                let end = if name.number == damaged.segment { u64::from(damaged.offset) } else { self.end_of(name)? };
                self.last_before(key, sequence, name.number, end)
            }
        }
    }

    /// Whether a segment may hold a part of a reply log without being known for it: a segment of reply logs that was open when
    /// the reply log was concluded among the transcripts.
    fn may_be_left_out(&self, key: &Key, damaged: Location, name: Name) -> bool {
        let transcripts = self.segments.of(Family::Transcripts);
        let at = transcripts.partition_point(|other| other.number < damaged.segment);
        let is_concluded = transcripts.get(at).is_some_and(|other| other.number == damaged.segment);
        if !matches!(key, Key::ReplyLog(_)) || name.family != Family::Chains || !is_concluded {
            return false;
        }
        let reply_logs = self.segments.of(Family::Chains);
        let first =
            reply_logs.iter().rev().find(|other| other.number < damaged.segment).map_or(0, |first| first.number);
        let next = transcripts.get(at + 1).map_or(u32::MAX, |next| next.number);
        (first..next).contains(&name.number)
    }

    /// The length of a segment, as far as it is committed.
    pub(super) fn end_of(&self, name: Name) -> io::Result<u64> {
        if let Some(length) = self.heads.read().length(name.number) {
            return Ok(length);
        }
        Ok(match self.segments.file(name.number)? {
            Some(file) => file.metadata()?.len(),
            None => 0,
        })
    }

    /// The last record of a subject before this sequence, in the part of a segment before `end`: by reading all of it.
    fn last_before(&self, key: &Key, sequence: u64, segment: u32, end: u64) -> io::Result<Option<Head>> {
        let Some(file) = self.segments.file(segment)? else { return Ok(None) };
        let mut forward = Forward::new(file, 0, end);
        let mut last = None;
        while let Some(step) = forward.next()? {
            let Step::Record { offset, header, .. } = step else { continue };
            if let Some(link) = header.link(key).filter(|link| link.sequence < sequence) {
                let location = Location { segment, offset };
                last = Some(Head { sequence: link.sequence, at: header.at, location });
            }
        }
        Ok(last)
    }

    /// The record there.
    fn at(&self, window: &mut Option<Window>, location: Location, payload: bool) -> io::Result<At> {
        let from = u64::from(location.offset);
        let known = window.take().filter(|window| window.segment == location.segment);
        let known = known.filter(|window| window.has(from, LONGEST_HEADER as u64));
        let known = if let Some(known) = known {
            known
        } else {
            let Some(file) = self.segments.file(location.segment)? else { return Ok(At::Gone) };
            let begin = from.saturating_sub(BEFORE);
            let length = usize::try_from(WINDOW).unwrap_or(usize::MAX);
            Window { segment: location.segment, from: begin, bytes: read_up_to(&file, begin, length)? }
        };
        let start = usize::try_from(from - known.from).unwrap_or(usize::MAX);
        let Some(bytes) = known.bytes.get(start..) else { return Ok(At::Damaged) };
        let Ok(header) = Header::read(bytes) else { return Ok(At::Damaged) };
        let (head, length) = (header.length(), usize::try_from(header.frame()).unwrap_or(usize::MAX));
        let payload = if !payload {
            Bytes::new()
        } else if bytes.len() >= length {
            // A copy: a slice would keep the whole window.
            Bytes::copy_from_slice(&bytes[head..length])
        } else {
            let Some(file) = self.segments.file(location.segment)? else { return Ok(At::Gone) };
            let payload = read_up_to(&file, from + head as u64, length - head)?;
            if payload.len() < length - head {
                return Ok(At::Damaged);
            }
            payload
        };
        *window = Some(known);
        Ok(At::Record(Box::new(header), payload))
    }
}

impl Found {
    /// Its time, in milliseconds of Unix time.
    fn at(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| header.at)
    }
}

impl Window {
    fn has(&self, from: u64, length: u64) -> bool {
        let end = self.from + self.bytes.len() as u64;
        from >= self.from && (from + length <= end || (self.bytes.len() as u64) < WINDOW && from < end)
    }
}

/// Records in order, of what was found newest first. An erased one is left out, a damaged one has no payload.
fn stored(found: Vec<Found>) -> Vec<Stored> {
    let stored = found.into_iter().rev().filter_map(|found| {
        let (sequence, at) = (found.link.sequence, found.at());
        let payload = if found.is_damaged { Some(Bytes::new()) } else { found.record };
        payload.map(|payload| Stored { sequence, at, payload })
    });
    stored.collect()
}

/// The place of a record that cannot be read.
fn lost(sequence: u64, location: Location) -> Found {
    Found { location, link: Link { sequence, previous: Location::NONE }, header: None, record: None, is_damaged: true }
}
