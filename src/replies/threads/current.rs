//! Whether what is shown here is all that clients may have seen elsewhere.
//!
//! A feed is behind the log for a moment: a subscription was cut, or the server of the log stored a record and its answer
//! was lost, so that the writer itself does not know yet. What a client has seen on another instance counts here, too.

use std::sync::Arc;

use super::super::feed::Feed;
use super::super::{Missing, Result};
use super::Threads;
use crate::domain::layout::expand;
use crate::domain::record::{ReplyLogEntry, ReplyLogRecord};
use crate::log::Subject;

impl Threads {
    /// Ends a feed whose reply has ended, as the log's leader has it.
    pub(crate) async fn settle(&self, feed: &Arc<Feed>) -> Result<()> {
        // This process has seen everything that the embedded log has stored.
        if feed.end().is_some() || !self.log.is_shared() {
            return Ok(());
        }
        let Some(last) = self.log.records().last(Subject::ReplyLog(feed.id())).await? else { return Ok(()) };
        if let Some(ReplyLogEntry::Done(done)) = entry(&last.payload) {
            let events = expand(feed.accepted().params.background, &done.ended.content, &done.ended.layout);
            feed.complete(events?, done.ended);
        }
        Ok(())
    }

    /// Whether the event of sequence number `from` is the next of a reply, or one that there is: here already, or stored
    /// and on its way here.
    ///
    /// # Errors
    /// That there is no such reply, while another instance deletes it: its followers may have seen more than is left here.
    pub(crate) async fn reaches(&self, feed: &Arc<Feed>, from: u64) -> Result<bool> {
        let is_here = || from <= feed.next_sequence();
        if is_here() {
            return Ok(true);
        }
        self.settle(feed).await?;
        let records = self.log.records().read(Subject::ReplyLog(feed.id()), 0).await?;
        let entries: Vec<_> = records.iter().filter_map(|record| entry(&record.payload)).collect();
        if let Some(ReplyLogEntry::Deleted) = entries.last() {
            return Err(Missing::Reply(feed.id()).into());
        }
        let stored = entries.into_iter().filter_map(next_after).max();
        Ok(is_here() || feed.end().is_none() && stored.is_some_and(|next| from <= next))
    }
}

fn entry(payload: &[u8]) -> Option<ReplyLogEntry> {
    ReplyLogRecord::decode(payload).ok().map(|record| record.entry)
}

/// The number of the event after those of a record.
fn next_after(entry: ReplyLogEntry) -> Option<u64> {
    match entry {
        ReplyLogEntry::Events { first, events, .. } => Some(first + events.len() as u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::caller::{Caller, Scopes};
    use crate::domain::record::ReplyLogEntry;
    use crate::replies::testing::Instance;
    use crate::replies::{Error, Invalid, Missing};

    #[tokio::test]
    async fn past_the_last_event_of_a_reply_that_another_deletes_there_is_no_reply() {
        let (one, caller) = (Instance::start().await, Caller::anonymous(Scopes::USE));
        let reply = one.orphan("echo", "one two three").await.reply;
        let feed = one.replies.follow(&caller, reply, 0).await.unwrap();
        feed.wait_end().await.unwrap();
        let past = async || one.replies.follow(&caller, reply, 1000).await.map(drop);
        assert!(matches!(past().await, Err(Error::Invalid(Invalid::PastEnd { .. }))));
        one.write(reply, 1, ReplyLogEntry::Deleted).await;
        assert!(matches!(past().await, Err(Error::NotFound(Missing::Reply(_)))));
    }
}
