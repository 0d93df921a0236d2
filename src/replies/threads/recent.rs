//! The last turns of a long thread: a page of them is shown without reading all that was before.

use std::collections::HashSet;

use super::super::Result;
use super::{Logged, Threads, is_bridged};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::Item;
use crate::domain::record::{Change, TranscriptRecord};
use crate::domain::remains::restore;
use crate::domain::thread::Thread;
use crate::store::{StoredRecent, StoredReply};

#[cfg(test)]
mod tests;

/// The last turns of a thread.
pub(crate) struct Recent {
    /// The thread, from these records.
    pub(crate) thread: Thread,
    /// They are all there are.
    pub(crate) is_whole: bool,
}

impl Threads {
    /// The last turns of a thread, as [`Threads::look`] has them, and none of those before: up to its end, or at least up
    /// to the reply that an item belongs to. All of it if the log has that. `None`: that takes the whole thread.
    pub(crate) async fn look_recent(&self, id: ThreadId, until: Option<&str>) -> Result<Option<Recent>> {
        let Logged { mut records, lost, is_behind, is_whole, .. } = self.logged(id).await?;
        if is_whole {
            restore(&mut records);
            let mut thread = folded(id, &records);
            self.add_ends(&mut thread).await?;
            return Ok(Some(Recent { thread, is_whole }));
        }
        if is_behind || !lost.is_empty() {
            return Ok(None);
        }
        let Some(until) = self.ordinal_of(id, until).await? else { return Ok(None) };
        let StoredRecent { last, first, records: mut all } = self.store.recent(id, until).await?;
        // The beginning is near, or it takes more to know what comes after the last.
        if first == 0 || !is_bridged(&records, last, &HashSet::new()) {
            return Ok(None);
        }
        all.extend(records.into_iter().filter(|record| record.ordinal > last));
        restore(&mut all);
        all.retain_mut(|record| record.ordinal >= first || is_of_all(record));
        let mut thread = folded(id, &all);
        if names_older_items(&thread) {
            return Ok(None);
        }
        self.add_ends(&mut thread).await?;
        Ok(Some(Recent { thread, is_whole }))
    }

    /// The ordinal of the reply that an item belongs to, or the last there can be. `None`: it is not in the store.
    async fn ordinal_of(&self, id: ThreadId, item: Option<&str>) -> Result<Option<u64>> {
        let Some(item) = item else { return Ok(Some(u64::MAX)) };
        let Some(reply) = ReplyId::of_item(item).ok().filter(|reply| reply.thread() == id) else { return Ok(None) };
        Ok(self.store.reply(reply).await?.map(|StoredReply { ordinal, .. }| ordinal))
    }
}

fn folded(id: ThreadId, records: &[TranscriptRecord]) -> Thread {
    let mut thread = Thread::new(id);
    for record in records {
        thread.apply(record);
    }
    thread
}

/// Whether an old record concerns the whole thread. What it holds of old items is taken out.
fn is_of_all(record: &mut TranscriptRecord) -> bool {
    match &mut record.change {
        Change::ConversationCreated { items, .. } => {
            items.clear();
            true
        }
        Change::MetadataSet { .. }
        | Change::ItemDeleted { .. }
        | Change::ReplyDeleted { .. }
        | Change::ConversationDeleted { .. } => true,
        Change::Accepted(_) | Change::Ended(_) | Change::Spoken { .. } | Change::ItemsAdded { .. } => false,
    }
}

/// Whether a request was made with an item that may have been in the thread before, under its id: then it stands there.
fn names_older_items(thread: &Thread) -> bool {
    let is_own = |reply: ReplyId, item: &Item| ReplyId::of_item(item.id()).is_ok_and(|of| of == reply);
    thread.replies().any(|entry| !entry.accepted.input.iter().all(|item| is_own(entry.accepted.reply, item)))
}
