//! From records to rows: what a batch changes, with each reply's acceptance and end brought together. No I/O.
//!
//! Only the few fields that become columns are read from a record; the record itself is passed through.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::Record;
use crate::domain::event::{Outcome, Usage};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::record::read_json;
use crate::domain::reply::Status;
use crate::domain::usage::{Day, Used};

/// What a batch changes.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Replies that were accepted in the batch.
    pub(super) replies: Vec<ReplyRow>,
    /// Ends of replies that were accepted before it.
    pub(super) ends: Vec<EndRow>,
    /// All other records.
    pub(super) changes: Vec<ChangeRow>,
    /// What happens in conversations.
    pub(super) activities: BTreeMap<ThreadId, Activity>,
    /// What is to be erased once the rows are there, in order.
    pub(super) erasures: Vec<Erasure>,
    /// Records that could not be read.
    pub(super) unreadable: usize,
    /// Where in `replies` and `ends` the replies of the batch stand.
    places: HashMap<ReplyId, RecordColumn>,
}

/// A reply that was accepted.
#[derive(Debug)]
pub(super) struct ReplyRow {
    pub(super) id: ReplyId,
    pub(super) ordinal: u64,
    pub(super) previous: Option<ReplyId>,
    pub(super) in_conversation: bool,
    pub(super) created_at: u64,
    pub(super) model: String,
    pub(super) status: &'static str,
    pub(super) accepted: Bytes,
    /// Whom it belongs to; empty: nobody in particular.
    pub(super) owner: String,
    pub(super) end: Option<EndRow>,
}

/// The end of a reply.
#[derive(Debug)]
pub(super) struct EndRow {
    pub(super) id: ReplyId,
    pub(super) ordinal: u64,
    pub(super) ended_at: Option<u64>,
    pub(super) status: &'static str,
    pub(super) ended: Bytes,
    /// What it used, as far as that is known.
    pub(super) usage: Usage,
}

/// What the end of a reply adds to what its owner used, if it is the first.
#[derive(Debug)]
pub(super) struct UsageRow<'a> {
    pub(super) id: ReplyId,
    /// Whose it is and what generated it, where it was accepted in the same batch. Otherwise its row tells.
    pub(super) accepted: Option<(&'a str, &'a str)>,
    pub(super) day: Day,
    pub(super) used: Used,
}

/// Any other change.
#[derive(Debug)]
pub(super) struct ChangeRow {
    pub(super) thread: ThreadId,
    pub(super) ordinal: u64,
    pub(super) kind: Cow<'static, str>,
    pub(super) record: Bytes,
    /// Whom the conversation belongs to that it makes or deletes; empty: nobody in particular.
    pub(super) owner: String,
}

/// What happens in a conversation: a reply or an item came, or it was made.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Whom it belongs to; `None`: no record of the batch says so.
    pub(super) owner: Option<String>,
    /// When, in milliseconds of Unix time.
    pub(super) at: u64,
    /// The first reply of the batch.
    pub(super) first_reply: Option<ReplyId>,
}

/// Text that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Erasure {
    /// A reply: what was asked and what was said.
    Reply(ReplyId),
    /// What was added to a thread before this ordinal.
    Conversation { thread: ThreadId, before: u64 },
    /// One item that was added to a thread before this ordinal.
    Item { thread: ThreadId, before: u64, item: String },
}

#[derive(Debug, Clone, Copy)]
enum RecordColumn {
    Accepted(usize),
    Ended,
}

/// What is read of a record.
#[derive(Deserialize)]
struct Head<'a> {
    ordinal: u64,
    #[serde(default)]
    at: u64,
    #[serde(borrow)]
    change: ChangeHead<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChangeHead<'a> {
    #[serde(borrow)]
    Accepted(AcceptedHead<'a>),
    Ended(EndedHead),
    Spoken(IgnoredAny),
    ReplyDeleted {
        reply: ReplyId,
        #[serde(borrow, default)]
        left: Left<'a>,
    },
    #[serde(borrow)]
    ConversationCreated(ConversationHead<'a>),
    MetadataSet(IgnoredAny),
    ItemsAdded(IgnoredAny),
    ItemDeleted {
        item: String,
        #[serde(borrow, default)]
        left: Left<'a>,
    },
    ConversationDeleted {
        #[serde(borrow, default, rename = "caller")]
        owner: Cow<'a, str>,
        #[serde(borrow, default)]
        left: Left<'a>,
    },
}

/// What a deletion carries of records that the log has erased.
type Left<'a> = Vec<&'a RawValue>;

#[derive(Deserialize)]
struct AcceptedHead<'a> {
    reply: ReplyId,
    #[serde(default)]
    in_conversation: bool,
    #[serde(default)]
    chat: bool,
    #[serde(default)]
    previous: Option<ReplyId>,
    created_at: u64,
    #[serde(borrow, default, rename = "caller")]
    owner: Cow<'a, str>,
    #[serde(borrow)]
    params: ParamsHead<'a>,
}

