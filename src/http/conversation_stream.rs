//! Everything in a conversation as it happens: the stream behind `GET /v1/conversations/{id}/events`.
//!
//! Walks the conversation's transcript. A reply's events are followed to their end before the walk goes on, which
//! keeps their order: only one reply runs in a conversation. An event's id is `<ordinal>.<sequence_number>`: the
//! place of the change in the transcript, and of the event in its reply.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;

use super::Edge;
use super::body::{Body, OpenStream, Pulse, Rotation, retry_line};
use super::respond::{self, Answer};
use crate::api::conversations::Conversation;
use crate::api::stream::{Format, with_id};
use crate::conversation::ids::ReplyId;
use crate::conversation::record::{Change, TranscriptRecord};
use crate::conversation::thread::Thread;
use crate::log::Subscription;
use crate::replies;
use crate::replies::feed::{Feed, Follower};
use crate::replies::threads::Threads;
use crate::telemetry::StreamKind;

/// Where a client begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// With what happens from now on, and the reply that is running.
    Now,
    /// After the event of this id.
    After { ordinal: u64, sequence: u64 },
}

impl FromStr for Start {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ordinal, sequence) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self::After { ordinal: ordinal.parse()?, sequence: sequence.parse()? })
    }
}

/// Opens the stream. `subscription` is older than `thread`: between them nothing is missed.
pub(super) async fn open(
    edge: &Edge,
    thread: Thread,
    subscription: Subscription,
    start: Start,
) -> replies::Result<Answer> {
    let missed = match start {
        Start::Now => Vec::new(),
        Start::After { ordinal, .. } => {
            let mut missed = edge.inner.threads.records(thread.id(), ordinal).await?;
            // What came after `thread` was read comes by the subscription.
            missed.retain(|record| record.ordinal <= thread.last_ordinal());
            missed
        }
    };
    let walk = Walk::new(edge.clone(), thread, missed, subscription, start);
    let mut events = Box::pin(futures_util::stream::unfold(walk, |mut walk| async move {
        let bytes = walk.next().await?;
        Some((bytes, walk))
    }));
    let mut pulse = Pulse::new(edge.inner.config.heartbeat);
    let mut rotation: Rotation = edge.rotation();
    let counted = OpenStream::new(&edge.inner.metrics, StreamKind::ConversationEvents);
    let stream = futures_util::stream::poll_fn(move |cx| {
        let _ = &counted;
        if let Poll::Ready(next) = events.as_mut().poll_next(cx) {
            return Poll::Ready(next);
        }
        if rotation.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        pulse.poll(cx).map(|()| Some(Bytes::from_static(b": \n\n")))
    });
    Ok(respond::stream(Format::EventSource, Body::Conversation(Box::pin(stream))))
}

struct Walk {
    edge: Edge,
    thread: Thread,
    subscription: Subscription,
    /// Written, and not yet sent.
    ready: VecDeque<Bytes>,
    /// Replies of which the client has not seen the end, oldest first: ordinal, id, first event.
    replies: VecDeque<(u64, ReplyId, u64)>,
    /// What changed while the client was away, oldest first.
    missed: VecDeque<TranscriptRecord>,
    following: Option<Follower>,
    over: bool,
}

impl Walk {
    fn new(
        edge: Edge,
        thread: Thread,
        missed: Vec<TranscriptRecord>,
        subscription: Subscription,
        start: Start,
    ) -> Self {
        let replies = {
            let mut in_conversation = thread.replies().filter(|entry| entry.accepted.in_conversation);
            match start {
                Start::Now => in_conversation
                    .filter(|entry| entry.ended.is_none())
                    .map(|entry| (entry.ordinal, entry.accepted.reply, 0))
                    .collect(),
                Start::After { ordinal, sequence } => in_conversation
                    .find(|entry| entry.ordinal == ordinal)
                    .map(|entry| (ordinal, entry.accepted.reply, sequence + 1))
                    .into_iter()
                    .collect(),
            }
        };
        let ready = VecDeque::from([retry_line()]);
        Self { edge, thread, subscription, ready, replies, missed: missed.into(), following: None, over: false }
    }

