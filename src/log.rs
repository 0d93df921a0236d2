//! The log: where everything meets. Ordered, fenced, durable; knows records as bytes and nothing of their meaning.
//!
//! - **Subjects.** A record belongs to a [`Subject`]: the transcript of a thread, the chain of a reply. Sequences
//!   grow within a subject; 0 means that it is empty.
//! - **Fenced.** [`Log::append`] names the sequence that it expects to be the subject's last. If it is not, nothing
//!   is written and the caller learns which is: of two writers, one goes on.
//! - **Stored first.** What a reader or a [`Subscription`] sees is stored: it survives the process.
//! - **Order of the transcripts.** All transcripts of a [`Shard`] together have one order, the [`Position`]s that the
//!   projection walks along with [`Log::scan`].
//!
//! [`Log`] is an enum, chosen once at start; every implementation passes the contract tests in `tests/contract`.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::conversation::ids::{InstanceId, ReplyId, ThreadId};

pub mod embedded;
pub mod jetstream;
pub mod peers;
mod recent;

pub use embedded::Embedded;
pub use jetstream::{JetStream, Watch};
pub use peers::{Life, Peers};

/// Where records are kept.
#[derive(Clone)]
pub enum Log {
    /// In `DATA_DIR`, for one instance.
    Embedded(Embedded),
    /// In NATS, for many.
    JetStream(JetStream),
}

/// What a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// What was said in a thread, and every change of it.
    Transcript(ThreadId),
    /// How a reply is being said.
    Chain(ReplyId),
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the subject.
    pub sequence: u64,
    /// When it was stored, in milliseconds of Unix time.
    pub at: u64,
    /// The record.
    pub payload: Bytes,
}

/// A part of the log. Every thread lies in one, with all that belongs to it.
pub type Shard = u32;

/// A place in the order of all transcripts of a shard; 0 is before the first.
pub type Position = u64;

/// A transcript's record, in the order of all of its shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its place in the order.
    pub position: Position,
    /// Its thread.
    pub thread: ThreadId,
    /// The record.
    pub record: Stored,
}

/// Tells one log from another: a position means something only in the log that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Made when the log was created.
    pub id: String,
}

/// Records of a subject, as they are stored, from the time of [`Log::subscribe`] on.
pub enum Subscription {
    /// Of the embedded log.
    Embedded(embedded::Subscription),
    /// Of the log in NATS.
    JetStream(Box<jetstream::Subscription>),
}

/// The last record of a chain is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concluded {
    /// Its sequence.
    pub sequence: u64,
    /// Whether the end is in the transcript, too, and the ticket gone; otherwise both are the caller's to do.
    pub in_transcript: bool,
}

/// Why an append wrote nothing, or may have.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The subject's last sequence is another: somebody else wrote. Nothing was written.
    #[error("another writer was first (last sequence is {last}, not {expected})")]
    Conflict {
        /// What the caller expected.
        expected: u64,
        /// What it is.
        last: u64,
    },
    /// There is no space. Nothing was written; what is there is safe.
    #[error("the log has no space left")]
    Full,
    /// The log cannot be written now.
    #[error("the log cannot be written: {0}")]
    Unavailable(String),
}

/// The log cannot be read now.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the log cannot be read: {0}")]
pub struct ReadError(pub String);

impl Log {
    /// Makes this instance known to the others that share the log.
    pub async fn join(&self, instance: InstanceId) -> Result<Peers, jetstream::OpenError> {
        match self {
            Self::Embedded(_) => Ok(Peers::Alone(instance)),
            Self::JetStream(log) => log.join(instance).await.map(Peers::Nats),
        }
    }

    /// Stores `payload` as the subject's next record, if its last is `expected`. Gives the new sequence.
    pub async fn append(&self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        match self {
            Self::Embedded(log) => log.append(subject, expected, payload).await,
            Self::JetStream(log) => log.append(subject, expected, payload).await,
        }
    }

    /// As [`Log::append`], of a record that deletes something: it may use space that is kept for this on a full disk.
    pub async fn append_deletion(&self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        match self {
            Self::Embedded(log) => log.append_deletion(subject, expected, payload).await,
            // The servers keep no space apart.
            Self::JetStream(log) => log.append(subject, expected, payload).await,
        }
    }

    /// Stores the first record of a subject whose id was just made at random: nobody can have written there, and
    /// nobody needs to look.
    pub async fn begin(&self, subject: Subject, payload: Bytes) -> Result<u64, AppendError> {
        match self {
            Self::Embedded(log) => log.begin(subject, payload).await,
            Self::JetStream(log) => log.begin(subject, payload).await,
        }
    }

