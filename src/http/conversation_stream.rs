//! Everything in a conversation as it happens: the stream behind `GET /v1/conversations/{id}/events`.
//!
//! A reply's events are sent to their end before the next change is, which keeps their order. An event's id is
//! `<ordinal>.<sequence_number>`: the place of the change in the transcript, and of the event in its reply.

use std::collections::VecDeque;
use std::task::Poll;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};

use super::Edge;
use super::body::{Body, OpenStream, Pulse, Rotation, retry_line};
use super::respond::{self, Answer};
use crate::protocols::conversations::Conversation;
use crate::protocols::stream::{Format, Framing, with_id};
use crate::replies::feed::Follower;
use crate::replies::{Happened, Timeline};
use crate::telemetry::StreamKind;

/// Opens the stream.
pub(super) fn open(edge: &Edge, timeline: Timeline) -> Answer {
    let walk = Walk { timeline, ready: VecDeque::from([retry_line()]), following: None };
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
    respond::stream(Framing::EVENT_SOURCE.content_type, Body::Events(Box::pin(stream)))
}

struct Walk {
    timeline: Timeline,
    /// Written, and not yet sent.
    ready: VecDeque<Bytes>,
    following: Option<Follower>,
}

impl Walk {
    /// What is sent next. `None`: the conversation is over, or cannot be followed here; the client comes back.
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
            match self.timeline.next().await? {
                Happened::Reply { ordinal, feed, from } => {
                    self.following = Some(Follower::new(feed, &Format::Conversation { ordinal }, from));
                }
                other => self.ready.push_back(self.write(other)),
            }
        }
    }

    fn write(&self, happened: Happened) -> Bytes {
        let (ordinal, event): (_, Value) = match happened {
            // Without an id: it is sent again with the reply.
            Happened::Input { reply, items } => {
                let event =
                    json!({"type": "conversation.items.added", "response_id": reply.to_string(), "items": items});
                return format!("data: {event}\n\n").into();
            }
            Happened::Reply { .. } => return Bytes::new(),
            Happened::ItemsAdded(ordinal, items) => {
                (ordinal, json!({"type": "conversation.items.added", "items": items}))
            }
            Happened::ItemDeleted(ordinal, item) => {
                (ordinal, json!({"type": "conversation.item.deleted", "item_id": item}))
            }
            Happened::ReplyDeleted(ordinal, reply) => {
                (ordinal, json!({"type": "conversation.response.deleted", "response_id": reply.to_string()}))
            }
            Happened::MetadataSet(ordinal, metadata) => {
                let (thread, created_at) = (self.timeline.thread(), self.timeline.created_at());
                let conversation = Conversation::new(thread, created_at, &metadata);
                (ordinal, json!({"type": "conversation.updated", "conversation": conversation}))
            }
            Happened::Deleted(ordinal) => {
                let conversation = self.timeline.thread().conversation();
                (ordinal, json!({"type": "conversation.deleted", "conversation": conversation}))
            }
        };
        with_id(&format!("{ordinal}.0"), event.to_string().as_bytes()).into()
    }
}
