//! How far a reply got, so that its records need not be read from the first.

use bytes::Bytes;

use super::{AppendError, Log, ReadError, Stored};
use crate::domain::ids::ReplyId;

/// How far a reply got, so that its records need not be read from the first.
#[derive(Clone, Copy)]
pub struct Snapshots<'a>(pub(super) &'a Log);

impl Snapshots<'_> {
    /// Stores a snapshot of a reply, in place of the one before. Returns its sequence. If others write, too, it is
    /// fenced: `expected` is the sequence of the snapshot before, 0 if there was none.
    pub async fn put(self, reply: ReplyId, expected: u64, snapshot: Bytes) -> Result<u64, AppendError> {
        match self.0 {
            Log::Embedded(log) => log.put_snapshot(reply, snapshot).await.map(|()| 0),
            Log::JetStream(log) => log.put_snapshot(reply, expected, snapshot).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.put_snapshot(reply, expected, snapshot).await,
        }
    }

    /// The last snapshot of a reply.
    pub async fn get(self, reply: ReplyId) -> Result<Option<Stored>, ReadError> {
        match self.0 {
            Log::Embedded(log) => log.snapshot(reply).await,
            Log::JetStream(log) => log.snapshot(reply).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.snapshot(reply).await,
        }
    }

    /// Erases a reply's snapshot.
    pub async fn erase(self, reply: ReplyId) -> Result<(), AppendError> {
        match self.0 {
            Log::Embedded(log) => log.erase_snapshot(reply).await,
            Log::JetStream(log) => log.erase_snapshot(reply).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.erase_snapshot(reply).await,
        }
    }

    /// Erases the snapshot of a reply that is deleted, and prevents a new one by an instance that has not heard of
    /// that.
    pub async fn seal(self, reply: ReplyId) -> Result<(), AppendError> {
        match self.0 {
            Log::Embedded(log) => log.seal_snapshot(reply).await,
            Log::JetStream(log) => log.seal_snapshot(reply).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.seal_snapshot(reply).await,
        }
    }
}
