//! Transcripts as tests tell them, and how they come to a store.

use std::sync::Arc;

use bytes::Bytes;
use rejoinder::domain::caller::Owner;
use rejoinder::domain::event::{End, Outcome, Usage};
use rejoinder::domain::ids::{InstanceId, ReplyId, ThreadId};
use rejoinder::domain::items::{Extra, Item, ItemStatus, Message, Part, Role};
use rejoinder::domain::layout::OutputLayout;
use rejoinder::domain::params::{Metadata, Params};
use rejoinder::domain::record::{Accepted, Change, Ended, TranscriptRecord};
use rejoinder::domain::reply::Content;
use rejoinder::store::{Batch, Position, Record, Store};

/// A thread's transcript, as a test tells it.
pub(crate) struct History {
    pub(crate) thread: ThreadId,
    /// Whom it belongs to.
    pub(crate) owner: Owner,
    records: Vec<TranscriptRecord>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { thread: ThreadId::random(), owner: Owner::anonymous(), records: Vec::new() }
    }

    pub(crate) fn push(&mut self, change: Change) {
        let ordinal = self.records.len() as u64 + 1;
        self.records.push(TranscriptRecord { v: 1, ordinal, at: 1_700_000_000_000 + ordinal, change });
    }

    pub(crate) fn accept(&mut self, text: &str, in_conversation: bool) -> ReplyId {
        let reply = ReplyId::random(self.thread);
        self.push(Change::Accepted(Arc::new(Accepted {
            reply,
            in_conversation,
            chat: false,
            previous: None,
            created_at: 1_700_000_000,
            owner: self.owner.clone(),
            instance: InstanceId::random(),
            nonce: 7,
            digest: None,
            trace: None,
            input: vec![message(text, reply.input_item("msg", 0))],
            provider_state: std::collections::BTreeMap::new(),
            params: Arc::new(Params { model: "echo".to_owned(), store: true, ..Params::default() }),
        })));
        reply
    }

    pub(crate) fn end(&mut self, reply: ReplyId, text: &str) -> Arc<Ended> {
        self.end_with(reply, text, None)
    }

    pub(crate) fn end_with(&mut self, reply: ReplyId, text: &str, usage: Option<Usage>) -> Arc<Ended> {
        let end = End { outcome: Outcome::Completed, usage };
        let output = vec![message(text, reply.output_item("msg", 0))];
        let content = Content { output, end: Some(end), ended_at: Some(1_700_000_001), ..Content::default() };
        let ended = Arc::new(Ended { reply, content, layout: OutputLayout::default(), speaking: false });
        self.push(Change::Ended(Arc::clone(&ended)));
        ended
    }

    pub(crate) fn whole_reply(&mut self, asked: &str, said: &str) -> (ReplyId, Arc<Ended>) {
        let in_conversation =
            matches!(self.records.first().map(|r| &r.change), Some(Change::ConversationCreated { .. }));
        let reply = self.accept(asked, in_conversation);
        (reply, self.end(reply, said))
    }

    pub(crate) fn create_conversation(&mut self, text: &str) {
        let items = vec![message(text, self.item_id())];
        self.push(Change::ConversationCreated { metadata: Metadata::new(), items, owner: self.owner.clone() });
    }

    /// An id for an item that a client adds.
    pub(crate) fn item_id(&self) -> String {
        ReplyId::random(self.thread).input_item("msg", 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn records(&self) -> &[TranscriptRecord] {
        &self.records
    }

    pub(crate) fn replies(&self) -> Vec<ReplyId> {
        let accepted = self.records.iter().filter_map(|record| match &record.change {
            Change::Accepted(accepted) => Some(accepted.reply),
            _ => None,
        });
        accepted.collect()
    }

    /// The records after the first `known`, as the log holds them.
    pub(crate) fn since(&self, known: usize) -> Vec<Record> {
        let records = self.records[known..].iter();
        records.map(|record| Record { thread: self.thread, payload: Bytes::from(record.encode()) }).collect()
    }
}

/// A conversation with everything in it that can be in one.
pub(super) fn long_history() -> History {
    let mut told = History::new();
    told.create_conversation("welcome");
    let (first, _) = told.whole_reply("one", "1");
    let added = told.item_id();
    told.push(Change::ItemsAdded { items: vec![message("added", added.clone()), message("kept", told.item_id())] });
    told.push(Change::MetadataSet { metadata: Metadata::from([("k".into(), "v".into())]) });
    let (second, _) = told.whole_reply("two", "2");
    let branch = told.accept("a branch", false);
    told.push(Change::ItemDeleted { item: added, left: vec![] });
    told.push(Change::ItemDeleted { item: first.output_item("msg", 0), left: vec![] });
    told.push(Change::ReplyDeleted { reply: second, erased: Vec::new(), left: vec![] });
    told.end(branch, "of it");
    told.end(branch, "once more");
    told.accept("still running", true);
    told
}

pub(crate) fn message(text: &str, id: String) -> Item {
    let content = vec![Part::InputText { text: text.to_owned() }];
    Item::Message(Message { id, status: ItemStatus::Completed, role: Role::User, content, extra: Extra::new() })
}

pub(super) fn at(identity: &str, position: u64) -> Position {
    Position { identity: identity.to_owned(), position, last_record: format!("digest of {position}") }
}

pub(super) fn batch(expected: Option<Position>, position: Position, records: Vec<Record>) -> Batch {
    Batch { shard: 0, expected, position, records }
}

/// Applies records one batch after the other, as the projection does.
pub(crate) struct Projecting<'a> {
    store: &'a Store,
    pub(super) position: Option<Position>,
}

impl<'a> Projecting<'a> {
    pub(crate) const fn new(store: &'a Store) -> Self {
        Self { store, position: None }
    }

    pub(crate) async fn apply(&mut self, records: &[Record]) {
        let next = at("log", self.position.as_ref().map_or(0, |p| p.position) + records.len() as u64);
        self.store.apply(&batch(self.position.take(), next.clone(), records.to_vec())).await.unwrap();
        self.position = Some(next);
    }
}