#[derive(Deserialize)]
struct ConversationHead<'a> {
    #[serde(borrow, default, rename = "caller")]
    owner: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ParamsHead<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(default)]
    background: bool,
}

#[derive(Deserialize)]
struct EndedHead {
    reply: ReplyId,
    said: SaidHead,
}

#[derive(Deserialize)]
struct SaidHead {
    #[serde(default)]
    end: Option<EndHead>,
    #[serde(default)]
    ended_at: Option<u64>,
}

#[derive(Deserialize)]
struct EndHead {
    outcome: Outcome,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Ordinal {
    ordinal: u64,
}

/// A record of a kind that this version does not know.
#[derive(Deserialize)]
struct UnknownHead {
    ordinal: u64,
    change: serde_json::Value,
}

/// Records that are read before other tasks get a turn: about 150 µs.
const READ_AT_ONCE: usize = 64;

impl Rows {
    /// What these records change.
    pub(super) async fn of(records: &[Record]) -> Self {
        let mut rows = Self::default();
        for records in records.chunks(READ_AT_ONCE) {
            for record in records {
                rows.push(record);
            }
            tokio::task::yield_now().await;
        }
        rows
    }

    /// Takes in the next record.
    fn push(&mut self, record: &Record) {
        if record.payload.is_empty() {
            return;
        }
        let Ok(text) = std::str::from_utf8(&record.payload) else {
            self.unreadable += 1;
            return;
        };
        let read = match read_json::<Head<'_>>(text.as_bytes()) {
            Ok(head) => self.push_known(record, head),
            Err(_) => self.push_unknown(record, text),
        };
        if read.is_none() {
            self.unreadable += 1;
        }
    }

    /// How many replies it brings.
    pub(super) const fn reply_count(&self) -> usize {
        self.replies.len() + self.ends.len()
    }

    /// The records that accept and end replies, by their ordinals.
    pub(super) fn places(&self) -> impl Iterator<Item = (ReplyId, u64)> {
        let accepted = self.replies.iter().map(|row| (row.id, row.ordinal));
        let ended = self.replies.iter().filter_map(|row| row.end.as_ref()).chain(&self.ends);
        accepted.chain(ended.map(|row| (row.id, row.ordinal)))
    }

