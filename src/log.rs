//! The log: where everything meets. Ordered, fenced, durable; knows records as bytes and nothing of their meaning.
//!
//! - **Subjects.** A record belongs to a [`Subject`]: the transcript of a thread, the chain of a reply. Sequences
//!   grow within a subject; 0 means that it is empty.
//! - **Fenced.** [`Log::append`] names the sequence that it expects to be the subject's last. If it is not, nothing
//!   is written and the caller learns which is: of two writers, one goes on.
//! - **Stored first.** What a reader or a [`Subscription`] sees is stored: it survives the process.
//! - **Order of the transcripts.** All transcripts together have one order, the [`Position`]s that the projection
//!   walks along with [`Log::scan`].
//!
//! [`Log`] is an enum, chosen once at start; every implementation passes the contract tests in `tests/contract`.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use crate::conversation::ids::{InstanceId, ReplyId, ThreadId};

pub mod appender;
pub mod chain;
pub mod embedded;
pub mod feed;

pub use embedded::Embedded;

/// Where records are kept.
#[derive(Clone)]
pub enum Log {
    /// In `DATA_DIR`, for one instance.
    Embedded(Embedded),
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

/// A place in the order of all transcripts; 0 is before the first.
pub type Position = u64;

/// A transcript's record, in the order of all.
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
    /// Stores `payload` as the subject's next record, if its last is `expected`. Gives the new sequence.
    pub async fn append(&self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        match self {
            Self::Embedded(log) => log.append(subject, expected, payload).await,
        }
    }

    /// Stores the first record of a subject whose id was just made at random: nobody can have written there, and
    /// nobody needs to look.
    pub async fn begin(&self, subject: Subject, payload: Bytes) -> Result<u64, AppendError> {
        match self {
            Self::Embedded(log) => log.begin(subject, payload).await,
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
        }
    }

    /// The subject's records after the sequence `after`, in order.
    pub async fn read(&self, subject: Subject, after: u64) -> Result<Vec<Stored>, ReadError> {
        match self {
            Self::Embedded(log) => log.read(subject, after).await,
        }
    }

    /// Records of the subject from now on. Subscribe first, then read the backlog, then stitch by sequence.
    pub fn subscribe(&self, subject: Subject) -> Subscription {
        match self {
            Self::Embedded(log) => Subscription::Embedded(log.subscribe(subject)),
        }
    }

    /// Erases records of a subject, for a deletion. Never the last one: that would move the fence.
    pub async fn erase(&self, subject: Subject, sequences: Vec<u64>) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.erase(subject, sequences).await,
        }
    }

    /// Records of all transcripts after `after`, in order, at most `limit`.
    pub async fn scan(&self, after: Position, limit: usize) -> Result<Vec<Scanned>, ReadError> {
        match self {
            Self::Embedded(log) => log.scan(after, limit).await,
        }
    }

    /// Waits until there is a transcript's record after `after`.
    pub async fn wait_after(&self, after: Position) {
        match self {
            Self::Embedded(log) => log.wait_after(after).await,
        }
    }

    /// The place of the last record of all transcripts.
    pub fn last_position(&self) -> Position {
        match self {
            Self::Embedded(log) => log.last_position(),
        }
    }

    /// Which log this is.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Embedded(log) => log.identity(),
        }
    }

    /// Tells the log that the store holds everything up to `position`: older records may expire.
    pub fn projected(&self, position: Position) {
        match self {
            Self::Embedded(log) => log.projected(position),
        }
    }

    /// Keeps how far a reply got, in place of what was kept before.
    pub async fn put_snapshot(&self, reply: ReplyId, snapshot: Bytes) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.put_snapshot(reply, snapshot).await,
        }
    }

    /// How far a reply got when that was last kept.
    pub async fn snapshot(&self, reply: ReplyId) -> Result<Option<Bytes>, ReadError> {
        match self {
            Self::Embedded(log) => log.snapshot(reply).await,
        }
    }

    /// Erases a reply's snapshot.
    pub async fn erase_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.erase_snapshot(reply).await,
        }
    }

    /// Notes that `instance` generates `reply`.
    pub async fn hold(&self, instance: InstanceId, reply: ReplyId) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.hold(instance, reply).await,
        }
    }

    /// Notes that nobody needs to generate `reply` any more. Lost when the process dies: then it is found again.
    pub fn release(&self, reply: ReplyId) {
        match self {
            Self::Embedded(log) => log.release(reply),
        }
    }

    /// All replies that some instance generates or generated when it died.
    pub async fn tickets(&self) -> Result<Vec<(InstanceId, ReplyId)>, ReadError> {
        match self {
            Self::Embedded(log) => log.tickets().await,
        }
    }

    /// Keeps a blob of a thread under its content's hash. Keeping it again refreshes it.
    pub async fn put_blob(&self, thread: ThreadId, hash: [u8; 32], blob: Bytes) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.put_blob(thread, hash, blob).await,
        }
    }

    /// A blob of a thread.
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, ReadError> {
        match self {
            Self::Embedded(log) => log.blob(thread, hash).await,
        }
    }

    /// Erases blobs of a thread.
    pub async fn erase_blobs(&self, thread: ThreadId, hashes: HashSet<[u8; 32]>) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.erase_blobs(thread, hashes).await,
        }
    }

    /// Erases what is older than `retention` (transcripts that the store holds, snapshots, blobs) and chains older
    /// than `replay_window` that no ticket holds.
    pub async fn expire(&self, retention: Duration, replay_window: Duration) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.expire(retention, replay_window).await,
        }
    }

    /// Whether something new may be accepted. Asks nobody: tells what the last writes and looks told.
    pub fn admits(&self) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.admits(),
        }
    }

    /// Looks whether there is space; to be called about once a second.
    pub async fn check_space(&self) {
        match self {
            Self::Embedded(log) => log.check_space().await,
        }
    }
}

impl Subscription {
    /// The next record. `None`: the log cannot be read.
    pub async fn next(&mut self) -> Option<Stored> {
        match self {
            Self::Embedded(subscription) => subscription.next().await,
        }
    }
}
