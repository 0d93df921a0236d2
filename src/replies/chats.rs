//! Chats: threads whose id is derived from a caller's own name for them, in which one reply runs at a time.
//!
//! A chat is a tree of replies, so that a turn can be asked for again, or after another than the last.

use std::sync::Arc;

use super::command::{IdempotencyKey, Joined, NewReply, Placement};
use super::context::{derive, keyed};
use super::feed::Feed;
use super::{Replies, Result};
use crate::domain::caller::Caller;
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::thread::{ReplyEntry, Thread};

/// The thread of a caller's chat: its own, and no one can guess a chat's name from it.
pub(crate) fn chat_thread(caller: &Caller, name: &str) -> ThreadId {
    derive(b"rejoinder chat ", caller.owner(), name).0
}

impl Replies {
    /// The reply that runs in a chat; of several the newest.
    pub(crate) async fn running_in(&self, caller: &Caller, chat: ThreadId) -> Result<Option<Arc<Feed>>> {
        for reply in open(&self.threads.look(chat).await?) {
            let feed = self.get(caller, reply).await?;
            if feed.end().is_none() {
                return Ok(Some(feed));
            }
        }
        Ok(None)
    }

    /// Where the next turn of a chat stands: after its newest reply, or in the place of that (`again`). A request that was
    /// accepted before, under its key, stands where it stands.
    pub(crate) async fn next_place(
        &self,
        caller: &Caller,
        chat: ThreadId,
        key: Option<&IdempotencyKey>,
        again: bool,
    ) -> Result<Placement> {
        let thread = self.threads.read(chat).await?.thread;
        let known = key.and_then(|key| thread.reply(keyed(caller, Some(chat), key)));
        let previous = match (known, thread.replies().next_back()) {
            (Some(known), _) => known.accepted.previous,
            (None, Some(newest)) if again => newest.accepted.previous,
            (None, newest) => newest.map(|newest| newest.accepted.reply),
        };
        Ok(previous.map_or(Placement::Root(chat), Placement::After))
    }

    /// Accepts the next reply of a chat. What still runs there is stopped first: its client has turned to something else.
    pub(crate) async fn take_turn(&self, caller: &Caller, chat: ThreadId, new: NewReply) -> Result<Joined> {
        let same = new.key.is_some().then(|| new.choose_id(caller));
        for reply in open(&self.threads.look(chat).await?) {
            if Some(reply) != same {
                self.cancel(caller, reply).await?;
            }
        }
        self.create(caller, new).await
    }

    /// Stops what runs in a chat, and keeps its output.
    pub(crate) async fn stop_chat(&self, caller: &Caller, chat: ThreadId) -> Result<()> {
        for reply in open(&self.threads.look(chat).await?) {
            self.cancel(caller, reply).await?;
        }
        Ok(())
    }
}

/// The replies of a thread that have not ended, newest first.
fn open(thread: &Thread) -> Vec<ReplyId> {
    let is_open = |entry: &&ReplyEntry| entry.ended.is_none();
    thread.replies().rev().filter(is_open).map(|entry| entry.accepted.reply).collect()
}
