//! The records of transcripts and reply logs: ordered, fenced, followed.

use bytes::Bytes;

use super::{
    AppendError, Concluded, Identity, Log, Position, ReadError, Scanned, Shard, Stored, Subject, Subscription, Watch,
};
use crate::domain::ids::{InstanceId, ReplyId};

/// The records of transcripts and reply logs: ordered, fenced, followed.
#[derive(Clone, Copy)]
pub struct Records<'a>(pub(super) &'a Log);

impl Records<'_> {
    /// Stores `payload` as the subject's next record, if its last is `expected`. Returns the new sequence.
    pub async fn append(self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        match self.0 {
            Log::Embedded(log) => log.append(subject, expected, payload).await,
            Log::JetStream(log) => log.append(subject, expected, payload).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.append(subject, expected, payload).await,
        }
    }

    /// As [`Records::append`], of a record that deletes something: it may use space that is reserved for this on a full
    /// disk.
    pub async fn append_deletion(self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        match self.0 {
            Log::Embedded(log) => log.append_deletion(subject, expected, payload).await,
            // The servers keep no space apart.
            Log::JetStream(log) => log.append(subject, expected, payload).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.append(subject, expected, payload).await,
        }
    }

    /// Stores the first record of a subject whose id was just made at random: no other instance can have written there,
    /// and no check is needed.
    pub async fn begin(self, subject: Subject, payload: Bytes) -> Result<u64, AppendError> {
        match self.0 {
            Log::Embedded(log) => log.begin(subject, payload).await,
            Log::JetStream(log) => log.begin(subject, payload).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.append(subject, 0, payload).await,
        }
    }

    /// Stores the record that accepts a reply, as [`Records::append`] does (`None` expects a thread that is new, as
    /// [`Records::begin`]), and its ticket, as [`Leases::acquire`](super::Leases::acquire) does, in flight at once. The log has nothing of the reply yet.
    pub async fn accept(
        self,
        instance: InstanceId,
        reply: ReplyId,
        expected: Option<u64>,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        match self.0 {
            Log::Embedded(log) => log.accept(instance, reply, expected, payload).await,
            Log::JetStream(log) => log.accept(instance, reply, expected, payload).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.accept(instance, reply, expected, payload).await,
        }
    }

    /// Stores the last record of a reply's log, as [`Records::append`] does (`None` expects a new reply log, as
    /// [`Records::begin`]), and where that goes in one with it, also the end of the reply in its transcript: `ended` is the
    /// sequence that is expected there, and the record. Only then the reply's ticket goes, too.
    pub async fn conclude(
        self,
        reply: ReplyId,
        expected: Option<u64>,
        done: Bytes,
        ended: Option<(u64, Bytes)>,
    ) -> Result<Concluded, AppendError> {
        match self.0 {
            Log::Embedded(log) => log.conclude(reply, expected, done, ended).await,
            Log::JetStream(log) => log.conclude(reply, expected, done).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.conclude(reply, expected, done).await,
        }
    }

    /// The subject's records after the sequence `after`, in order.
    pub async fn read(self, subject: Subject, after: u64) -> Result<Vec<Stored>, ReadError> {
        match self.0 {
            Log::Embedded(log) => log.read(subject, after).await,
            Log::JetStream(log) => log.read(subject, after).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.read(subject, after).await,
        }
    }

    /// The subject's last record, as its writer sees it.
    pub async fn last(self, subject: Subject) -> Result<Option<Stored>, ReadError> {
        match self.0 {
            Log::Embedded(log) => log.last_record(subject).await,
            Log::JetStream(log) => log.last_record(subject).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.last_record(subject).await,
        }
    }

    /// Records of the subject from now on. Subscribe first, then read the backlog, then stitch by sequence.
    pub async fn subscribe(self, subject: Subject) -> Result<Subscription, ReadError> {
        match self.0 {
            Log::Embedded(log) => Ok(Subscription::Embedded(log.subscribe(subject))),
            Log::JetStream(log) => log.subscribe(subject).await.map(|one| Subscription::JetStream(Box::new(one))),
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.subscribe(subject).await.map(|one| Subscription::Simulated(Box::new(one))),
        }
    }

    /// Looks after a subject that is written here, for records that others write. `None`: there are no others.
    pub fn watch(self, subject: Subject) -> Option<Watch> {
        match self.0 {
            Log::Embedded(_) => None,
            Log::JetStream(log) => Some(Watch::JetStream(log.watch(subject))),
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => Some(log.watch(subject)),
        }
    }

    /// Erases records of a subject, for a deletion. Never the last one: that would move the fence.
    pub async fn erase(self, subject: Subject, sequences: Vec<u64>) -> Result<(), AppendError> {
        match self.0 {
            Log::Embedded(log) => log.erase(subject, sequences).await,
            Log::JetStream(log) => log.erase(subject, sequences).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.erase(subject, sequences).await,
        }
    }

    /// Erases all records of a subject before this one, for a deletion.
    pub async fn erase_before(self, subject: Subject, sequence: u64) -> Result<(), AppendError> {
        match self.0 {
            Log::Embedded(log) => log.erase_before(subject, sequence).await,
            Log::JetStream(log) => log.erase_before(subject, sequence).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.erase_before(subject, sequence).await,
        }
    }

    /// How many shards it has, which are numbered from 0.
    pub fn shards(self) -> Shard {
        match self.0 {
            Log::Embedded(_) => 1,
            Log::JetStream(log) => log.shards(),
            #[cfg(feature = "simulation")]
            Log::Simulated(_) => 1,
        }
    }

    /// Records of all transcripts of a shard after `after`, in order, at most `limit`.
    pub async fn scan(self, shard: Shard, after: Position, limit: usize) -> Result<Vec<Scanned>, ReadError> {
        match self.0 {
            Log::Embedded(log) => log.scan(after, limit).await,
            Log::JetStream(log) => log.scan(shard, after, limit).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.scan(after, limit).await,
        }
    }

    /// Waits until there is a transcript's record of the shard after `after`.
    pub async fn wait_after(self, shard: Shard, after: Position) {
        match self.0 {
            Log::Embedded(log) => log.wait_after(after).await,
            Log::JetStream(log) => log.wait_after(shard, after).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.wait_after(after).await,
        }
    }

    /// The place of the last record of all transcripts of a shard.
    pub fn last_position(self, shard: Shard) -> Position {
        match self.0 {
            Log::Embedded(log) => log.last_position(),
            Log::JetStream(log) => log.last_position(shard),
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.last_position(),
        }
    }

    /// Asks for the place of the last record ever stored of all transcripts, also by others.
    pub async fn look_last_position(self, shard: Shard) -> Result<Position, ReadError> {
        match self.0 {
            Log::Embedded(log) => Ok(log.last_position()),
            Log::JetStream(log) => log.look_last_position(shard).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.look_last_position().await,
        }
    }

    /// Which log this shard is of.
    pub fn identity(self, shard: Shard) -> Identity {
        match self.0 {
            Log::Embedded(log) => log.identity(),
            Log::JetStream(log) => log.identity(shard),
            #[cfg(feature = "simulation")]
            Log::Simulated(_) => super::Simulated::identity(),
        }
    }

    /// Notes that webhooks were carried up to `position`: older records wait for them no longer. Without such a note they
    /// do not wait.
    pub fn carried(self, _shard: Shard, position: Position) {
        match self.0 {
            Log::Embedded(log) => log.carried(position),
            Log::JetStream(_) => {}
            #[cfg(feature = "simulation")]
            Log::Simulated(_) => {}
        }
    }

    /// Notes that the store holds everything of a shard up to `position`: older records may expire.
    pub fn projected(self, _shard: Shard, position: Position) {
        match self.0 {
            Log::Embedded(log) => log.projected(position),
            // Streams retain what they have by their own configuration.
            Log::JetStream(_) => {}
            #[cfg(feature = "simulation")]
            Log::Simulated(_) => {}
        }
    }
}
