//! The form of a record on disk: a header with a checksum of its own, then the payload. Pure; knows no files.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | magic |
//! | 1 | kind; with the bit 0x10, the payload (conclusions: what is shared) is packed |
//! | 2, 3 | marks: live or erased, of the record and (conclusions) of its part in the transcript; not in the checksum |
//! | 4–7 | length of the payload |
//! | 8–11 | CRC-32 of the payload (conclusions: of the part that only the chain has) |
//! | 12–15 | CRC-32 of the header, with both marks and this field as zeros |
//! | 16–23 | time, in milliseconds of Unix time |
//! | 24… | what the kind needs, see [`Body`] |
//!
//! Numbers are little-endian. No JSON text holds a byte below 0x20 as it is, so none can look like a header: its kind is
//! such a byte. An erasure sets the mark and overwrites the payload; the place stays, and with it fences and links.

use bytes::Bytes;

use super::pack::{packed, unpacked};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::log::Subject;

pub(super) const MAGIC: u8 = 0xB7;
/// Bytes of a header before what its kind needs.
const COMMON: usize = 24;
/// The longest header.
pub(super) const LONGEST_HEADER: usize = 128;
/// Bytes of a filler's header.
pub(super) const FILLER: usize = COMMON;

/// Set in the byte of the kind where the payload is packed.
const PACKED: u8 = 0x10;

/// The two marks differ in every bit, so that a flipped bit gives neither.
const LIVE: u8 = 0xA5;
const ERASED: u8 = 0x5A;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Location {
    /// The number of the segment; 0 is none.
    pub(super) segment: u32,
    /// Where its header begins there, in bytes.
    pub(super) offset: u32,
}

impl Location {
    pub(super) const NONE: Self = Self { segment: 0, offset: 0 };
}

/// What records are linked by: each knows where the one before it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Transcript(ThreadId),
    Chain(ReplyId),
    Snapshot(ReplyId),
}

impl From<Subject> for Key {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Transcript(thread) => Self::Transcript(thread),
            Subject::Chain(reply) => Self::Chain(reply),
        }
    }
}

impl Key {
    /// A hash that stays the same over versions: it stands in the index files.
    pub(super) fn hash(&self) -> u64 {
        let half = |bytes: &[u8; 16], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let thread = |id: &ThreadId| mixed(half(id.as_bytes(), 0)) ^ half(id.as_bytes(), 8);
        let reply = |id: &ReplyId| mixed(thread(&id.thread()) ^ mixed(half(id.own(), 0))) ^ half(id.own(), 8);
        match self {
            Self::Transcript(id) => mixed(thread(id)),
            Self::Chain(id) => mixed(reply(id) ^ 1),
            Self::Snapshot(id) => mixed(reply(id) ^ 2),
        }
    }
}

/// The finaliser of `SplitMix64`: every bit of the input changes half of the output.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A record's place in its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) previous: Location,
}

/// What a record is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// A record of a transcript; one that accepts a reply carries its lease.
    Transcript { thread: ThreadId, link: Link, position: u64, lease: Option<(ReplyId, InstanceId)> },
    /// A record of a chain.
    Chain { reply: ReplyId, link: Link },
    /// How far a reply got. Without a payload: it is not wanted any more.
    Snapshot { reply: ReplyId, previous: Location },
    /// The last record of a chain and the end of the reply in its transcript; the lease goes.
    Conclusion(Box<Conclusion>),
    /// An instance generates a reply.
    Hold { reply: ReplyId, instance: InstanceId },
    /// Nobody needs to generate it any more.
    Release { reply: ReplyId },
    /// What is to be erased: the payload is an [`super::erase::Erasure`].
    Erasing,
    /// The erasure that is announced there is complete.
    Erased { announced: Location },
    /// The first record of a segment of transcripts: what is true without the segments before it.
    Checkpoint,
    /// Bytes that hold nothing.
    Filler,
}

/// A conclusion's payload is `done head, done tail, ended head, ended tail, shared`: what both records have in common
/// stands there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conclusion {
    pub(super) reply: ReplyId,
    pub(super) chain: Link,
    pub(super) transcript: Link,
    pub(super) position: u64,
    /// Bytes of the first four parts.
    pub(super) lengths: [u32; 4],
    /// CRC-32 of the two parts of the transcript's record, and of what is shared.
    pub(super) checksums: [u32; 2],
}

