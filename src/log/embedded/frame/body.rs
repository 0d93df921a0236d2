//! What the header of each kind of record holds, and its bytes.

use super::COMMON;
use super::conclusion::Conclusion;
use super::key::{Link, Location};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};

/// What a record is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log::embedded) enum Body {
    /// A record of a transcript; one that accepts a reply carries its lease.
    Transcript { thread: ThreadId, link: Link, position: u64, lease: Option<(ReplyId, InstanceId)> },
    /// A record of a reply log.
    ReplyLog { reply: ReplyId, link: Link },
    /// How far a reply got. Without a payload: it is not wanted any more.
    Snapshot { reply: ReplyId, previous: Location },
    /// The last record of a reply log and the end of the reply in its transcript; the lease goes.
    Conclusion(Box<Conclusion>),
    /// An instance generates a reply.
    Hold { reply: ReplyId, instance: InstanceId },
    /// Nobody needs to generate it any more.
    Release { reply: ReplyId },
    /// What is to be erased: the payload is an [`Erasure`](crate::log::embedded::erase::Erasure).
    Erasing,
    /// The erasure that is announced there is complete.
    Erased { announced: Location },
    /// The first record of a segment of transcripts: what is true without the segments before it.
    Checkpoint,
    /// Bytes that hold nothing.
    Filler,
}

#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    Transcript = 1,
    Accepted = 2,
    ReplyLog = 3,
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
        Self::ReplyLog,
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

    pub(super) fn header_length(byte: u8) -> Option<usize> {
        let own = match Self::of(byte)? {
            Self::Accepted => 64,
            Self::ReplyLog => 48,
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
    pub(super) const fn is_record(&self) -> bool {
        matches!(self, Self::Transcript { .. } | Self::ReplyLog { .. } | Self::Snapshot { .. })
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Transcript { lease: None, .. } => Kind::Transcript,
            Self::Transcript { lease: Some(_), .. } => Kind::Accepted,
            Self::ReplyLog { .. } => Kind::ReplyLog,
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

    pub(super) fn header_length(&self) -> usize {
        Kind::header_length(self.kind() as u8).expect("every kind has a length")
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
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
            Self::ReplyLog { reply, link } => {
                put_reply(to, *reply);
                put_link(to, *link);
            }
            Self::Snapshot { reply, previous } => {
                put_reply(to, *reply);
                put_location(to, *previous);
            }
            Self::Conclusion(it) => {
                put_reply(to, it.reply);
                put_link(to, it.reply_log);
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

    pub(super) fn read(kind: u8, fields: &mut Fields) -> Option<Self> {
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
            Kind::ReplyLog => Self::ReplyLog { reply: fields.reply(), link: fields.link() },
            Kind::Snapshot => Self::Snapshot { reply: fields.reply(), previous: fields.location() },
            Kind::Conclusion => Self::Conclusion(Box::new(Conclusion {
                reply: fields.reply(),
                reply_log: fields.link(),
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

pub(in crate::log::embedded) fn put_reply(to: &mut Vec<u8>, reply: ReplyId) {
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
pub(in crate::log::embedded) struct Fields<'a>(pub(in crate::log::embedded) &'a [u8]);

impl Fields<'_> {
    pub(in crate::log::embedded) fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *first
    }

    pub(in crate::log::embedded) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(in crate::log::embedded) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(in crate::log::embedded) fn thread(&mut self) -> ThreadId {
        ThreadId::from_bytes(self.array())
    }

    pub(in crate::log::embedded) fn reply(&mut self) -> ReplyId {
        let thread = self.thread();
        ReplyId::from_bytes(thread, self.array())
    }

    pub(in crate::log::embedded) fn instance(&mut self) -> InstanceId {
        InstanceId::from_number(self.u64())
    }

    pub(in crate::log::embedded) fn location(&mut self) -> Location {
        Location { segment: self.u32(), offset: self.u32() }
    }

    fn link(&mut self) -> Link {
        Link { sequence: self.u64(), previous: self.location() }
    }
}
