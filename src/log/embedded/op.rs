//! What can be written to the embedded log.

use bytes::Bytes;

use super::erase::Erasure;
use super::frame::Location;
use super::{Concluded, Subject};
use crate::domain::ids::{InstanceId, ReplyId};

/// A write. Each is one record, or more that need no company to be true.
#[derive(Debug)]
pub(super) enum Op {
    /// Returns the sequence.
    Append {
        subject: Subject,
        /// `None`: the subject is new.
        expected: Option<u64>,
        payload: Bytes,
        /// Written with it, if it is written.
        lease: Option<(InstanceId, ReplyId)>,
        /// May use the space that is reserved for deletions.
        deletes: bool,
    },
    /// Returns the sequence of `done`, and whether `ended` was written, too.
    Conclude {
        reply: ReplyId,
        /// `None`: the reply log is new.
        expected: Option<u64>,
        done: Bytes,
        /// Where in the transcript, and what.
        ended: Option<(u64, Bytes)>,
    },
    /// Without bytes: the snapshot is not wanted any more.
    Snapshot {
        reply: ReplyId,
        snapshot: Bytes,
    },
    Hold {
        instance: InstanceId,
        reply: ReplyId,
    },
    Release(ReplyId),
    /// Announces an erasure, so that it is completed also after a crash. Returns where.
    Erase(Erasure),
    /// The erasure that was announced there is complete.
    Erased(Location),
    /// Writes the reply log and the snapshot of a running reply again, out of a segment that is to go.
    Move(ReplyId),
    /// Begins new segments where the open one is this old (in milliseconds): transcripts, reply logs.
    Roll([u64; 2]),
}

impl Op {
    /// Whether it may use the space that is reserved for deletions.
    pub(super) const fn deletes(&self) -> bool {
        matches!(self, Self::Append { deletes: true, .. } | Self::Erase(_) | Self::Erased(_))
    }

    /// Bytes that it brings along.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Append { payload, .. } => payload.len(),
            Self::Conclude { done, ended, .. } => done.len() + ended.as_ref().map_or(0, |(_, record)| record.len()),
            Self::Snapshot { snapshot, .. } => snapshot.len(),
            _ => 0,
        }
    }
}

/// What a write gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// The record's place in its subject; 0 if there is none.
    pub(super) sequence: u64,
    /// Whether the end is in the transcript.
    pub(super) ended: bool,
    /// Where it stands.
    pub(super) location: Location,
}

impl Default for Written {
    fn default() -> Self {
        Self { sequence: 0, ended: false, location: Location::NONE }
    }
}

impl From<Written> for Concluded {
    fn from(Written { sequence, ended, .. }: Written) -> Self {
        Self { sequence, in_transcript: ended }
    }
}
