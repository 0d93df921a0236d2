//! Everything in a conversation as it happens.
//!
//! Walks the conversation's transcript. A client that follows a reply to its end before it asks for more keeps the
//! order of events: only one reply runs in a conversation. How it is written is not known here.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Arc;

use super::feed::Feed;
use super::{Replies, Result};
use crate::domain::caller::Caller;
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::Item;
use crate::domain::params::Metadata;
use crate::domain::record::{Accepted, Change, TranscriptRecord};
use crate::domain::thread::{ReplyEntry, Thread};
use crate::log::Subscription;

/// Where a client begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With what happens from now on, and the reply that is running.
    Now,
    /// After the event of this id.
    After {
        /// The ordinal of the change.
        ordinal: u64,
        /// The sequence number in its reply.
        sequence: u64,
    },
}

impl FromStr for Start {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ordinal, sequence) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self::After { ordinal: ordinal.parse()?, sequence: sequence.parse()? })
    }
}

/// Something that happened.
pub(crate) enum Happened {
    /// A reply's input, for followers that did not send it.
    Input {
        /// Which reply.
        reply: ReplyId,
        /// The items.
        items: Vec<Item>,
    },
    /// A reply, to be followed to its end.
    Reply {
        /// Its ordinal.
        ordinal: u64,
        /// Its events.
        feed: Arc<Feed>,
        /// The first of them that is new.
        from: u64,
    },
    /// Items were added.
    ItemsAdded(u64, Vec<Item>),
    /// An item was deleted.
    ItemDeleted(u64, String),
    /// A reply was deleted.
    ReplyDeleted(u64, ReplyId),
    /// The metadata were set.
    MetadataSet(u64, Metadata),
    /// The conversation was deleted. Nothing comes after it.
    Deleted(u64),
}

/// A position in a conversation's transcript.
pub(crate) struct Timeline {
    replies: Replies,
    caller: Caller,
    thread: ThreadId,
    created_at: u64,
    /// The last change that was applied. The thread itself is not stored: it may be long, and its streams many.
    last_ordinal: u64,
    subscription: Subscription,
    /// What happened, and was not emitted yet.
    ready: VecDeque<Happened>,
    /// Replies of which the client has not seen the end, oldest first: ordinal, request, first event.
    unseen: VecDeque<(u64, Arc<Accepted>, u64)>,
    /// What changed while the client was away, oldest first.
    missed: VecDeque<TranscriptRecord>,
    over: bool,
}

impl Timeline {
    /// `subscription` is older than `thread`: between them nothing is missed.
    pub(super) async fn open(
        replies: Replies,
        caller: Caller,
        thread: Thread,
        subscription: Subscription,
        start: Start,
    ) -> Result<Self> {
        let mut missed = VecDeque::new();
        if let Start::After { ordinal, .. } = start {
            missed.extend(replies.threads.records(thread.id(), ordinal).await?);
            // What came after `thread` was read comes by the subscription.
            missed.retain(|record: &TranscriptRecord| record.ordinal <= thread.last_ordinal());
        }
        let first_unseen = |entry: &ReplyEntry| match start {
            Start::Now => entry.ended.is_none().then_some(0),
            Start::After { ordinal, sequence } => (entry.ordinal == ordinal).then_some(sequence.saturating_add(1)),
        };
        let in_conversation = thread.replies().filter(|entry| entry.accepted.is_shown());
        let unseen = in_conversation
            .filter_map(|entry| Some((entry.ordinal, Arc::clone(&entry.accepted), first_unseen(entry)?)))
            .collect();
        let ready = VecDeque::new();
        let created_at = thread.conversation().map_or(0, |conversation| conversation.created_at);
        let (thread, last_ordinal) = (thread.id(), thread.last_ordinal());
        Ok(Self { replies, caller, thread, created_at, last_ordinal, subscription, ready, unseen, missed, over: false })
    }

    /// The conversation.
    pub(crate) const fn thread(&self) -> ThreadId {
        self.thread
    }

    /// When it was created, in Unix seconds.
    pub(crate) const fn created_at(&self) -> u64 {
        self.created_at
    }

