//! A thread is a fold over its transcript: [`Thread::apply`] is the one place that knows what each change does.
//!
//! From it come a conversation's items, the context of the next reply, and which reply holds the lock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::caller::Owner;
use super::compaction::{retold, summary_of};
use super::event::Outcome;
use super::ids::{ReplyId, ThreadId};
use super::items::{Item, ItemStatus};
use super::params::Metadata;
use super::record::{Accepted, Change, Ended, TranscriptRecord};

/// The most characters of a title that is made from what a person wrote.
const MAX_TITLE_CHARS: usize = 80;

/// All that is known of a thread.
#[derive(Debug, Clone)]
pub struct Thread {
    id: ThreadId,
    last_ordinal: u64,
    active_at: u64,
    conversation: Option<Conversation>,
    entries: Vec<Entry>,
    replies: HashMap<ReplyId, usize>,
    deleted_items: HashSet<String>,
    deleted_replies: HashSet<ReplyId>,
    mark: Option<Metadata>,
    /// The owner of the conversation, if it was deleted.
    deleted_owner: Option<Owner>,
}

/// The conversation that a thread is.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// When it was created, in Unix seconds.
    pub created_at: u64,
    /// The client's notes.
    pub metadata: Metadata,
    /// Its owner.
    pub owner: Owner,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// A reply in its thread.
#[derive(Debug, Clone)]
pub struct ReplyEntry {
    /// Its request.
    pub accepted: Arc<Accepted>,
    /// Its end, once it has one.
    pub ended: Option<Arc<Ended>>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// The ordinal of its `accepted` record: names the reply in the conversation's event stream.
    pub ordinal: u64,
}

#[derive(Debug, Clone)]
enum Entry {
    Items(Vec<Item>),
    Reply(Box<ReplyEntry>),
}

pub use super::record::ContextEntry;

impl Thread {
    /// A thread of which nothing is known.
    pub fn new(id: ThreadId) -> Self {
        Self {
            id,
            last_ordinal: 0,
            active_at: 0,
            conversation: None,
            entries: Vec::new(),
            replies: HashMap::new(),
            deleted_items: HashSet::new(),
            deleted_replies: HashSet::new(),
            mark: None,
            deleted_owner: None,
        }
    }

    /// Its id.
    pub const fn id(&self) -> ThreadId {
        self.id
    }

    /// The ordinal of the last record that was applied; 0 before the first.
    pub const fn last_ordinal(&self) -> u64 {
        self.last_ordinal
    }

    /// When something last came that was not a deletion, in milliseconds of Unix time.
    pub const fn active_at(&self) -> u64 {
        self.active_at
    }

    /// The conversation, unless the thread is none, or it was deleted.
    pub fn conversation(&self) -> Option<&Conversation> {
        self.conversation.as_ref().filter(|conversation| !conversation.deleted)
    }

    /// The owner of the conversation, if it was deleted.
    pub const fn deleted_owner(&self) -> Option<&Owner> {
        self.deleted_owner.as_ref()
    }

    /// A reply, unless it is unknown or was deleted.
    pub fn reply(&self, id: ReplyId) -> Option<&ReplyEntry> {
        self.any_reply(id).filter(|entry| !entry.deleted)
    }

    /// A reply, also a deleted one.
    pub fn any_reply(&self, id: ReplyId) -> Option<&ReplyEntry> {
        match &self.entries[*self.replies.get(&id)?] {
            Entry::Reply(entry) => Some(entry),
            Entry::Items(_) => None,
        }
    }