    /// What comes next. `None`: the conversation is over, or cannot be followed here; the client comes back.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if let Some(follower) = &mut self.following {
                match follower.next().await {
                    Some(Ok(frame)) => return Some(frame.bytes),
                    Some(Err(_)) => return None,
                    None => self.following = None,
                }
                continue;
            }
            if let Some((ordinal, reply, first)) = self.replies.pop_front() {
                // Boxed: a stream on which nothing happens must not hold room for what might.
                Box::pin(self.open_reply(ordinal, reply, first)).await?;
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

    async fn open_reply(&mut self, ordinal: u64, reply: ReplyId, first: u64) -> Option<()> {
        let Ok(feed) = self.edge.feed(&reply.to_string()).await else {
            // Deleted meanwhile, or out of reach: then the client has to come back.
            let known = self.edge.inner.threads.read(reply.thread()).await.ok()?;
            return known.thread.reply(reply).is_none().then_some(());
        };
        if first == 0 {
            self.announce_input(reply).await;
        }
        if !is_seen(&feed, first) {
            self.following = Some(Follower::new(feed, &Format::Conversation { ordinal }, first));
        }
        Some(())
    }

    /// Says what a reply was asked, for those who did not ask it. Without an id: it is said again with the reply.
    async fn announce_input(&mut self, reply: ReplyId) {
        let threads: &Threads = &self.edge.inner.threads;
        let Some(entry) = self.thread.reply(reply) else { return };
        let mut items = entry.accepted.input.clone();
        if threads.attach(reply.thread(), &mut items).await.is_err() {
            return;
        }
        let event = json!({"type": "conversation.items.added", "response_id": reply.to_string(), "items": items});
        self.ready.push_back(format!("data: {event}\n\n").into());
    }

    /// Takes the next change of the conversation.
    async fn read_on(&mut self) -> Option<()> {
        let stored = self.subscription.next().await?;
        let Ok(record) = TranscriptRecord::decode(&stored.payload) else { return Some(()) };
        if record.ordinal <= self.thread.last_ordinal() {
            return Some(());
        }
        if record.ordinal > self.thread.last_ordinal() + 1 {
            // Some were missed: the thread as a whole tells what they were.
            return Box::pin(self.catch_up()).await;
        }
        self.thread.apply(&record);
        Box::pin(self.take(record)).await;
        Some(())
    }

    async fn catch_up(&mut self) -> Option<()> {
        let threads = &self.edge.inner.threads;
        let missed = threads.records(self.thread.id(), self.thread.last_ordinal()).await.ok()?;
        for record in &missed {
            self.thread.apply(record);
        }
        self.missed.extend(missed);
        Some(())
    }

    async fn take(&mut self, record: TranscriptRecord) {
        let ordinal = record.ordinal;
        let event = match record.change {
            Change::Accepted(accepted) => {
                if accepted.in_conversation {
                    self.replies.push_back((ordinal, accepted.reply, 0));
                }
                return;
            }
            Change::Ended(_) | Change::Spoken { .. } | Change::ConversationCreated { .. } => return,
            Change::ItemsAdded { mut items } => {
                let _ = self.edge.inner.threads.attach(self.thread.id(), &mut items).await;
                json!({"type": "conversation.items.added", "items": items})
            }
            Change::ItemDeleted { item } => json!({"type": "conversation.item.deleted", "item_id": item}),
            Change::ReplyDeleted { reply, .. } => {
                json!({"type": "conversation.response.deleted", "response_id": reply.to_string()})
            }
            Change::MetadataSet { metadata } => {
                let created_at = self.thread.conversation().map_or(0, |known| known.created_at);
                let conversation = Conversation::new(self.thread.id(), created_at, &metadata);
                json!({"type": "conversation.updated", "conversation": conversation})
            }
            Change::ConversationDeleted { .. } => {
                self.over = true;
                json!({"type": "conversation.deleted", "conversation": self.thread.id().conversation()})
            }
        };
        let id = format!("{ordinal}.0");
        self.ready.push_back(with_id(&id, event.to_string().as_bytes()).into());
    }
}

/// Whether a client that comes to the event `first` has seen all there is and will be.
fn is_seen(feed: &Arc<Feed>, first: u64) -> bool {
    feed.is_closed() && first >= feed.next_sequence()
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
