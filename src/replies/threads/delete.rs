//! Deletion: a change of the transcript first, then the erasure of what it names.

use std::collections::HashSet;

use super::super::{Busy, Result};
use super::{Threads, blobs};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::record::{Change, TranscriptRecord};
use crate::domain::remains::{Erasure, Fate};
use crate::domain::thread::Thread;
use crate::log::{AppendError, Subject};

impl Threads {
    /// Marks a reply as deleted, unless it is, and erases its records, snapshot and blobs. Can be done again.
    pub(crate) async fn delete_reply(&self, reply: ReplyId) -> Result<()> {
        for _ in 0..super::MOST_TRIES {
            let mut known = self.read(reply.thread()).await?;
            let stored = self.log_records(reply.thread()).await?;
            let Erasure { mut own, erased, left } = Erasure::plan(&stored, |record| goes_if(belongs(record, reply)));
            if known.thread.reply(reply).is_some() {
                if !self.append(&mut known, Change::ReplyDeleted { reply, erased, left }).await? {
                    continue;
                }
            } else {
                // What other deletions carry of it is erased by the record of its deletion.
                own.retain(|(_, record)| belongs(record, reply));
            }
            return self.erase_reply(reply, Some(&known.thread), own).await;
        }
        Err(Busy::Contention.into())
    }

    async fn erase_reply(
        &self,
        reply: ReplyId,
        thread: Option<&Thread>,
        own: Vec<(u64, TranscriptRecord)>,
    ) -> Result<()> {
        self.erase_reply_log(reply).await?;
        self.log.snapshots().seal(reply).await?;
        // Last: as long as they are there, the deletion is not complete.
        self.erase_records(reply.thread(), thread, own).await
    }

    /// Erases how a reply was generated, but for a last record without text: that is the fence.
    pub(super) async fn erase_reply_log(&self, reply: ReplyId) -> Result<()> {
        let subject = Subject::ReplyLog(reply);
        if let Some(last) = self.log.records().last(subject).await? {
            // It marks the reply as deleted, or was done; it is the fence.
            let mut fence = last.sequence;
            if holds_text(&last.payload) {
                self.fence_deleted(reply, last.sequence).await?;
                fence += 1;
            }
            self.log.records().erase_before(subject, fence).await?;
        }
        Ok(())
    }