    /// All replies that were not deleted, oldest first.
    pub fn replies(&self) -> impl DoubleEndedIterator<Item = &ReplyEntry> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Reply(entry) if !entry.deleted => Some(&**entry),
            _ => None,
        })
    }

    /// The reply that locks the conversation: accepted in it, and not ended.
    pub fn running(&self) -> Option<&ReplyEntry> {
        self.replies().find(|entry| entry.accepted.in_conversation && entry.ended.is_none())
    }

    /// Whether it is a chat: a conversation whose replies are a tree.
    pub fn is_chat(&self) -> bool {
        self.replies().any(|entry| entry.accepted.chat)
    }

    /// The newest reply of a chat.
    pub fn newest_turn(&self) -> Option<ReplyId> {
        self.replies().next_back().filter(|_| self.is_chat()).map(|entry| entry.accepted.reply)
    }

    /// Notes that every record up to `ordinal` was applied, also those that are empty by now.
    pub const fn skip_to(&mut self, ordinal: u64) {
        if ordinal > self.last_ordinal {
            self.last_ordinal = ordinal;
        }
    }

    /// Takes the next record into the thread. One that was applied already changes nothing.
    pub fn apply(&mut self, record: &TranscriptRecord) {
        if record.ordinal <= self.last_ordinal {
            return;
        }
        self.last_ordinal = record.ordinal;
        if !record.change.is_deletion() {
            self.active_at = self.active_at.max(record.at);
        }
        match &record.change {
            Change::Accepted(accepted) => self.accept(accepted, record.ordinal),
            Change::Ended(ended) => self.end(ended),
            Change::Spoken { reply, layout, degraded } => {
                let ended = self.reply_mut(*reply).and_then(|entry| entry.ended.as_mut());
                if let Some(ended) = ended.filter(|ended| ended.speaking) {
                    *ended = Arc::new(ended.spoken(layout.clone(), degraded.clone()));
                }
            }
            Change::ReplyDeleted { reply, .. } => {
                self.deleted_replies.insert(*reply);
                if let Some(entry) = self.reply_mut(*reply) {
                    entry.deleted = true;
                }
            }
            Change::ConversationCreated { metadata, items, owner } => {
                self.conversation = Some(Conversation {
                    created_at: record.at / 1000,
                    metadata: metadata.clone(),
                    owner: owner.clone(),
                    deleted: false,
                });
                self.entries.push(Entry::Items(items.clone()));
            }
            Change::MetadataSet { metadata } => {
                if let Some(conversation) = &mut self.conversation {
                    conversation.metadata.clone_from(metadata);
                } else if self.entries.is_empty() {
                    self.mark.get_or_insert_with(|| metadata.clone());
                }
            }
            Change::ItemsAdded { items } => self.entries.push(Entry::Items(items.clone())),
            Change::ItemDeleted { item, .. } => {
                self.deleted_items.insert(item.clone());
            }
            Change::ConversationDeleted { owner, .. } => {
                self.deleted_owner = Some(owner.clone());
                if let Some(conversation) = &mut self.conversation {
                    conversation.deleted = true;
                }
            }
        }
    }

    /// Takes a reply's end into the thread, unless it has one. An end with complete speech replaces one
    /// without.
    pub fn end(&mut self, ended: &Arc<Ended>) {
        if let Some(entry) = self.reply_mut(ended.reply)
            && entry.ended.as_ref().is_none_or(|known| known.speaking && !ended.speaking)
        {
            entry.ended = Some(Arc::clone(ended));
        }
    }

    fn accept(&mut self, accepted: &Arc<Accepted>, ordinal: u64) {
        if self.replies.contains_key(&accepted.reply) {
            return;
        }
        self.replies.insert(accepted.reply, self.entries.len());
        let entry = ReplyEntry { accepted: Arc::clone(accepted), ended: None, deleted: false, ordinal };
        self.entries.push(Entry::Reply(Box::new(entry)));
    }

    fn reply_mut(&mut self, id: ReplyId) -> Option<&mut ReplyEntry> {
        match self.entries.get_mut(*self.replies.get(&id)?)? {
            Entry::Reply(entry) => Some(entry),
            Entry::Items(_) => None,
        }
    }

    /// The conversation's items, oldest first: what clients added, and the input and output of its replies.
    /// Items of running replies are the request's only.
    /// Of a chat they are those on the way to its newest reply.
    pub fn items(&self) -> Vec<Item> {
        let context = match self.newest_turn() {
            Some(newest) => self.context_until(newest).unwrap_or_default(),
            None => self.entries_in(&self.entries),
        };
        context.into_iter().map(|(item, _)| item).collect()
    }

    /// The conversation's title: the metadata's `title`, else the beginning of what a person wrote first.
    pub fn title(&self) -> Option<String> {
        let set = self.conversation().and_then(|known| known.metadata.get("title")).map(String::as_str);
        let set = set.map(str::trim).filter(|title| !title.is_empty()).map(str::to_owned);
        set.or_else(|| {
            let in_conversation = self.entries.iter().filter(|entry| match entry {
                Entry::Items(_) => true,
                Entry::Reply(reply) => reply.accepted.is_shown(),
            });
            let mut context = in_conversation.flat_map(Entry::context_entries);
            context.find_map(|(item, _)| {
                if self.deleted_items.contains(item.id()) { None } else { item.first_words(MAX_TITLE_CHARS) }
            })
        })
    }

    /// An item of the conversation or of any reply, by its id, with what the upstream wants back with it.
    pub fn context_entry(&self, id: &str) -> Option<ContextEntry> {
        if self.deleted_items.contains(id) {
            return None;
        }
        self.entries.iter().flat_map(Entry::context_entries).find(|(item, _)| item.id() == id)
    }

    /// The calls of replies that were cancelled or failed: they need no answer.
    pub fn droppable_calls(&self) -> HashSet<String> {
        let stopped = self.replies().filter(|entry| {
            let outcome = entry.ended.as_ref().and_then(|ended| ended.end()).map(|end| &end.outcome);
            matches!(outcome, Some(Outcome::Cancelled | Outcome::Failed(_)))
        });
        stopped
            .flat_map(ReplyEntry::context_entries)
            .filter(|(item, _)| matches!(item, Item::FunctionCall(_)))
            .filter_map(|(item, _)| item.call_id().map(str::to_owned))
            .collect()
    }

    /// What was noted here, where there is neither a reply nor a conversation.
    pub const fn mark(&self) -> Option<&Metadata> {
        self.mark.as_ref()
    }

    /// Whether the thread is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.deleted_replies.is_empty()
    }

    /// Whether an item of this id was deleted here.
    pub fn was_item_deleted(&self, id: &str) -> bool {
        self.deleted_items.contains(id)
    }

    /// Whether a reply of this id was deleted here.
    pub fn was_deleted(&self, id: ReplyId) -> bool {
        self.deleted_replies.contains(&id)
    }

    /// The context of a reply of the conversation: what the conversation held when it was accepted.
    pub fn context_before(&self, reply: ReplyId) -> Vec<ContextEntry> {
        let place = self.replies.get(&reply).copied().unwrap_or(self.entries.len());
        self.context_of(self.entries_in(since_compacted(&self.entries[..place])))
    }

    /// The context of the conversation's next reply.
    pub fn context(&self) -> Vec<ContextEntry> {
        if let Some(newest) = self.newest_turn() {
            return self.context_after(newest).unwrap_or_default();
        }
        self.context_of(self.entries_in(since_compacted(&self.entries)))
    }

    /// The context of a reply that follows `parent`: the path of its ancestors, then itself. For a reply of the
    /// conversation that is the conversation up to it. `None` when the path is broken by a deleted reply.
    pub fn context_after(&self, parent: ReplyId) -> Option<Vec<ContextEntry>> {
        self.context_until(parent).map(|context| self.context_of(context))
    }

    /// The items on the way to a reply, and the reply's own.
    fn context_until(&self, reply: ReplyId) -> Option<Vec<ContextEntry>> {
        let mut path = Vec::new();
        let mut next = Some(reply);
        let mut context = Vec::new();
        while let Some(id) = next {
            let entry = self.reply(id)?;
            if entry.accepted.in_conversation {
                context = self.entries_in(since_compacted(&self.entries[..=self.replies[&id]]));
                break;
            }
            path.push(entry);
            next = entry.accepted.previous.filter(|_| !entry.is_summary());
        }
        context.extend(path.iter().rev().flat_map(|entry| entry.context_entries()));
        context.retain(|(item, _)| !self.deleted_items.contains(item.id()));
        Some(context)
    }

    /// Leaves out what a model must not see: calls that were broken off, outputs whose call is gone, and the
    /// counterpart of a call or an output that was deleted. A call that has not been answered yet stays, for the
    /// request to answer.
    fn context_of(&self, mut context: Vec<ContextEntry>) -> Vec<ContextEntry> {
        let gone: HashSet<String> = self.calls_of_deleted_items();
        context.retain(|(item, _)| match item {
            Item::FunctionCall(call) => call.status == ItemStatus::Completed && !gone.contains(&call.call_id),
            _ => true,
        });
        let calls: HashSet<String> = context
            .iter()
            .filter(|(item, _)| matches!(item, Item::FunctionCall(_)))
            .filter_map(|(item, _)| item.call_id().map(str::to_owned))
            .collect();
        context.retain(|(item, _)| !matches!(item, Item::FunctionCallOutput(out) if !calls.contains(&out.call_id)));
        context
    }

    fn calls_of_deleted_items(&self) -> HashSet<String> {
        if self.deleted_items.is_empty() {
            return HashSet::new();
        }
        let all = self.entries.iter().flat_map(Entry::context_entries);
        all.filter(|(item, _)| self.deleted_items.contains(item.id()))
            .filter_map(|(item, _)| item.call_id().map(str::to_owned))
            .collect()
    }

    /// What of these entries the conversation holds.
    fn entries_in(&self, entries: &[Entry]) -> Vec<ContextEntry> {
        let in_conversation = entries.iter().filter(|entry| match entry {
            Entry::Items(_) => true,
            Entry::Reply(reply) => reply.accepted.in_conversation,
        });
        let mut context: Vec<_> = in_conversation.flat_map(Entry::context_entries).collect();
        context.retain(|(item, _)| !self.deleted_items.contains(item.id()));
        context
    }
}

