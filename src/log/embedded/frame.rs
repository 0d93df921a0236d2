//! The form of a record on disk: a header with a checksum of its own, then the payload. Pure; knows no files.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | magic |
//! | 1 | kind; with the bit 0x10, the payload (conclusions: what is shared) is packed |
//! | 2, 3 | marks: live or erased, of the record and (conclusions) of its part in the transcript; not in the checksum |
//! | 4–7 | length of the payload |
//! | 8–11 | CRC-32 of the payload (conclusions: of the part that only the reply log has) |
//! | 12–15 | CRC-32 of the header, with both marks and this field as zeros |
//! | 16–23 | time, in milliseconds of Unix time |
//! | 24… | what the kind needs, see [`Body`] |
//!
//! Numbers are little-endian. No JSON text holds a byte below 0x20 as it is, so none can look like a header: its kind is
//! such a byte. An erasure sets the mark and overwrites the payload; the place stays, and with it fences and links.

use bytes::Bytes;

mod body;
mod conclusion;
mod key;

use body::Kind;
pub(super) use body::{Body, Fields, put_reply};
pub(super) use conclusion::{Concluding, write_conclusion};
pub(super) use key::{Key, Link, Location};

use super::pack::{packed, unpacked};
use crate::domain::ids::ThreadId;

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

/// A header, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) body: Body,
    /// Whether the record (of a conclusion: its part in the reply log) was erased.
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
            Body::ReplyLog { reply, link } => (Some((Key::ReplyLog(*reply), *link)), None),
            Body::Snapshot { reply, previous } => {
                (Some((Key::Snapshot(*reply), Link { sequence: 0, previous: *previous })), None)
            }
            Body::Conclusion(it) => (
                Some((Key::ReplyLog(it.reply), it.reply_log)),
                Some((Key::Transcript(it.reply.thread()), it.transcript)),
            ),
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
        if let Body::ReplyLog { link, .. } = &mut header.body {
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
        let (erased, transcript_erased) = (is_erased_mark(common[2]), is_erased_mark(common[3]));
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

const fn mark(erased: bool) -> u8 {
    if erased { ERASED } else { LIVE }
}

/// Reads a mark, also one with some flipped bits.
const fn is_erased_mark(mark: u8) -> bool {
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

#[cfg(test)]
mod tests;