/// A header, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) body: Body,
    /// Whether the record (of a conclusion: its part in the chain) was erased.
    pub(super) erased: bool,
    /// Whether a conclusion's part in the transcript was erased.
    pub(super) transcript_erased: bool,
    pub(super) payload: u32,
    is_packed: bool,
    checksum: u32,
    pub(super) at: u64,
}

/// A record whose bytes are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// Why there is no header here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// It would go on after these bytes.
    Incomplete,
    Damaged,
}

impl Header {
    /// Bytes of the header.
    pub(super) fn length(&self) -> usize {
        self.body.header_length()
    }

    /// Bytes of the whole record.
    pub(super) fn frame(&self) -> u64 {
        self.length() as u64 + u64::from(self.payload)
    }

    /// The links of the record, with what they are of.
    pub(super) fn links(&self) -> impl Iterator<Item = (Key, Link)> + use<> {
        let (first, second) = match &self.body {
            Body::Transcript { thread, link, .. } => (Some((Key::Transcript(*thread), *link)), None),
            Body::Chain { reply, link } => (Some((Key::Chain(*reply), *link)), None),
            Body::Snapshot { reply, previous } => {
                (Some((Key::Snapshot(*reply), Link { sequence: 0, previous: *previous })), None)
            }
            Body::Conclusion(it) => {
                (Some((Key::Chain(it.reply), it.chain)), Some((Key::Transcript(it.reply.thread()), it.transcript)))
            }
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// Its link in this subject.
    pub(super) fn link(&self, key: &Key) -> Option<Link> {
        self.links().find(|(of, _)| of == key).map(|(_, link)| link)
    }

    /// Its place in the order of all transcripts.
    pub(super) fn position(&self) -> Option<(ThreadId, u64)> {
        match &self.body {
            Body::Transcript { thread, position, .. } => Some((*thread, *position)),
            Body::Conclusion(it) => Some((it.reply.thread(), it.position)),
            _ => None,
        }
    }

    /// Whether its part in this subject was erased.
    pub(super) fn is_erased(&self, key: &Key) -> bool {
        match (&self.body, key) {
            (Body::Conclusion(_), Key::Transcript(_)) => self.transcript_erased,
            _ => self.erased,
        }
    }

    /// The record of this subject in its payload. `None`: it was erased.
    pub(super) fn record(&self, key: &Key, payload: &Bytes) -> Result<Option<Bytes>, Damaged> {
        if self.is_erased(key) {
            return Ok(None);
        }
        let Body::Conclusion(it) = &self.body else {
            return match crc32fast::hash(payload) == self.checksum {
                true if self.is_packed => Ok(Some(unpacked(payload, true)?.into_owned().into())),
                true => Ok(Some(payload.clone())),
                false => Err(Damaged),
            };
        };
        let (parts, checksum) = match key {
            Key::Transcript(_) => (it.parts(payload, 2)?, it.checksums[0]),
            _ => (it.parts(payload, 0)?, self.checksum),
        };
        let [head, tail, shared] = parts;
        if crc32_of(&[head, tail]) != checksum || crc32fast::hash(shared) != it.checksums[1] {
            return Err(Damaged);
        }
        Ok(Some([head, &unpacked(shared, self.is_packed)?, tail].concat().into()))
    }

    /// Whether every byte of the payload that was not erased is as it was written.
    pub(super) fn is_intact(&self, payload: &Bytes) -> bool {
        match self.body {
            Body::Filler => true,
            Body::Conclusion(_) => self.links().all(|(key, _)| self.record(&key, payload).is_ok()),
            _ => self.erased || crc32fast::hash(payload) == self.checksum,
        }
    }

    /// Marks what it has of this subject as erased, in the bytes of the whole record, and overwrites it.
    pub(super) fn erase(&mut self, key: &Key, frame: &mut [u8]) {
        let is_transcript = matches!((&self.body, key), (Body::Conclusion(_), Key::Transcript(_)));
        if is_transcript {
            self.transcript_erased = true;
        } else {
            self.erased = true;
        }
        frame[2] = mark(self.erased);
        frame[3] = mark(self.transcript_erased);
        let payload = &mut frame[self.body.header_length()..];
        let Body::Conclusion(it) = &self.body else { return payload.fill(0) };
        let [done, ended] = [it.lengths[0] + it.lengths[1], it.lengths[2] + it.lengths[3]].map(|part| part as usize);
        if self.erased {
            payload[..done].fill(0);
        }
        if self.transcript_erased {
            payload[done..done + ended].fill(0);
        }
        if self.erased && self.transcript_erased {
            payload.fill(0);
        }
    }

    /// The header's bytes, with another previous record.
    pub(super) fn relinked(&self, previous: Location) -> Vec<u8> {
        let mut header = self.clone();
        if let Body::Chain { link, .. } = &mut header.body {
            link.previous = previous;
        }
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes
    }

    /// The header at the beginning of these bytes.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, NoHeader> {
        let Some(common) = bytes.first_chunk::<COMMON>() else {
            return Err(if bytes.first().is_none_or(|first| *first == MAGIC) {
                NoHeader::Incomplete
            } else {
                NoHeader::Damaged
            });
        };
        if common[0] != MAGIC {
            return Err(NoHeader::Damaged);
        }
        let (kind, is_packed) = (common[1] & !PACKED, common[1] & PACKED != 0);
        let length = Kind::header_length(kind).ok_or(NoHeader::Damaged)?;
        let header = bytes.get(..length).ok_or(NoHeader::Incomplete)?;
        let mut fields = Fields(&header[4..]);
        let (payload, checksum, own) = (fields.u32(), fields.u32(), fields.u32());
        if own != checksum_of(header) {
            return Err(NoHeader::Damaged);
        }
        let at = fields.u64();
        let body = Body::read(kind, &mut fields).ok_or(NoHeader::Damaged)?;
        let (erased, transcript_erased) = (says_erased(common[2]), says_erased(common[3]));
        Ok(Self { body, erased, transcript_erased, payload, is_packed, checksum, at })
    }

    fn write(&self, to: &mut Vec<u8>) {
        let begin = to.len();
        let kind = self.body.kind() as u8 | if self.is_packed { PACKED } else { 0 };
        to.extend_from_slice(&[MAGIC, kind, mark(self.erased), mark(self.transcript_erased)]);
        to.extend_from_slice(&self.payload.to_le_bytes());
        to.extend_from_slice(&self.checksum.to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&self.at.to_le_bytes());
        self.body.write(to);
        let own = checksum_of(&to[begin..]);
        to[begin + 12..begin + 16].copy_from_slice(&own.to_le_bytes());
    }
}

/// Writes a record.
pub(super) fn write(to: &mut Vec<u8>, at: u64, body: Body, payload: &[u8]) {
    let packed = if body.is_record() { packed(payload) } else { None };
    let is_packed = packed.is_some();
    let payload = packed.as_deref().unwrap_or(payload);
    write_header(to, at, body, payload.len(), is_packed, crc32fast::hash(payload));
    to.extend_from_slice(payload);
}

/// The header of bytes that hold nothing: of a record of `length` bytes in all.
pub(super) fn filler(length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(FILLER);
    write_header(&mut bytes, 0, Body::Filler, payload, false, 0);
    bytes
}

fn write_header(to: &mut Vec<u8>, at: u64, body: Body, payload: usize, is_packed: bool, checksum: u32) {
    let payload = u32::try_from(payload).expect("the writer refuses what is longer");
    Header { body, erased: false, transcript_erased: false, payload, is_packed, checksum, at }.write(to);
}

/// Where a conclusion goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Concluding {
    pub(super) reply: ReplyId,
    pub(super) chain: Link,
    pub(super) transcript: Link,
    pub(super) position: u64,
}