    /// Stores the record that accepts a reply, as [`Log::append`] does (`None` expects a thread that is new, as
    /// [`Log::begin`]), and its ticket, as [`Log::hold`] does, in flight at once.
    pub async fn accept(
        &self,
        instance: InstanceId,
        reply: ReplyId,
        expected: Option<u64>,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        match self {
            Self::Embedded(log) => log.accept(instance, reply, expected, payload).await,
            Self::JetStream(log) => log.accept(instance, reply, expected, payload).await,
        }
    }

    /// Stores the last record of a reply's chain, as [`Log::append`] does (`None` expects a new chain, as
    /// [`Log::begin`]), and where that goes in one with it, also the end of the reply in its transcript: `ended` is the
    /// sequence that is expected there, and the record. Only then the reply's ticket goes, too.
    pub async fn conclude(
        &self,
        reply: ReplyId,
        expected: Option<u64>,
        done: Bytes,
        ended: Option<(u64, Bytes)>,
    ) -> Result<Concluded, AppendError> {
        match self {
            Self::Embedded(log) => log.conclude(reply, expected, done, ended).await,
            Self::JetStream(log) => log.conclude(reply, expected, done).await,
        }
    }

    /// The subject's records after the sequence `after`, in order.
    pub async fn read(&self, subject: Subject, after: u64) -> Result<Vec<Stored>, ReadError> {
        match self {
            Self::Embedded(log) => log.read(subject, after).await,
            Self::JetStream(log) => log.read(subject, after).await,
        }
    }

    /// The subject's last record, as whoever writes it has it.
    pub async fn last(&self, subject: Subject) -> Result<Option<Stored>, ReadError> {
        match self {
            Self::Embedded(log) => log.last_record(subject).await,
            Self::JetStream(log) => log.last_record(subject).await,
        }
    }