    /// Moves the fence of an ended reply log to a record without text, so that the one before it can be erased.
    async fn fence_deleted(&self, reply: ReplyId, last: u64) -> Result<()> {
        use crate::domain::record::{ReplyLogEntry, ReplyLogRecord, VERSION};
        let record = ReplyLogRecord { v: VERSION, epoch: 0, nonce: 0, entry: ReplyLogEntry::Deleted };
        match self.log.records().append_deletion(Subject::ReplyLog(reply), last, record.encode().into()).await {
            Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Marks a conversation as deleted and erases the items that clients added. Its replies stay.
    pub(crate) async fn delete_conversation(&self, id: ThreadId) -> Result<()> {
        for _ in 0..super::MOST_TRIES {
            let mut known = self.read(id).await?;
            let stored = self.log_records(id).await?;
            let Erasure { mut own, erased, left } = Erasure::plan(&stored, |record| goes_if(is_clients(record)));
            let owner = known.thread.conversation().map(|conversation| conversation.owner.clone());
            if let Some(owner) = owner {
                if !self.append(&mut known, Change::ConversationDeleted { erased, left, owner }).await? {
                    continue;
                }
            } else {
                own.retain(|(_, record)| is_clients(record));
            }
            return self.erase_records(id, Some(&known.thread), own).await;
        }
        Err(Busy::Contention.into())
    }

    /// Erases records of a thread and the blobs that nothing else refers to, once the deletion is stored.
    pub(super) async fn erase_records(
        &self,
        id: ThreadId,
        thread: Option<&Thread>,
        own: Vec<(u64, TranscriptRecord)>,
    ) -> Result<()> {
        let hashes = thread.map(|thread| unused_blobs(thread, &own)).unwrap_or_default();
        if !hashes.is_empty() {
            self.log.blobs().erase(id, hashes).await?;
        }
        let sequences = own.into_iter().map(|(sequence, _)| sequence).collect();
        Ok(self.log.records().erase(Subject::Transcript(id), sequences).await?)
    }

    /// Completes a deletion from its record, after a crash: what it names is erased. Does nothing for
    /// other records, and nothing to what is erased already.
    pub(crate) async fn finish_deletion(&self, thread: ThreadId, change: &Change) -> Result<()> {
        let named = |record: &TranscriptRecord| names(change, record.ordinal);
        let own = match change {
            Change::ReplyDeleted { reply, .. } => {
                self.left_of(thread, |record| belongs(record, *reply) || named(record)).await?
            }
            Change::ConversationDeleted { .. } => {
                self.left_of(thread, |record| is_clients(record) || named(record)).await?
            }
            Change::ItemDeleted { .. } => self.left_of(thread, named).await?,
            _ => return Ok(()),
        };
        // They are erased last: if they are gone, so is the rest.
        if own.is_empty() {
            return Ok(());
        }
        // Without the thread it is not known what else shows an image; it goes with its retention.
        let known = self.read(thread).await.ok();
        let known = known.as_ref().map(|known| &known.thread);
        match change {
            Change::ReplyDeleted { reply, .. } => self.erase_reply(*reply, known, own).await,
            Change::ItemDeleted { item, left } => self.erase_item(thread, known, item, left, own).await,
            _ => self.erase_records(thread, known, own).await,
        }
    }

    /// Records of a thread that the log still holds, of those that are meant; what cannot be decoded is passed over.
    async fn left_of(
        &self,
        thread: ThreadId,
        is_meant: impl Fn(&TranscriptRecord) -> bool,
    ) -> Result<Vec<(u64, TranscriptRecord)>> {
        let stored = self.log.records().read(Subject::Transcript(thread), 0).await?;
        let record = |stored: &crate::log::Stored| {
            let record = TranscriptRecord::decode(&stored.payload).ok()?;
            is_meant(&record).then_some((stored.sequence, record))
        };
        Ok(stored.iter().filter_map(record).collect())
    }

    /// The records of a thread that the log holds, with their sequences there.
    pub(super) async fn log_records(&self, id: ThreadId) -> Result<Vec<(u64, TranscriptRecord)>> {
        let stored = self.log.records().read(Subject::Transcript(id), 0).await?;
        super::decode(&stored)
    }
}

/// Blobs that these records refer to, and nothing else in the thread.
fn unused_blobs(thread: &Thread, own: &[(u64, TranscriptRecord)]) -> HashSet<blobs::Hash> {
    // Items of a conversation that is deleted use nothing any more; its replies stay.
    let items = if thread.conversation().is_some() { thread.items() } else { Vec::new() };
    let others = thread.replies().flat_map(|entry| entry.accepted.input.iter()).chain(&items);
    let others = others.filter(|item| !thread.was_item_deleted(item.id()));
    let still_used: HashSet<_> = others.flat_map(blobs::of_item).collect();
    let hashes = own.iter().flat_map(|(_, record)| blobs::referenced(&record.change));
    hashes.filter(|hash| !still_used.contains(hash)).collect()
}

/// Whether a deletion erases the record of this ordinal, or carries what is left of it.
fn names(change: &Change, ordinal: u64) -> bool {
    change.erased().contains(&ordinal) || change.left().iter().any(|record| record.ordinal == ordinal)
}

const fn goes_if(is_meant: bool) -> Fate {
    if is_meant { Fate::Goes } else { Fate::Stays }
}

/// Whether a record holds what clients put into a conversation.
pub(super) fn is_clients(record: &TranscriptRecord) -> bool {
    matches!(record.change, Change::ConversationCreated { .. } | Change::ItemsAdded { .. } | Change::MetadataSet { .. })
}

fn belongs(record: &TranscriptRecord, reply: ReplyId) -> bool {
    of_reply(record) == Some(reply)
}

/// The reply whose request or output a record holds.
pub(super) fn of_reply(record: &TranscriptRecord) -> Option<ReplyId> {
    match &record.change {
        Change::Accepted(accepted) => Some(accepted.reply),
        Change::Ended(ended) => Some(ended.reply),
        _ => None,
    }
}

/// Whether a reply log's record may hold output.
fn holds_text(payload: &[u8]) -> bool {
    use crate::domain::record::{ReplyLogEntry, ReplyLogRecord};
    match ReplyLogRecord::decode(payload) {
        Ok(record) => {
            matches!(
                record.entry,
                ReplyLogEntry::Events { .. } | ReplyLogEntry::TextEnded { .. } | ReplyLogEntry::Done(_)
            )
        }
        Err(_) => !payload.is_empty(),
    }
}