/// Writes the last record of a chain together with the reply's end in the transcript.
pub(super) fn write_conclusion(to: &mut Vec<u8>, at: u64, place: Concluding, done: &[u8], ended: &[u8]) {
    let (in_done, in_ended, shared) = common_part(done, ended);
    let parts = [&done[..in_done], &done[in_done + shared..], &ended[..in_ended], &ended[in_ended + shared..]];
    let shared = &done[in_done..in_done + shared];
    let packed = packed(shared);
    let is_packed = packed.is_some();
    let shared = packed.as_deref().unwrap_or(shared);
    let Concluding { reply, chain, transcript, position } = place;
    let body = Conclusion {
        reply,
        chain,
        transcript,
        position,
        lengths: parts.map(|part| u32::try_from(part.len()).expect("the writer refuses what is longer")),
        checksums: [crc32_of(&parts[2..]), crc32fast::hash(shared)],
    };
    let payload = parts.iter().map(|part| part.len()).sum::<usize>() + shared.len();
    write_header(to, at, Body::Conclusion(Box::new(body)), payload, is_packed, crc32_of(&parts[..2]));
    for part in parts {
        to.extend_from_slice(part);
    }
    to.extend_from_slice(shared);
}

/// A part that both have: where it begins in each, and its length. Looked for around some places of the second: near its
/// beginning, where an id makes it unlike anything else, in its middle, and at its end.
fn common_part(one: &[u8], other: &[u8]) -> (usize, usize, usize) {
    /// As long as this it is no accident.
    const PROBE: usize = 48;
    /// Past what differs in every record.
    const HEAD: usize = 72;
    let places = [HEAD, other.len() / 2, other.len().saturating_sub(PROBE)];
    let common = places.into_iter().filter_map(|at| {
        let found = memchr::memmem::find(one, other.get(at..at + PROBE)?)?;
        let before = one[..found].iter().rev().zip(other[..at].iter().rev()).take_while(|(a, b)| a == b).count();
        let after = one[found..].iter().zip(&other[at..]).take_while(|(a, b)| a == b).count();
        Some((found - before, at - before, before + after))
    });
    // Nearly always the first has it all.
    let mut best = (0, 0, 0);
    for found in common {
        if found.2 > best.2 {
            best = found;
        }
        if best.2 * 2 > other.len() {
            break;
        }
    }
    best
}

