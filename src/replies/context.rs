//! Where a new reply belongs, and the context before it there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::acceptor::{Acceptor, MOST_TRIES};
use super::command::{IdempotencyKey, NewReply, Placement};
use super::feed::Feed;
use super::threads::{Known, Threads};
use super::{Busy, Error, Invalid, Missing, Result};
use crate::domain::caller::{Caller, Owner};
use crate::domain::compaction::{Since, since_summary};
use crate::domain::event::{End, Event, Outcome};
use crate::domain::ids::{ReplyId, ThreadId, random_u64};
use crate::domain::items::{InputItem, Item, Part};
use crate::domain::layout::OutputLayout;
use crate::domain::params::{ContextManagement, Metadata, Params};
use crate::domain::record::{Accepted, Change, Ended};
use crate::domain::reply::Content;
use crate::domain::thread::{ContextEntry, Thread};
use crate::domain::tokens;
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
            Placement::Fresh => None,
            Placement::After(parent) => Some(parent.thread()),
            Placement::Root(thread) | Placement::In(thread) => Some(thread),
        };
        match &self.key {
            None => ReplyId::random(thread.unwrap_or_else(ThreadId::random)),
            Some(key) => keyed(caller, thread, key),
        }
    }
}

/// The reply that a caller's `Idempotency-Key` names: in this thread, or in one of its own.
pub(super) fn keyed(caller: &Caller, thread: Option<ThreadId>, key: &IdempotencyKey) -> ReplyId {
    let (fresh, own) = derive(KEY, caller.owner(), &key.key);
    ReplyId::from_bytes(thread.unwrap_or(fresh), own)
}

impl Placement {
    /// In a conversation that is a chat a reply follows the newest one.
    pub(super) fn in_chat(self, thread: &Thread) -> Self {
        match (self, thread.newest_turn()) {
            (Self::In(_), Some(newest)) => Self::After(newest),
            _ => self,
        }
    }

    /// How a key's thread names the place of a reply that is not there. `None`: it is.
    fn mark(self) -> Option<Metadata> {
        let place = match self {
            Self::Fresh => return None,
            Self::After(parent) => parent.to_string(),
            Self::Root(thread) => format!("chat_{thread}"),
            Self::In(thread) => thread.conversation(),
        };
        Some(Metadata::from([("place".to_owned(), place)]))
    }
}

/// What ids of an `Idempotency-Key` are made for.
const KEY: &[u8] = b"rejoinder idempotency ";

