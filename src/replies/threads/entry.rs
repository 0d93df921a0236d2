//! One reply of a thread, read without the rest: what is older than the log, the store has in a row.

use super::super::Result;
use super::{Threads, decode, is_complete, lost};
use crate::domain::ids::ReplyId;
use crate::domain::record::{Change, TranscriptRecord, VERSION};
use crate::domain::remains::restore;
use crate::domain::thread::{ReplyEntry, Thread};
use crate::log::Subject;
use crate::store::StoredReply;

impl Threads {
    /// A reply in its thread, also a deleted one, as [`Threads::read`] has it.
    pub(crate) async fn entry(&self, reply: ReplyId) -> Result<Option<ReplyEntry>> {
        let id = reply.thread();
        let stored = self.log.records().read(Subject::Transcript(id), 0).await?;
        let decoded = decode(&stored)?;
        let is_damaged = !lost(&stored, &decoded).is_empty();
        let mut records: Vec<_> = decoded.into_iter().map(|(_, record)| record).collect();
        restore(&mut records);
        let accepts =
            |record: &TranscriptRecord| matches!(&record.change, Change::Accepted(known) if known.reply == reply);
        let mut thread = Thread::new(id);
        if is_damaged {
            return self.entry_of_whole(reply).await;
        }
        if !records.iter().any(accepts) && !is_complete(&records) {
            match self.store.reply(reply).await? {
                Some(StoredReply { ordinal, texts: Some((accepted, ended)) }) => {
                    let change = Change::Accepted(accepted);
                    thread.apply(&TranscriptRecord { v: VERSION, ordinal, at: 0, change });
                    if let Some(ended) = ended {
                        thread.end(&ended);
                    }
                }
                // It was deleted, there is none, or the store lags: only the whole thread shows which.
                Some(StoredReply { texts: None, .. }) | None => return self.entry_of_whole(reply).await,
            }
        }
        for record in records.iter().filter(|record| concerns(record, reply)) {
            thread.apply(record);
        }
        Ok(thread.any_reply(reply).cloned())
    }

    async fn entry_of_whole(&self, reply: ReplyId) -> Result<Option<ReplyEntry>> {
        Ok(self.read(reply.thread()).await?.thread.any_reply(reply).cloned())
    }
}

/// Whether a record concerns this reply.
fn concerns(record: &TranscriptRecord, reply: ReplyId) -> bool {
    match &record.change {
        Change::Accepted(accepted) => accepted.reply == reply,
        Change::Ended(ended) => ended.reply == reply,
        Change::Spoken { reply: other, .. } | Change::ReplyDeleted { reply: other, .. } => *other == reply,
        _ => false,
    }
}
