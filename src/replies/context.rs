//! Where a new reply is said, and what was said before it there.

use std::collections::HashSet;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::acceptor::Acceptor;
use super::command::{IdempotencyKey, NewReply, Place};
use super::threads::{Known, Threads};
use super::{Error, Invalid, Missing, Result};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::{InputItem, Item, Part};
use crate::domain::record::{Accepted, Caller};
use crate::domain::thread::{Thread, Told};
use crate::llm::call::ContextItem;

/// A thread as it is before a new reply, and the id of that reply.
pub(super) struct Located {
    pub(super) known: Known,
    pub(super) reply: ReplyId,
}

impl NewReply {
    /// The id of this reply. Under an `Idempotency-Key` it is always the same, so that a second request finds the first.
    pub(super) fn choose_id(&self, caller: &Caller) -> ReplyId {
        let thread = match self.place {
            Place::Fresh => None,
            Place::After(parent) => Some(parent.thread()),
            Place::In(thread) => Some(thread),
        };
        match &self.key {
            None => ReplyId::random(thread.unwrap_or_else(ThreadId::random)),
            Some(key) => {
                let (fresh, own) = derive(caller, key);
                ReplyId::from_bytes(thread.unwrap_or(fresh), own)
            }
        }
    }
}

/// Ids from a key: nobody else's, and nobody can guess another's key from them.
fn derive(caller: &Caller, key: &IdempotencyKey) -> (ThreadId, [u8; 16]) {
    let mut secret = b"rejoinder idempotency ".to_vec();
    secret.extend(serde_json::to_vec(caller).expect("a caller is text"));
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("HMAC takes keys of any length");
    mac.update(key.key.as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    let (thread, own) = bytes.split_at(16);
    let half = |half: &[u8]| half.try_into().expect("half of 32 bytes");
    (ThreadId::from_bytes(half(thread)), half(own))
}

impl Acceptor {
    /// Reads the thread in which a reply is to be said; one that is new is not read at the first try. Later it is: an
    /// answer may have been lost, and our own reply be there.
    pub(super) async fn locate(&self, new: &NewReply, reply: ReplyId, tries: usize) -> Result<Located> {
        let is_new = new.place == Place::Fresh && new.key.is_none() && tries == 0;
        let known = if is_new {
            Threads::fresh(reply.thread())
        } else if new.place == Place::Fresh {
            self.workers.threads.read_keyed(reply.thread()).await?
        } else {
            self.workers.threads.read(reply.thread()).await?
        };
        Ok(Located { known, reply })
    }

    /// What was said before a reply. `None`: something has ended meanwhile, so that the thread has to be read again.
    pub(super) async fn told_before(
        &self,
        caller: &Caller,
        new: &NewReply,
        thread: &Thread,
    ) -> Result<Option<Vec<Told>>> {
        match new.place {
            Place::Fresh => Ok(Some(Vec::new())),
            Place::In(id) => {
                let known = thread.conversation().filter(|known| known.caller == *caller);
                let unknown = || Missing::Context(id);
                known.ok_or_else(unknown)?;
                match thread.running() {
                    // A reply that is not stored reads a conversation without locking it.
                    Some(running) if new.params.store => {
                        let reply = running.accepted.reply;
                        self.ended_after_all(&running.accepted)
                            .await?
                            .then_some(None)
                            .ok_or_else(|| Error::ConversationLocked(reply))
                    }
                    _ => Ok(Some(thread.context())),
                }
            }
            Place::After(parent) => {
                let unknown = || Error::from(Missing::Parent(parent));
                let entry = thread.reply(parent).filter(|entry| entry.accepted.caller == *caller);
                let entry = entry.ok_or_else(unknown)?;
                if entry.ended.is_none() {
                    return self
                        .ended_after_all(&entry.accepted)
                        .await?
                        .then_some(None)
                        .ok_or_else(|| Error::ParentRunning(parent));
                }
                thread.context_after(parent).map(Some).ok_or_else(unknown)
            }
        }
    }

    /// Whether a reply without an end in the transcript has one in its chain; it is then written there. One that
    /// nobody says is taken over.
    async fn ended_after_all(&self, accepted: &std::sync::Arc<Accepted>) -> Result<bool> {
        let feed = match self.workers.threads.feeds().get(accepted.reply) {
            Some(feed) if self.workers.running.contains(accepted.reply) || feed.end().is_some() => feed,
            _ => match self.takeover.adopt(accepted).await {
                Ok(feed) => feed,
                // It was deleted meanwhile.
                Err(error) if error.is_not_found() => return Ok(true),
                Err(error) => return Err(error),
            },
        };
        self.workers.threads.settle(&feed).await?;
        let Some(ended) = feed.end() else { return Ok(false) };
        self.workers.threads.end(&ended).await?;
        Ok(true)
    }

    /// A request's own items: references resolved, ids given, long images put apart; with what upstreams want back.
    pub(super) async fn own_items(
        &self,
        caller: &Caller,
        new: &NewReply,
        thread: &Thread,
        reply: ReplyId,
    ) -> Result<Vec<Told>> {
        let mut own = Vec::with_capacity(new.input.len());
        for (index, item) in new.input.iter().enumerate() {
            own.push(match item {
                InputItem::Item(item, kept) => {
                    let mut item = item.clone();
                    if item.id().is_empty() {
                        item.set_id(reply.input_item(item.prefix(), index));
                    }
                    (item, kept.clone())
                }
                InputItem::Reference { id } => {
                    let missing = || Missing::Reference { index, id: id.clone() };
                    self.referenced(caller, id, thread).await?.ok_or_else(missing)?
                }
            });
        }
        check_images(&own)?;
        Ok(own)
    }

    async fn referenced(&self, caller: &Caller, id: &str, thread: &Thread) -> Result<Option<Told>> {
        match thread.told(id) {
            // Whoever may add to a thread may see what is in it.
            Some(told) => Ok(Some(told)),
            None => Ok(self.workers.threads.told(caller, id).await?),
        }
    }
}

/// Images are given by address, or as they are.
fn check_images(own: &[Told]) -> Result<()> {
    for (index, (item, _)) in own.iter().enumerate() {
        let Item::Message(message) = item else { continue };
        for (place, part) in message.content.iter().enumerate() {
            if let Part::InputImage { image_url, .. } = part
                && !["http://", "https://", "data:"].iter().any(|scheme| image_url.starts_with(scheme))
                && !image_url.starts_with("blob:")
            {
                return Err(Invalid::Image { item: index, part: place }.into());
            }
        }
    }
    Ok(())
}

/// Puts the context and the request's own items together: every call with its output, every output with its call.
/// Calls of replies that were cancelled or failed, and that nobody answers, are left out.
pub(super) fn join(mut told: Vec<Told>, own: &[Told], droppable: &HashSet<String>) -> Result<Vec<Told>> {
    let answered: HashSet<&str> = told.iter().chain(own).filter_map(|(item, _)| output_of(item)).collect();
    let answered: HashSet<String> = answered.into_iter().map(str::to_owned).collect();
    told.retain(|(item, _)| match item {
        Item::FunctionCall(call) => answered.contains(&call.call_id) || !droppable.contains(&call.call_id),
        _ => true,
    });
    told.extend(own.iter().cloned());
    let mut open: HashSet<&str> = HashSet::new();
    for (item, _) in &told {
        match item {
            Item::FunctionCall(call) => {
                open.insert(&call.call_id);
            }
            Item::FunctionCallOutput(output) if !open.contains(output.call_id.as_str()) => {
                return Err(Invalid::UnknownCall(output.call_id.clone()).into());
            }
            _ => {}
        }
    }
    let unanswered = told.iter().find_map(|(item, _)| match item {
        Item::FunctionCall(call) if !answered.contains(&call.call_id) => Some(&call.call_id),
        _ => None,
    });
    match unanswered {
        Some(call) => Err(Invalid::UnansweredCall(call.clone()).into()),
        None => Ok(told),
    }
}

fn output_of(item: &Item) -> Option<&str> {
    match item {
        Item::FunctionCallOutput(output) => Some(&output.call_id),
        _ => None,
    }
}

/// The context in the upstream's words.
pub(super) fn context_items(told: Vec<Told>) -> Vec<ContextItem> {
    told.into_iter().map(|(item, kept)| ContextItem { item, kept }).collect()
}