/// Ids from a name that a client chose: its own, and no one can guess another's name from them. `purpose` keeps names
/// of different kinds apart.
pub(super) fn derive(purpose: &[u8], owner: &Owner, name: &str) -> (ThreadId, [u8; 16]) {
    let mut secret = purpose.to_vec();
    secret.extend(serde_json::to_vec(owner).expect("an owner is text"));
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("HMAC takes keys of any length");
    mac.update(name.as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    let (thread, own) = bytes.split_at(16);
    let half = |half: &[u8]| half.try_into().expect("half of 32 bytes");
    (ThreadId::from_bytes(half(thread)), half(own))
}

impl Acceptor {
    /// Binds an `Idempotency-Key` to the place of its reply, so that it is refused in every other. The thread that a key
    /// makes belongs to it: it has either its reply, or a mark that points to it.
    pub(super) async fn bind_key(&self, caller: &Caller, new: &NewReply) -> Result<()> {
        let (Some(key), Some(place)) = (&new.key, new.place.mark()) else { return Ok(()) };
        let (thread, _) = derive(KEY, caller.owner(), &key.key);
        for _ in 0..MOST_TRIES {
            let mut known = self.workers.threads.read_keyed(thread).await?;
            match known.thread.mark() {
                Some(mark) if *mark == place => return Ok(()),
                Some(_) => return Err(Error::KeyReused),
                None if !known.thread.is_empty() => return Err(Error::KeyReused),
                None => {}
            }
            if self.workers.threads.append(&mut known, Change::MetadataSet { metadata: place.clone() }).await? {
                return Ok(());
            }
        }
        Err(Busy::Contention.into())
    }

    /// Makes a chat a conversation with its first turn, so that it is in the list of them. `false`: another writer changed the
    /// thread.
    pub(super) async fn begin_chat(&self, caller: &Caller, new: &NewReply, known: &mut Known) -> Result<bool> {
        let Some(name) = new.chat.as_ref().filter(|_| new.params.store) else { return Ok(true) };
        // One that was deleted as a conversation stays out of the list.
        if known.thread.conversation().is_some() || known.thread.deleted_owner().is_some() {
            return Ok(true);
        }
        let metadata = Metadata::from([("chat".to_owned(), name.clone())]);
        let change = Change::ConversationCreated { metadata, items: Vec::new(), owner: caller.owner().clone() };
        self.workers.threads.append(known, change).await
    }

    /// Reads the thread to which a reply belongs; one that is new is not read at the first try. Later it is: an
    /// answer may have been lost, and our own reply be there.
    pub(super) async fn locate(&self, new: &NewReply, reply: ReplyId, tries: usize) -> Result<Located> {
        let is_new = new.place == Placement::Fresh && new.key.is_none() && tries == 0;
        let known = if is_new {
            Threads::fresh(reply.thread())
        } else if new.place == Placement::Fresh {
            self.workers.threads.read_keyed(reply.thread()).await?
        } else {
            self.workers.threads.read(reply.thread()).await?
        };
        Ok(Located { known, reply })
    }

    /// What a reply would be generated from, without accepting it. A conversation in which one runs is read as it is.
    pub(super) async fn context(&self, caller: &Caller, new: &NewReply) -> Result<Vec<Item>> {
        let (all, _) = self.looked_up(caller, new, new.choose_id(caller)).await?;
        Ok(all.into_iter().map(|(item, _)| item).collect())
    }

    /// The context of a reply with its own items, and these by themselves; nothing is locked.
    async fn looked_up(
        &self,
        caller: &Caller,
        new: &NewReply,
        reply: ReplyId,
    ) -> Result<(Vec<ContextEntry>, Vec<ContextEntry>)> {
        let new = NewReply { params: Params { store: false, ..new.params.clone() }, ..new.clone() };
        let mut tries = 0;
        let (context, known) = loop {
            let known = self.locate(&new, reply, tries).await?.known;
            match self.context_before(caller, &new, &known.thread).await? {
                Some(context) => break (context, known),
                None if tries < MOST_TRIES => tries += 1,
                None => return Err(Busy::Contention.into()),
            }
        };
        let own = self.own_items(caller, &new, &known.thread, reply).await?;
        let all = join(context, &own, &known.thread.droppable_calls())?;
        Ok((narrowed(all, &new.params), own))
    }

    /// A reply that is over at once, of what it would be generated from. It is stored nowhere.
    pub(super) async fn warm_up(&self, caller: &Caller, new: NewReply) -> Result<Arc<Feed>> {
        let model = self.model(new.model.as_deref()).await?;
        let reply = new.choose_id(caller);
        let (_, own) = self.looked_up(caller, &new, reply).await?;
        let params = Arc::new(Params { model, ..new.params.clone() });
        let accepted = self.record(caller.owner().clone(), &new, reply, (random_u64(), own), &params);
        let end = End { outcome: Outcome::Completed, usage: None };
        let events = [Event::opening(false), &[Event::End(end.clone())]].concat();
        let content = Content { end: Some(end), ended_at: Some(accepted.created_at), ..Content::default() };
        let ended = Ended { reply, content, layout: OutputLayout::default(), speaking: false };
        Ok(Arc::new(Feed::ended(Arc::new(accepted), events, Arc::new(ended))))
    }

    /// The context before a reply. `None`: something has ended meanwhile, so that the thread has to be read again.
    pub(super) async fn context_before(
        &self,
        caller: &Caller,
        new: &NewReply,
        thread: &Thread,
    ) -> Result<Option<Vec<ContextEntry>>> {
        match new.place {
            Placement::Fresh | Placement::Root(_) => Ok(Some(Vec::new())),
            Placement::In(id) => {
                let known = thread.conversation().filter(|known| caller.may_reach(&known.owner));
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
            Placement::After(parent) => {
                let unknown = || Error::from(Missing::Parent(parent));
                let entry = thread.reply(parent).filter(|entry| caller.may_reach(&entry.accepted.owner));
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

    /// Whether a reply without an end in the transcript has one in its reply log; it is then written there. An orphaned
    /// reply is taken over.
    async fn ended_after_all(&self, accepted: &Arc<Accepted>) -> Result<bool> {
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
    ) -> Result<Vec<ContextEntry>> {
        let mut own = Vec::with_capacity(new.input.len());
        let mut ids = HashSet::new();
        for (index, item) in new.input.iter().enumerate() {
            own.push(match item {
                InputItem::Item(item, provider_state) => {
                    let mut item = item.clone();
                    // Pages of a list go on after an id.
                    if item.id().is_empty() || !ids.insert(item.id().to_owned()) {
                        item.set_id(reply.input_item(item.prefix(), index));
                    }
                    check_images(index, &item)?;
                    (item, provider_state.clone())
                }
                InputItem::Reference { id } => {
                    let missing = || Missing::Reference { index, id: id.clone() };
                    self.referenced(caller, id, thread).await?.ok_or_else(missing)?
                }
            });
        }
        Ok(own)
    }

    async fn referenced(&self, caller: &Caller, id: &str, thread: &Thread) -> Result<Option<ContextEntry>> {
        match thread.context_entry(id) {
            // A caller that may add to a thread may see what is in it.
            Some(context) => Ok(Some(context)),
            None => Ok(self.workers.threads.context_entry(caller, id).await?),
        }
    }
}

/// Clients send images by address, or inline. (The address under which they are stored is not for clients.)
pub(super) fn check_images(index: usize, item: &Item) -> Result<()> {
    let Item::Message(message) = item else { return Ok(()) };
    for (place, part) in message.content.iter().enumerate() {
        if let Part::InputImage { image_url, .. } = part
            && !["http://", "https://", "data:"].iter().any(|scheme| image_url.starts_with(scheme))
        {
            return Err(Invalid::Image { item: index, part: place }.into());
        }
    }
    Ok(())
}

/// Puts the context and the request's own items together: every call with its output, every output with its call.
/// Calls of replies that were cancelled or failed, and that are not answered, are left out.
pub(super) fn join(
    mut context: Vec<ContextEntry>,
    own: &[ContextEntry],
    droppable: &HashSet<String>,
) -> Result<Vec<ContextEntry>> {
    let answered: HashSet<&str> = context.iter().chain(own).filter_map(|(item, _)| output_of(item)).collect();
    let answered: HashSet<String> = answered.into_iter().map(str::to_owned).collect();
    context.retain(|(item, _)| match item {
        Item::FunctionCall(call) => answered.contains(&call.call_id) || !droppable.contains(&call.call_id),
        _ => true,
    });
    let mut open = Calls::default();
    let mut refused = None;
    // One too many that was accepted before is no reason to refuse all that follows.
    context.retain(|(item, _)| match open.take(item) {
        Err(Invalid::RepeatedOutput(_)) => false,
        taken => {
            refused = refused.take().or(taken.err());
            true
        }
    });
    refused.map_or(Ok(()), Err)?;
    own.iter().try_for_each(|(item, _)| open.take(item))?;
    context.extend(own.iter().cloned());
    let unanswered = context.iter().find_map(|(item, _)| match item {
        Item::FunctionCall(call) if !answered.contains(&call.call_id) => Some(&call.call_id),
        _ => None,
    });
    match unanswered {
        Some(call) => Err(Invalid::UnansweredCall(call.clone()).into()),
        None => Ok(context),
    }
}

/// How many outputs each call still waits for: ids may come again, since some servers count them from 0 in every turn.
#[derive(Default)]
struct Calls(HashMap<String, usize>);

impl Calls {
    /// Notes a call, or the output of one.
    fn take(&mut self, item: &Item) -> Result<(), Invalid> {
        match item {
            Item::FunctionCall(call) => *self.0.entry(call.call_id.clone()).or_default() += 1,
            Item::FunctionCallOutput(output) => match self.0.get_mut(&output.call_id) {
                None => return Err(Invalid::UnknownCall(output.call_id.clone())),
                Some(0) => return Err(Invalid::RepeatedOutput(output.call_id.clone())),
                Some(open) => *open -= 1,
            },
            Item::Message(_) | Item::Reasoning(_) => {}
        }
        Ok(())
    }
}

fn output_of(item: &Item) -> Option<&str> {
    match item {
        Item::FunctionCallOutput(output) => Some(&output.call_id),
        _ => None,
    }
}

/// The context before a reply, with its own items: the same that it was accepted with.
pub(super) fn context_before(thread: &Thread, accepted: &Accepted) -> Vec<ContextEntry> {
    let before = match accepted.previous {
        Some(parent) => thread.context_after(parent).unwrap_or_default(),
        None if accepted.in_conversation => thread.context_before(accepted.reply),
        None => Vec::new(),
    };
    let mut own = accepted.context_entries();
    own.retain(|(item, _)| !thread.was_item_deleted(item.id()));
    // It was accepted so: nothing to refuse.
    let all = join(before.clone(), &own, &thread.droppable_calls()).unwrap_or_else(|_| {
        let mut all = before;
        all.extend(own);
        all
    });
    narrowed(all, &accepted.params)
}

/// What of a context is read since its last summary.
fn narrowed(mut all: Vec<ContextEntry>, params: &Params) -> Vec<ContextEntry> {
    let since = if params.context_management.is_some() { Since::AnySummary } else { Since::OwnSummary };
    since_summary(&mut all, since, |(item, _)| item);
    all
}

/// The context of a new reply as it is to be managed: narrowed, and to be summed up only if it is too long all the same.
pub(super) fn managed(all: Vec<ContextEntry>, params: &Arc<Params>) -> (Vec<ContextEntry>, Arc<Params>) {
    let all = narrowed(all, params);
    let Some(ContextManagement { compact_threshold, .. }) = params.context_management else {
        return (all, Arc::clone(params));
    };
    if tokens::of_params(params) + tokens::of_items(all.iter().map(|(item, _)| item)) > compact_threshold {
        return (all, Arc::clone(params));
    }
    let context_management = Some(ContextManagement { compact_threshold, key: None });
    (all, Arc::new(Params { context_management, ..(**params).clone() }))
}

/// The context in the upstream's words.
pub(super) fn context_items(context: Vec<ContextEntry>) -> Vec<ContextItem> {
    context.into_iter().map(|(item, provider_state)| ContextItem { item, provider_state }).collect()
}
