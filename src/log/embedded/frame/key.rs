//! What records are of and where they stand.

use crate::domain::ids::{ReplyId, ThreadId};
use crate::log::Subject;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::log::embedded) struct Location {
    /// The number of the segment; 0 is none.
    pub(in crate::log::embedded) segment: u32,
    /// Where its header begins there, in bytes.
    pub(in crate::log::embedded) offset: u32,
}

impl Location {
    pub(in crate::log::embedded) const NONE: Self = Self { segment: 0, offset: 0 };
}

/// What records are linked by: each knows where the one before it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::log::embedded) enum Key {
    Transcript(ThreadId),
    ReplyLog(ReplyId),
    Snapshot(ReplyId),
}

impl From<Subject> for Key {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Transcript(thread) => Self::Transcript(thread),
            Subject::ReplyLog(reply) => Self::ReplyLog(reply),
        }
    }
}

impl Key {
    /// A hash that stays the same over versions: it stands in the index files.
    pub(in crate::log::embedded) fn hash(&self) -> u64 {
        let half = |bytes: &[u8; 16], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let thread = |id: &ThreadId| mixed(half(id.as_bytes(), 0)) ^ half(id.as_bytes(), 8);
        let reply = |id: &ReplyId| mixed(thread(&id.thread()) ^ mixed(half(id.own(), 0))) ^ half(id.own(), 8);
        match self {
            Self::Transcript(id) => mixed(thread(id)),
            Self::ReplyLog(id) => mixed(reply(id) ^ 1),
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
pub(in crate::log::embedded) struct Link {
    pub(in crate::log::embedded) sequence: u64,
    pub(in crate::log::embedded) previous: Location,
}
