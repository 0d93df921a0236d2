//! The last record of a reply log and the reply's end in the transcript, as one: what both have in common stands there once.

use super::body::Body;
use super::key::Link;
use super::{Damaged, crc32_of, write_header};
use crate::domain::ids::ReplyId;
use crate::log::embedded::pack::packed;

/// A conclusion's payload is `done head, done tail, ended head, ended tail, shared`: what both records have in common
/// stands there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log::embedded) struct Conclusion {
    pub(in crate::log::embedded) reply: ReplyId,
    pub(in crate::log::embedded) reply_log: Link,
    pub(in crate::log::embedded) transcript: Link,
    pub(in crate::log::embedded) position: u64,
    /// Bytes of the first four parts.
    pub(in crate::log::embedded) lengths: [u32; 4],
    /// CRC-32 of the two parts of the transcript's record, and of what is shared.
    pub(in crate::log::embedded) checksums: [u32; 2],
}

/// Where a conclusion goes.
#[derive(Debug, Clone, Copy)]
pub(in crate::log::embedded) struct Concluding {
    pub(in crate::log::embedded) reply: ReplyId,
    pub(in crate::log::embedded) reply_log: Link,
    pub(in crate::log::embedded) transcript: Link,
    pub(in crate::log::embedded) position: u64,
}

/// Writes the last record of a reply log together with the reply's end in the transcript.
pub(in crate::log::embedded) fn write_conclusion(
    to: &mut Vec<u8>,
    at: u64,
    place: Concluding,
    done: &[u8],
    ended: &[u8],
) {
    let (in_done, in_ended, shared) = common_part(done, ended);
    let parts = [&done[..in_done], &done[in_done + shared..], &ended[..in_ended], &ended[in_ended + shared..]];
    let shared = &done[in_done..in_done + shared];
    let packed = packed(shared);
    let is_packed = packed.is_some();
    let shared = packed.as_deref().unwrap_or(shared);
    let Concluding { reply, reply_log, transcript, position } = place;
    let body = Conclusion {
        reply,
        reply_log,
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
    pub(super) fn parts<'a>(&self, payload: &'a [u8], from: usize) -> Result<[&'a [u8]; 3], Damaged> {
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