/// The entries since the last summary, the summary included.
fn since_compacted(entries: &[Entry]) -> &[Entry] {
    let is_summary = |entry: &Entry| match entry {
        Entry::Reply(entry) => entry.accepted.in_conversation && entry.is_summary(),
        Entry::Items(_) => false,
    };
    &entries[entries.iter().rposition(is_summary).unwrap_or(0)..]
}

impl Entry {
    fn context_entries(&self) -> Vec<ContextEntry> {
        match self {
            Self::Items(items) => items.iter().map(|item| (item.clone(), None)).collect(),
            Self::Reply(entry) => entry.context_entries(),
        }
    }
}

impl ReplyEntry {
    /// Whether it is being generated, or spoken.
    pub fn runs(&self) -> bool {
        self.final_end().is_none()
    }

    /// Its end, once nothing of it is generated or spoken any more.
    pub fn final_end(&self) -> Option<&Arc<Ended>> {
        self.ended.as_ref().filter(|ended| !ended.speaking)
    }

    /// Whether its text is over, and its speech goes on.
    pub fn speaks(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.speaking)
    }

    /// Whether it stands for everything before it.
    fn is_summary(&self) -> bool {
        let is_whole = |ended: &Arc<Ended>| matches!(ended.end().map(|end| &end.outcome), Some(Outcome::Completed));
        self.accepted.params.compaction.is_some() && self.ended.as_ref().is_some_and(is_whole)
    }

    /// The reply's request and its output.
    fn context_entries(&self) -> Vec<ContextEntry> {
        if self.deleted {
            return Vec::new();
        }
        if self.is_summary() {
            let output = self.ended.iter().flat_map(|ended| &ended.content.output);
            return output.filter_map(summary_of).map(|item| (item, None)).collect();
        }
        let none = BTreeMap::new();
        let (output, provider_state) =
            self.ended.as_ref().map_or((&[][..], &none), |e| (&e.content.output[..], &e.content.provider_state));
        let output = output.iter().enumerate().filter_map(|(index, item)| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            Some((retold(item)?, provider_state.get(&index).cloned()))
        });
        self.accepted.context_entries().into_iter().chain(output).collect()
    }
}