    /// Whether other instances read and write it, too.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::JetStream(_))
    }

    /// Records of the subject from now on. Subscribe first, then read the backlog, then stitch by sequence.
    pub async fn subscribe(&self, subject: Subject) -> Result<Subscription, ReadError> {
        match self {
            Self::Embedded(log) => Ok(Subscription::Embedded(log.subscribe(subject))),
            Self::JetStream(log) => log.subscribe(subject).await.map(|one| Subscription::JetStream(Box::new(one))),
        }
    }

    /// Looks after a subject that is written here, for records that others write. `None`: there are no others.
    pub fn watch(&self, subject: Subject) -> Option<Watch> {
        match self {
            Self::Embedded(_) => None,
            Self::JetStream(log) => Some(log.watch(subject)),
        }
    }

    /// Erases records of a subject, for a deletion. Never the last one: that would move the fence.
    pub async fn erase(&self, subject: Subject, sequences: Vec<u64>) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.erase(subject, sequences).await,
            Self::JetStream(log) => log.erase(subject, sequences).await,
        }
    }

    /// Erases all records of a subject before this one, for a deletion.
    pub async fn erase_before(&self, subject: Subject, sequence: u64) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.erase_before(subject, sequence).await,
            Self::JetStream(log) => {
                let records = log.read(subject, 0).await.map_err(|ReadError(error)| AppendError::Unavailable(error))?;
                let before = records.iter().map(|record| record.sequence).filter(|other| *other < sequence);
                log.erase(subject, before.collect()).await
            }
        }
    }

    /// How many shards it has, which are numbered from 0.
    pub fn shards(&self) -> Shard {
        match self {
            Self::Embedded(_) => 1,
            Self::JetStream(log) => log.shards(),
        }
    }

    /// Records of all transcripts of a shard after `after`, in order, at most `limit`.
    pub async fn scan(&self, shard: Shard, after: Position, limit: usize) -> Result<Vec<Scanned>, ReadError> {
        match self {
            Self::Embedded(log) => log.scan(after, limit).await,
            Self::JetStream(log) => log.scan(shard, after, limit).await,
        }
    }

    /// Waits until there is a transcript's record of the shard after `after`.
    pub async fn wait_after(&self, shard: Shard, after: Position) {
        match self {
            Self::Embedded(log) => log.wait_after(after).await,
            Self::JetStream(log) => log.wait_after(shard, after).await,
        }
    }

    /// The place of the last record of all transcripts of a shard.
    pub fn last_position(&self, shard: Shard) -> Position {
        match self {
            Self::Embedded(log) => log.last_position(),
            Self::JetStream(log) => log.last_position(shard),
        }
    }

    /// Asks for the place of the last record ever stored of all transcripts, also by others.
    pub async fn look_last_position(&self, shard: Shard) -> Result<Position, ReadError> {
        match self {
            Self::Embedded(log) => Ok(log.last_position()),
            Self::JetStream(log) => log.look_last_position(shard).await,
        }
    }

    /// What kind of log it is, in a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::JetStream(_) => "jetstream",
        }
    }

    /// Which log this shard is of.
    pub fn identity(&self, shard: Shard) -> Identity {
        match self {
            Self::Embedded(log) => log.identity(),
            Self::JetStream(log) => log.identity(shard),
        }
    }

    /// Tells the log that the store holds everything of a shard up to `position`: older records may expire.
    pub fn projected(&self, _shard: Shard, position: Position) {
        match self {
            Self::Embedded(log) => log.projected(position),
            // Streams keep what they have as long as they are told to, and no longer.
            Self::JetStream(_) => {}
        }
    }

    /// Keeps how far a reply got, in place of what was kept before. Gives its sequence. Where others write, too, it is
    /// fenced: `expected` is the sequence of what was kept before, 0 where nothing was.
    pub async fn put_snapshot(&self, reply: ReplyId, expected: u64, snapshot: Bytes) -> Result<u64, AppendError> {
        match self {
            Self::Embedded(log) => log.put_snapshot(reply, snapshot).await.map(|()| 0),
            Self::JetStream(log) => log.put_snapshot(reply, expected, snapshot).await,
        }
    }

    /// How far a reply got when that was last kept.
    pub async fn snapshot(&self, reply: ReplyId) -> Result<Option<Stored>, ReadError> {
        match self {
            Self::Embedded(log) => log.snapshot(reply).await,
            Self::JetStream(log) => log.snapshot(reply).await,
        }
    }

    /// Erases a reply's snapshot.
    pub async fn erase_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.erase_snapshot(reply).await,
            Self::JetStream(log) => log.erase_snapshot(reply).await,
        }
    }

    /// Erases the snapshot of a reply that is deleted, and keeps one from being written by whoever has not heard of that.
    pub async fn seal_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.seal_snapshot(reply).await,
            Self::JetStream(log) => log.seal_snapshot(reply).await,
        }
    }

    /// Notes that `instance` generates `reply`.
    pub async fn hold(&self, instance: InstanceId, reply: ReplyId) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.hold(instance, reply).await,
            Self::JetStream(log) => log.hold(instance, reply).await,
        }
    }

    /// Notes that nobody needs to generate `reply` any more. Lost when the process dies: then it is found again.
    pub fn release(&self, reply: ReplyId) {
        match self {
            Self::Embedded(log) => log.release(reply),
            Self::JetStream(log) => log.release(reply),
        }
    }

    /// Takes replies that were ended or taken up from the tickets of an instance that is dead.
    pub async fn retire(&self, instance: InstanceId, replies: Vec<ReplyId>) -> Result<(), AppendError> {
        match self {
            // Whoever takes a reply up writes its own ticket in the place of the other.
            Self::Embedded(_) => Ok(()),
            Self::JetStream(log) => log.retire(instance, replies).await,
        }
    }

    /// All replies that some instance generates or generated when it died.
    pub async fn tickets(&self) -> Result<Vec<(InstanceId, ReplyId)>, ReadError> {
        match self {
            Self::Embedded(log) => Ok(log.tickets()),
            Self::JetStream(log) => log.tickets().await,
        }
    }

    /// Keeps a blob of a thread under its content's hash. Keeping it again refreshes it.
    pub async fn put_blob(&self, thread: ThreadId, hash: [u8; 32], blob: Bytes) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.put_blob(thread, hash, blob).await,
            Self::JetStream(log) => log.put_blob(thread, hash, blob).await,
        }
    }

    /// A blob of a thread.
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, ReadError> {
        match self {
            Self::Embedded(log) => log.blob(thread, hash).await,
            Self::JetStream(log) => log.blob(thread, hash).await,
        }
    }

    /// Erases blobs of a thread.
    pub async fn erase_blobs(&self, thread: ThreadId, hashes: HashSet<[u8; 32]>) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.erase_blobs(thread, hashes).await,
            Self::JetStream(log) => log.erase_blobs(thread, hashes).await,
        }
    }

    /// Erases what is older than `retention` (transcripts that the store holds, snapshots, blobs) and chains older
    /// than `replay_window` that no ticket holds.
    pub async fn expire(&self, retention: Duration, replay_window: Duration) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.expire(retention, replay_window).await,
            // The streams see to it themselves.
            Self::JetStream(_) => Ok(()),
        }
    }

    /// Whether something new may be accepted. Asks nobody: tells what the last writes and looks told.
    pub fn admits(&self) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.admits(),
            Self::JetStream(log) => log.admits(),
        }
    }

    /// Whether it can be reached. Asks nobody: tells the state of the connection.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::JetStream(log) => log.is_connected(),
        }
    }

    /// Looks whether there is space; to be called about once a second.
    pub async fn check_space(&self) {
        match self {
            Self::Embedded(log) => log.check_space().await,
            // The servers refuse what they have no space for.
            Self::JetStream(_) => {}
        }
    }
}

impl Subscription {
    /// The next record. `None`: the log cannot be read.
    pub async fn next(&mut self) -> Option<Stored> {
        match self {
            Self::Embedded(subscription) => subscription.next().await,
            Self::JetStream(subscription) => subscription.next().await,
        }
    }
}

/// The time, in milliseconds of Unix time.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
