//! Whether what is shown here is all that clients may have seen elsewhere.
//!
//! A feed is behind the log for a moment: a subscription was cut, or the server of the log stored a record and its answer
//! was lost, so that the writer itself does not know yet. What a client has seen on another instance counts here, too.

use std::sync::Arc;

use super::super::Result;
use super::super::feed::Feed;
use super::Threads;
use crate::domain::layout::expand;
use crate::domain::record::{ReplyLogEntry, ReplyLogRecord};
use crate::log::Subject;

impl Threads {
    /// Ends a feed whose reply has ended, as the log's leader has it.
    pub(crate) async fn settle(&self, feed: &Arc<Feed>) -> Result<()> {
        // What the embedded log has stored, this process has been told.
        if feed.end().is_some() || !self.log.is_shared() {
            return Ok(());
        }
        let Some(last) = self.log.records().last(Subject::ReplyLog(feed.id())).await? else { return Ok(()) };
        if let Some(ReplyLogEntry::Done(done)) = entry(&last.payload) {
            let events = expand(feed.accepted().params.background, &done.ended.said, &done.ended.layout);
            feed.complete(events?, done.ended);
        }
        Ok(())
    }

    /// Whether the event of sequence number `from` is the next of a reply, or one that there is: here already, or stored
    /// and on its way here.
    pub(crate) async fn reaches(&self, feed: &Arc<Feed>, from: u64) -> Result<bool> {
        let is_here = || from <= feed.next_sequence();
        if is_here() || feed.end().is_some() || !self.log.is_shared() {
            return Ok(is_here());
        }
        self.settle(feed).await?;
        let records = self.log.records().read(Subject::ReplyLog(feed.id()), 0).await?;
        let stored = records.iter().filter_map(|record| next_after(entry(&record.payload)?)).max();
        Ok(is_here() || stored.is_some_and(|next| from <= next))
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