    /// What comes next. `None`: the conversation is over, or cannot be followed here; the client comes back.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        loop {
            if let Some(happened) = self.ready.pop_front() {
                return Some(happened);
            }
            if let Some((ordinal, accepted, first)) = self.unseen.pop_front() {
                // Boxed: a stream on which nothing happens must not hold room for what might.
                Box::pin(self.open_reply(ordinal, &accepted, first)).await?;
                continue;
            }
            if let Some(record) = self.missed.pop_front() {
                Box::pin(self.take(record)).await;
                continue;
            }
            if self.over {
                return None;
            }
            self.read_on().await?;
        }
    }

    async fn open_reply(&mut self, ordinal: u64, accepted: &Accepted, from: u64) -> Option<()> {
        let reply = accepted.reply;
        let Ok(feed) = self.replies.owned(&self.caller, reply).await else {
            // Deleted meanwhile, or out of reach: then the client has to come back.
            let known = self.replies.threads.read(reply.thread()).await.ok()?;
            return known.thread.reply(reply).is_none().then_some(());
        };
        // A number that the reply does not have yet: what comes next is new.
        let is_reached = self.replies.threads.reaches(&feed, from).await.unwrap_or(true);
        let from = if is_reached { from } else { feed.next_sequence() };
        if from == 0 {
            self.announce_input(accepted).await;
        }
        if !(feed.is_closed() && from >= feed.next_sequence()) {
            self.ready.push_back(Happened::Reply { ordinal, feed, from });
        }
        Some(())
    }

    async fn announce_input(&mut self, accepted: &Accepted) {
        let (reply, mut items) = (accepted.reply, accepted.input.clone());
        if self.replies.threads.attach(reply.thread(), &mut items).await.is_ok() {
            self.ready.push_back(Happened::Input { reply, items });
        }
    }

    /// Takes the next change of the conversation.
    async fn read_on(&mut self) -> Option<()> {
        let stored = self.subscription.next().await?;
        let Ok(record) = TranscriptRecord::decode(&stored.payload) else { return Some(()) };
        if record.ordinal <= self.last_ordinal {
            return Some(());
        }
        if record.ordinal > self.last_ordinal + 1 {
            // Some were missed: only the whole thread shows what they were.
            return Box::pin(self.catch_up()).await;
        }
        self.last_ordinal = record.ordinal;
        Box::pin(self.take(record)).await;
        Some(())
    }

    async fn catch_up(&mut self) -> Option<()> {
        let missed = self.replies.threads.records(self.thread, self.last_ordinal).await.ok()?;
        self.last_ordinal = missed.last().map_or(self.last_ordinal, |record| record.ordinal);
        self.missed.extend(missed);
        Some(())
    }

    async fn take(&mut self, record: TranscriptRecord) {
        let ordinal = record.ordinal;
        self.ready.extend(match record.change {
            Change::Accepted(accepted) => {
                if accepted.is_shown() {
                    self.unseen.push_back((ordinal, accepted, 0));
                }
                None
            }
            Change::Ended(_) | Change::Spoken { .. } | Change::ConversationCreated { .. } => None,
            Change::ItemsAdded { mut items } => {
                let _ = self.replies.threads.attach(self.thread, &mut items).await;
                Some(Happened::ItemsAdded(ordinal, items))
            }
            Change::ItemDeleted { item, .. } => Some(Happened::ItemDeleted(ordinal, item)),
            Change::ReplyDeleted { reply, .. } => Some(Happened::ReplyDeleted(ordinal, reply)),
            Change::MetadataSet { metadata } => Some(Happened::MetadataSet(ordinal, metadata)),
            Change::ConversationDeleted { .. } => {
                self.over = true;
                Some(Happened::Deleted(ordinal))
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_events_read_back() {
        assert_eq!("7.12".parse(), Ok(Start::After { ordinal: 7, sequence: 12 }));
        assert_eq!("7".parse(), Ok(Start::After { ordinal: 7, sequence: 0 }));
        assert!("x.1".parse::<Start>().is_err());
    }
}
