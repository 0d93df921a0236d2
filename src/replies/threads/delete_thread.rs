//! Deletion of a thread as a whole: each of its replies, and the conversation. Read and erased once, however long it is.

use std::collections::{BTreeSet, HashSet};

use super::super::{Busy, Result};
use super::Threads;
use super::delete::{is_clients, of_reply};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::record::{Change, TranscriptRecord};
use crate::domain::remains::{Erasure, Fate};
use crate::domain::thread::{ReplyEntry, Thread};

impl Threads {
    /// Deletes every reply of a thread and its conversation, if `check` allows it: none of them may run any more. Can be done
    /// again. Whether it was deleted.
    pub(crate) async fn delete_thread(&self, id: ThreadId, check: impl Fn(&Thread) -> bool) -> Result<bool> {
        for _ in 0..super::MOST_TRIES {
            let mut known = self.read(id).await?;
            if !check(&known.thread) {
                return Ok(false);
            }
            if known.thread.replies().any(ReplyEntry::runs) {
                return Err(Busy::Stopping.into());
            }
            let replies: Vec<ReplyId> = known.thread.replies().map(|entry| entry.accepted.reply).collect();
            let stored = self.log_records(id).await?;
            let mut plan =
                Erasure::plan(&stored, |record| if says_anything(record) { Fate::Goes } else { Fate::Stays });
            let mut changes = changes(&known.thread, &replies, &stored);
            match changes.last_mut() {
                Some(last) => carry(last, &plan),
                // What other deletions carry is erased by the records of their deletions.
                None => plan.own.retain(|(_, record)| says_anything(record)),
            }
            // What was there before a record that did not fit was stored is deleted already; the rest is planned anew.
            let mut is_overtaken = false;
            for change in changes {
                if !self.append(&mut known, change).await? {
                    is_overtaken = true;
                    break;
                }
            }
            if is_overtaken {
                continue;
            }
            // Those, too, that were deleted before, and whose records are erased below: nobody would find the rest of them.
            let broken_off = plan.own.iter().filter_map(|(_, record)| of_reply(record));
            let all: BTreeSet<ReplyId> = replies.into_iter().chain(broken_off).collect();
            for reply in all {
                self.erase_generated(reply).await?;
            }
            self.erase_records(id, Some(&known.thread), plan.own).await?;
            return Ok(true);
        }
        Err(Busy::Contention.into())
    }

    /// Erases what the log has of how a reply was generated, where that is still there.
    async fn erase_generated(&self, reply: ReplyId) -> Result<()> {
        self.feeds.forget(reply);
        self.erase_reply_log(reply).await?;
        Ok(self.log.snapshots().seal(reply).await?)
    }
}

/// What deletes the thread: the replies one by one, so that each is known as deleted; then the conversation.
fn changes(thread: &Thread, replies: &[ReplyId], stored: &[(u64, TranscriptRecord)]) -> Vec<Change> {
    let of = |reply: ReplyId| {
        let own = stored.iter().filter(|(_, record)| of_reply(record) == Some(reply));
        let erased = own.map(|(_, record)| record.ordinal).collect();
        Change::ReplyDeleted { reply, erased, left: Vec::new() }
    };
    let conversation = thread.conversation().map(|conversation| Change::ConversationDeleted {
        erased: Vec::new(),
        left: Vec::new(),
        owner: conversation.owner.clone(),
    });
    replies.iter().copied().map(of).chain(conversation).collect()
}

/// Makes the last of the deletions name what all of them erase, also what earlier deletions carry.
fn carry(last: &mut Change, plan: &Erasure) {
    if let Change::ReplyDeleted { erased, left, .. } | Change::ConversationDeleted { erased, left, .. } = last {
        let known: HashSet<u64> = erased.iter().copied().collect();
        erased.extend(plan.erased.iter().filter(|ordinal| !known.contains(ordinal)));
        left.clone_from(&plan.left);
    }
}

/// Whether a record holds what somebody wrote or a model generated.
fn says_anything(record: &TranscriptRecord) -> bool {
    is_clients(record) || of_reply(record).is_some()
}
