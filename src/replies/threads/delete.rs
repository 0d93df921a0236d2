//! Deletion: a change of the transcript first, then the erasure of what it names.

use std::collections::HashSet;

use super::super::{Busy, Result};
use super::{Threads, blobs};
use crate::conversation::ids::{ReplyId, ThreadId};
use crate::conversation::record::{Change, TranscriptRecord};
use crate::conversation::thread::Thread;
use crate::log::{AppendError, Subject};

impl Threads {
    /// Marks a reply as deleted, unless it is, and erases its records, snapshot and blobs. Can be done again.
    pub(crate) async fn delete_reply(&self, reply: ReplyId) -> Result<()> {
        for _ in 0..super::MOST_TRIES {
            let mut known = self.read(reply.thread()).await?;
            let own = self.log_records(reply.thread()).await?;
            let own: Vec<_> = own.into_iter().filter(|(_, record)| belongs(record, reply)).collect();
            if known.thread.reply(reply).is_some() {
                let erased = own.iter().map(|(_, record)| record.ordinal).collect();
                if !self.append(&mut known, Change::ReplyDeleted { reply, erased }).await? {
                    continue;
                }
            }
            return self.erase_reply(reply, &known.thread, own).await;
        }
        Err(Busy::Contention.into())
    }

    async fn erase_reply(&self, reply: ReplyId, thread: &Thread, own: Vec<(u64, TranscriptRecord)>) -> Result<()> {
        let mut hashes: HashSet<_> = own.iter().flat_map(|(_, record)| blobs::referenced(&record.change)).collect();
        let items = thread.items();
        let others = thread.replies().flat_map(|entry| entry.accepted.input.iter()).chain(&items);
        let still_used: HashSet<_> = others.flat_map(blobs::of_item).collect();
        hashes.retain(|hash| !still_used.contains(hash));

        let subject = Subject::Chain(reply);
        let chain = self.log.records().read(subject, 0).await?;
        let mut sequences: Vec<_> = chain.iter().map(|record| record.sequence).collect();
        // The last one says that the reply is deleted, or was done; it is the fence.
        let last = sequences.pop();
        if let Some(last) = chain.last().filter(|record| holds_text(&record.payload)) {
            self.fence_deleted(reply, last.sequence).await?;
            sequences.extend(Some(last.sequence));
        }
        debug_assert!(last.is_some() || chain.is_empty(), "a chain that is not empty has a last record");
        self.log.records().erase(subject, sequences).await?;
        self.log.snapshots().seal(reply).await?;
        let sequences = own.into_iter().map(|(sequence, _)| sequence).collect();
        self.log.records().erase(Subject::Transcript(reply.thread()), sequences).await?;
        if !hashes.is_empty() {
            self.log.blobs().erase(reply.thread(), hashes).await?;
        }
        Ok(())
    }

    /// Moves the fence of an ended chain to a record without text, so that the one before it can be erased.
    async fn fence_deleted(&self, reply: ReplyId, last: u64) -> Result<()> {
        use crate::conversation::record::{ChainEntry, ChainRecord, VERSION};
        let record = ChainRecord { v: VERSION, epoch: 0, nonce: 0, entry: ChainEntry::Deleted };
        match self.log.records().append(Subject::Chain(reply), last, record.encode().into()).await {
            Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Marks a conversation as deleted and erases the items that clients added. Its replies stay.
    pub(crate) async fn delete_conversation(&self, id: ThreadId) -> Result<()> {
        for _ in 0..super::MOST_TRIES {
            let mut known = self.read(id).await?;
            let mut own = self.log_records(id).await?;
            own.retain(|(_, record)| {
                matches!(
                    record.change,
                    Change::ConversationCreated { .. } | Change::ItemsAdded { .. } | Change::MetadataSet { .. }
                )
            });
            if known.thread.conversation().is_some() {
                let erased = own.iter().map(|(_, record)| record.ordinal).collect();
                if !self.append(&mut known, Change::ConversationDeleted { erased }).await? {
                    continue;
                }
            }
            let sequences = own.into_iter().map(|(sequence, _)| sequence).collect();
            return Ok(self.log.records().erase(Subject::Transcript(id), sequences).await?);
        }
        Err(Busy::Contention.into())
    }

    /// The records of a thread that the log holds, with their sequences there.
    async fn log_records(&self, id: ThreadId) -> Result<Vec<(u64, TranscriptRecord)>> {
        let stored = self.log.records().read(Subject::Transcript(id), 0).await?;
        let decoded = super::decode(&stored)?;
        Ok(stored.iter().map(|stored| stored.sequence).zip(decoded).collect())
    }
}

fn belongs(record: &TranscriptRecord, reply: ReplyId) -> bool {
    match &record.change {
        Change::Accepted(accepted) => accepted.reply == reply,
        Change::Ended(ended) => ended.reply == reply,
        _ => false,
    }
}

/// Whether a chain's record may hold something that was said.
fn holds_text(payload: &[u8]) -> bool {
    use crate::conversation::record::{ChainEntry, ChainRecord};
    match ChainRecord::decode(payload) {
        Ok(record) => matches!(record.entry, ChainEntry::Events { .. } | ChainEntry::Said { .. } | ChainEntry::Done(_)),
        Err(_) => !payload.is_empty(),
    }
}