    /// What the ends in it add to what was used.
    pub(super) fn usage(&self) -> Vec<UsageRow<'_>> {
        let of = |end: &EndRow, accepted| UsageRow {
            id: end.id,
            accepted,
            day: Day::of(end.ended_at.unwrap_or_default()),
            used: Used::of_reply(end.usage),
        };
        let whole = self.replies.iter().filter_map(|row| Some((row, row.end.as_ref()?)));
        let whole = whole.map(|(row, end)| of(end, Some((row.owner.as_str(), row.model.as_str()))));
        whole.chain(self.ends.iter().map(|end| of(end, None))).collect()
    }

    fn push_known(&mut self, record: &Record, head: Head<'_>) -> Option<()> {
        let Head { ordinal, at, change } = head;
        let thread = record.thread;
        self.happens(thread, at, &change);
        match change {
            ChangeHead::Accepted(accepted) => self.accept(accepted, ordinal, record)?,
            ChangeHead::Ended(ended) => self.end(&ended, ordinal, record)?,
            ChangeHead::Spoken(_) => self.change(record, ordinal, "spoken"),
            ChangeHead::ReplyDeleted { reply, left } => {
                self.deletion(record, ordinal, "reply_deleted", &left)?;
                self.erasures.push(Erasure::Reply(reply));
            }
            ChangeHead::ItemDeleted { item, left } => {
                self.deletion(record, ordinal, "item_deleted", &left)?;
                self.erasures.push(Erasure::Item { thread, before: ordinal, item });
            }
            ChangeHead::ConversationDeleted { left, owner } => {
                self.deletion(record, ordinal, "conversation_deleted", &left)?;
                if let Some(row) = self.changes.last_mut() {
                    row.owner = owner.into_owned();
                }
                self.erasures.push(Erasure::Conversation { thread, before: ordinal });
            }
            ChangeHead::ConversationCreated(head) => self.change_of(head, record, ordinal, "conversation_created"),
            ChangeHead::MetadataSet(_) => self.change(record, ordinal, "metadata_set"),
            ChangeHead::ItemsAdded(_) => self.change(record, ordinal, "items_added"),
        }
        Some(())
    }

    fn happens(&mut self, thread: ThreadId, at: u64, change: &ChangeHead<'_>) {
        let (owner, reply) = match change {
            ChangeHead::Accepted(head) if (head.in_conversation || head.chat) && head.reply.thread() == thread => {
                (Some(&head.owner), Some(head.reply))
            }
            ChangeHead::ConversationCreated(head) => (Some(&head.owner), None),
            ChangeHead::ItemsAdded(_) => (None, None),
            _ => return,
        };
        let activity = self.activities.entry(thread).or_default();
        activity.at = activity.at.max(at);
        activity.owner = activity.owner.take().or_else(|| owner.map(|owner| owner.clone().into_owned()));
        activity.first_reply = activity.first_reply.or(reply);
    }

    /// Of several acceptances of a reply the first counts. `None`: the reply is not of this thread.
    fn accept(&mut self, head: AcceptedHead<'_>, ordinal: u64, record: &Record) -> Option<()> {
        if head.reply.thread() != record.thread {
            return None;
        }
        if self.places.contains_key(&head.reply) {
            self.changes.push(ChangeRow::superseded(record.thread, ordinal));
            return Some(());
        }
        self.places.insert(head.reply, RecordColumn::Accepted(self.replies.len()));
        let status = if head.params.background { Status::Queued } else { Status::InProgress };
        self.replies.push(ReplyRow {
            id: head.reply,
            ordinal,
            previous: head.previous,
            in_conversation: head.in_conversation || head.chat,
            created_at: head.created_at,
            model: head.params.model.into_owned(),
            status: status.as_str(),
            accepted: record.payload.clone(),
            owner: head.owner.into_owned(),
            end: None,
        });
        Some(())
    }

    /// Of several ends of a reply the first counts.
    fn end(&mut self, head: &EndedHead, ordinal: u64, record: &Record) -> Option<()> {
        if head.reply.thread() != record.thread {
            return None;
        }
        let status = head.said.end.as_ref().map_or(Status::Failed, |end| end.outcome.status());
        let end = EndRow {
            id: head.reply,
            ordinal,
            ended_at: head.said.ended_at,
            status: status.as_str(),
            ended: record.payload.clone(),
            usage: head.said.end.as_ref().and_then(|end| end.usage).unwrap_or_default(),
        };
        match self.places.get(&head.reply) {
            Some(RecordColumn::Accepted(place)) if self.replies[*place].end.is_none() => {
                self.replies[*place].end = Some(end);
            }
            Some(_) => self.changes.push(ChangeRow::superseded(record.thread, ordinal)),
            None => {
                self.places.insert(head.reply, RecordColumn::Ended);
                self.ends.push(end);
            }
        }
        Some(())
    }

    fn change(&mut self, record: &Record, ordinal: u64, kind: impl Into<Cow<'static, str>>) {
        self.changes.push(ChangeRow {
            thread: record.thread,
            ordinal,
            kind: kind.into(),
            record: record.payload.clone(),
            owner: String::new(),
        });
    }

    fn change_of(&mut self, head: ConversationHead<'_>, record: &Record, ordinal: u64, kind: &'static str) {
        self.change(record, ordinal, kind);
        if let Some(row) = self.changes.last_mut() {
            row.owner = head.owner.into_owned();
        }
    }

    /// What a deletion carries becomes rows of their own, where the log erased the records before they were carried here.
    fn deletion(&mut self, record: &Record, ordinal: u64, kind: &'static str, left: &Left<'_>) -> Option<()> {
        if left.is_empty() {
            self.change(record, ordinal, kind);
            return Some(());
        }
        for left in left {
            let payload = Bytes::copy_from_slice(left.get().as_bytes());
            let ordinal = read_json::<Ordinal>(&payload).ok()?.ordinal;
            // What is there is emptied below.
            if !self.has(record.thread, ordinal) {
                self.push(&Record { thread: record.thread, payload });
            }
        }
        let mut bare: serde_json::Value = read_json(&record.payload).ok()?;
        bare.get_mut("change")?.get_mut(kind)?.as_object_mut()?.remove("left");
        let payload = Bytes::from(bare.to_string());
        self.change(&Record { thread: record.thread, payload }, ordinal, kind);
        Some(())
    }

    /// Whether the batch brings the record of this ordinal.
    fn has(&self, thread: ThreadId, ordinal: u64) -> bool {
        let is_it = |id: ReplyId, other: u64| id.thread() == thread && other == ordinal;
        self.places().any(|(id, other)| is_it(id, other))
            || self.changes.iter().any(|row| row.thread == thread && row.ordinal == ordinal)
    }

    /// A newer version's change is kept as it is, for a newer version to read.
    fn push_unknown(&mut self, record: &Record, text: &str) -> Option<()> {
        let head: UnknownHead = read_json(text.as_bytes()).ok()?;
        let kind = match &head.change {
            serde_json::Value::String(kind) => kind.clone(),
            serde_json::Value::Object(change) => change.keys().next()?.clone(),
            _ => return None,
        };
        self.change(record, head.ordinal, kind);
        Some(())
    }
}

impl ChangeRow {
    /// What stands for a record that does not count.
    fn superseded(thread: ThreadId, ordinal: u64) -> Self {
        Self { thread, ordinal, kind: Cow::Borrowed("superseded"), record: Bytes::new(), owner: String::new() }
    }
}

impl Erasure {
    /// The thread that loses it.
    pub(super) const fn thread(&self) -> ThreadId {
        match self {
            Self::Reply(reply) => reply.thread(),
            Self::Conversation { thread, .. } | Self::Item { thread, .. } => *thread,
        }
    }
}

/// A record as the text that it is; rows are made of nothing else.
pub(super) fn text(record: &[u8]) -> &str {
    std::str::from_utf8(record).unwrap_or_default()
}
