//! What is true at the beginning of a segment of transcripts, so that a start needs none of the segments before it.

use super::Shared;
use super::erase::Erasure;
use super::frame::{Fields, Location, put_reply};
use crate::domain::ids::{InstanceId, ReplyId};
use crate::log::Position;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    pub(super) identity: u64,
    pub(super) next_position: Position,
    pub(super) leases: Vec<(ReplyId, InstanceId)>,
    /// Erasures that are announced and not complete.
    pub(super) erasing: Vec<(Location, Erasure)>,
}

impl Checkpoint {
    pub(super) fn of(shared: &Shared, next_position: Position) -> Self {
        let leases = shared.heads.read().leases.iter().map(|(reply, lease)| (*reply, lease.instance)).collect();
        let erasing = shared.erasing.lock().iter().map(|(at, erasure)| (*at, erasure.clone())).collect();
        Self { identity: shared.identity, next_position, leases, erasing }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + self.leases.len() * 40);
        bytes.extend_from_slice(&self.identity.to_le_bytes());
        bytes.extend_from_slice(&self.next_position.to_le_bytes());
        bytes.extend_from_slice(&(self.leases.len() as u64).to_le_bytes());
        for (reply, instance) in &self.leases {
            put_reply(&mut bytes, *reply);
            bytes.extend_from_slice(&instance.number().to_le_bytes());
        }
        bytes.extend_from_slice(&(self.erasing.len() as u64).to_le_bytes());
        for (at, erasure) in &self.erasing {
            let erasure = erasure.encode();
            bytes.extend_from_slice(&at.segment.to_le_bytes());
            bytes.extend_from_slice(&at.offset.to_le_bytes());
            bytes.extend_from_slice(&(erasure.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&erasure);
        }
        bytes
    }

    /// From the payload of a record, whose checksum was right.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        let (identity, next_position, count) = (fields.u64(), fields.u64(), fields.u64());
        let leases = (0..count).map(|_| (fields.reply(), fields.instance())).collect();
        let count = fields.u64();
        let erasing = (0..count).map(|_| {
            let (at, length) = (fields.location(), usize::try_from(fields.u64()).unwrap_or(usize::MAX));
            let (erasure, rest) = fields.0.split_at(length.min(fields.0.len()));
            fields.0 = rest;
            (at, Erasure::decode(erasure))
        });
        let erasing = erasing.collect();
        Self { identity, next_position, leases, erasing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ThreadId;
    use crate::log::Subject;

    #[test]
    fn a_checkpoint_reads_back() {
        let reply = ReplyId::random(ThreadId::random());
        let erasure = Erasure::records(Subject::ReplyLog(reply), vec![1, 2, 3, 9]);
        let checkpoint = Checkpoint {
            identity: 7,
            next_position: 1 << 40,
            leases: vec![(reply, InstanceId::random())],
            erasing: vec![
                (Location { segment: 3, offset: 4 }, erasure),
                (Location { segment: 5, offset: 6 }, Erasure::snapshots(reply)),
            ],
        };
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), checkpoint);
        assert_eq!(Checkpoint::decode(&Checkpoint::default().encode()), Checkpoint::default());
    }
}