impl Conclusion {
    /// Head and tail of one of the records, from that part on, and what both share.
    fn parts<'a>(&self, payload: &'a [u8], from: usize) -> Result<[&'a [u8]; 3], Damaged> {
        let ends = self.lengths.iter().scan(0usize, |end, length| {
            *end = end.saturating_add(*length as usize);
            Some(*end)
        });
        let ends: Vec<usize> = ends.collect();
        let begin = if from == 0 { 0 } else { ends[from - 1] };
        let slice = |from: usize, to: usize| payload.get(from..to).ok_or(Damaged);
        let shared = payload.get(ends[3]..).ok_or(Damaged)?;
        Ok([slice(begin, ends[from])?, slice(ends[from], ends[from + 1])?, shared])
    }
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Transcript = 1,
    Accepted = 2,
    Chain = 3,
    Snapshot = 4,
    Conclusion = 5,
    Hold = 6,
    Release = 7,
    Erasing = 8,
    Erased = 11,
    Checkpoint = 12,
    Filler = 14,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Transcript,
        Self::Accepted,
        Self::Chain,
        Self::Snapshot,
        Self::Conclusion,
        Self::Hold,
        Self::Release,
        Self::Erasing,
        Self::Erased,
        Self::Checkpoint,
        Self::Filler,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    fn header_length(byte: u8) -> Option<usize> {
        let own = match Self::of(byte)? {
            Self::Accepted => 64,
            Self::Chain => 48,
            Self::Transcript | Self::Snapshot | Self::Hold => 40,
            Self::Conclusion => 96,
            Self::Release => 32,
            Self::Erased => 8,
            Self::Erasing | Self::Checkpoint | Self::Filler => 0,
        };
        Some(COMMON + own)
    }
}

