//! What is too large for a record, by the hash of its content.

use std::collections::HashSet;

use bytes::Bytes;

use super::{AppendError, Log, ReadError};
use crate::domain::ids::ThreadId;

/// What is too large for a record, by the hash of its content.
#[derive(Clone, Copy)]
pub struct Blobs<'a>(pub(super) &'a Log);

impl Blobs<'_> {
    /// Keeps a blob of a thread under its content's hash. Keeping it again refreshes it.
    pub async fn put(self, thread: ThreadId, hash: [u8; 32], blob: Bytes) -> Result<(), AppendError> {
        match self.0 {
            Log::Embedded(log) => log.put_blob(thread, hash, blob).await,
            Log::JetStream(log) => log.put_blob(thread, hash, blob).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.put_blob(thread, hash, blob).await,
        }
    }

    /// A blob of a thread.
    pub async fn get(self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, ReadError> {
        match self.0 {
            Log::Embedded(log) => log.blob(thread, hash).await,
            Log::JetStream(log) => log.blob(thread, hash).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.blob(thread, hash).await,
        }
    }

    /// Erases blobs of a thread.
    pub async fn erase(self, thread: ThreadId, hashes: HashSet<[u8; 32]>) -> Result<(), AppendError> {
        match self.0 {
            Log::Embedded(log) => log.erase_blobs(thread, hashes).await,
            Log::JetStream(log) => log.erase_blobs(thread, hashes).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.erase_blobs(thread, hashes).await,
        }
    }
}