impl Body {
    /// Whether its payload is the record of a subject.
    const fn is_record(&self) -> bool {
        matches!(self, Self::Transcript { .. } | Self::Chain { .. } | Self::Snapshot { .. })
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Transcript { lease: None, .. } => Kind::Transcript,
            Self::Transcript { lease: Some(_), .. } => Kind::Accepted,
            Self::Chain { .. } => Kind::Chain,
            Self::Snapshot { .. } => Kind::Snapshot,
            Self::Conclusion(_) => Kind::Conclusion,
            Self::Hold { .. } => Kind::Hold,
            Self::Release { .. } => Kind::Release,
            Self::Erasing => Kind::Erasing,
            Self::Erased { .. } => Kind::Erased,
            Self::Checkpoint => Kind::Checkpoint,
            Self::Filler => Kind::Filler,
        }
    }

    fn header_length(&self) -> usize {
        Kind::header_length(self.kind() as u8).expect("every kind has a length")
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Transcript { thread, link, position, lease } => {
                to.extend_from_slice(thread.as_bytes());
                put_link(to, *link);
                to.extend_from_slice(&position.to_le_bytes());
                if let Some((reply, instance)) = lease {
                    to.extend_from_slice(reply.own());
                    to.extend_from_slice(&instance.number().to_le_bytes());
                }
            }
            Self::Chain { reply, link } => {
                put_reply(to, *reply);
                put_link(to, *link);
            }
            Self::Snapshot { reply, previous } => {
                put_reply(to, *reply);
                put_location(to, *previous);
            }
            Self::Conclusion(it) => {
                put_reply(to, it.reply);
                put_link(to, it.chain);
                put_link(to, it.transcript);
                to.extend_from_slice(&it.position.to_le_bytes());
                it.lengths.iter().chain(&it.checksums).for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
            }
            Self::Hold { reply, instance } => {
                put_reply(to, *reply);
                to.extend_from_slice(&instance.number().to_le_bytes());
            }
            Self::Release { reply } => put_reply(to, *reply),
            Self::Erased { announced } => put_location(to, *announced),
            Self::Erasing | Self::Checkpoint | Self::Filler => {}
        }
    }

    fn read(kind: u8, fields: &mut Fields) -> Option<Self> {
        Some(match Kind::of(kind)? {
            Kind::Transcript => {
                let (thread, link, position) = (fields.thread(), fields.link(), fields.u64());
                Self::Transcript { thread, link, position, lease: None }
            }
            Kind::Accepted => {
                let (thread, link, position) = (fields.thread(), fields.link(), fields.u64());
                let lease = (ReplyId::from_bytes(thread, fields.array()), fields.instance());
                Self::Transcript { thread, link, position, lease: Some(lease) }
            }
            Kind::Chain => Self::Chain { reply: fields.reply(), link: fields.link() },
            Kind::Snapshot => Self::Snapshot { reply: fields.reply(), previous: fields.location() },
            Kind::Conclusion => Self::Conclusion(Box::new(Conclusion {
                reply: fields.reply(),
                chain: fields.link(),
                transcript: fields.link(),
                position: fields.u64(),
                lengths: std::array::from_fn(|_| fields.u32()),
                checksums: std::array::from_fn(|_| fields.u32()),
            })),
            Kind::Hold => Self::Hold { reply: fields.reply(), instance: fields.instance() },
            Kind::Release => Self::Release { reply: fields.reply() },
            Kind::Erasing => Self::Erasing,
            Kind::Erased => Self::Erased { announced: fields.location() },
            Kind::Checkpoint => Self::Checkpoint,
            Kind::Filler => Self::Filler,
        })
    }
}

const fn mark(erased: bool) -> u8 {
    if erased { ERASED } else { LIVE }
}

/// Reads a mark, also one with some flipped bits.
const fn says_erased(mark: u8) -> bool {
    (mark ^ ERASED).count_ones() < 4
}

fn checksum_of(header: &[u8]) -> u32 {
    crc32_of(&[&header[..2], &[0; 2], &header[4..12], &[0; 4], &header[16..]])
}

fn crc32_of(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

pub(super) fn put_reply(to: &mut Vec<u8>, reply: ReplyId) {
    to.extend_from_slice(reply.thread().as_bytes());
    to.extend_from_slice(reply.own());
}

fn put_link(to: &mut Vec<u8>, link: Link) {
    to.extend_from_slice(&link.sequence.to_le_bytes());
    put_location(to, link.previous);
}

fn put_location(to: &mut Vec<u8>, location: Location) {
    to.extend_from_slice(&location.segment.to_le_bytes());
    to.extend_from_slice(&location.offset.to_le_bytes());
}

/// Reads fields one after the other; past the end they are zeros, which the caller has ruled out by the length.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *first
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(super) fn thread(&mut self) -> ThreadId {
        ThreadId::from_bytes(self.array())
    }

    pub(super) fn reply(&mut self) -> ReplyId {
        let thread = self.thread();
        ReplyId::from_bytes(thread, self.array())
    }

    pub(super) fn instance(&mut self) -> InstanceId {
        InstanceId::from_number(self.u64())
    }

    pub(super) fn location(&mut self) -> Location {
        Location { segment: self.u32(), offset: self.u32() }
    }

    fn link(&mut self) -> Link {
        Link { sequence: self.u64(), previous: self.location() }
    }
}

#[cfg(test)]
mod tests;
