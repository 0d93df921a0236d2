//! The records of the log, and their form there: JSON with a version. Fields that a version does not know are
//! ignored, so that in a rolling deploy an old instance can take over a newer one's reply.
//!
//! The **transcript** of a thread holds its items and every change; it is the only source of the store.
//! The **reply log** of a reply holds its generation, event by event. Of both, only [`Accepted`], [`Ended`] and the
//! reply log's [`Done`] are needed to reproduce every event of a finished reply.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::caller::Owner;
use super::event::{Degraded, End, Event};
use super::ids::{InstanceId, ReplyId};
use super::items::Item;
use super::layout::OutputLayout;
use super::params::{Metadata, Params};
use super::reply::Content;

/// The version of the records that this program writes.
pub const VERSION: u32 = 1;

/// A record of a thread's transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TranscriptRecord {
    /// See [`VERSION`].
    pub v: u32,
    /// The record's place in its thread, from 1, without gaps.
    pub ordinal: u64,
    /// When it was made, in milliseconds of Unix time.
    pub at: u64,
    /// What changed.
    pub change: Change,
}

/// What a record changes in its thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A reply was accepted. From here on it is never lost.
    Accepted(Arc<Accepted>),
    /// A reply ended. Of several for one reply the first counts.
    Ended(Arc<Ended>),
    /// The speech of a reply that had ended is over, too.
    Spoken {
        /// Which.
        reply: ReplyId,
        /// How all its events were cut.
        #[serde(rename = "skeleton")]
        layout: OutputLayout,
        /// What had to be switched off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        degraded: Option<Arc<Degraded>>,
    },
    /// A reply was deleted, finished or not; this also unlocks its conversation.
    ReplyDeleted {
        /// Which.
        reply: ReplyId,
        /// The ordinals of its records, which are erased from the log: their absence is no gap.
        #[serde(default)]
        erased: Vec<u64>,
        /// What is left of other records that are erased: each stands at its ordinal.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<TranscriptRecord>,
    },
    /// The thread became a conversation.
    ConversationCreated {
        /// The client's notes.
        metadata: Metadata,
        /// Its first items.
        items: Vec<Item>,
        /// Its owner.
        #[serde(default, rename = "caller")]
        owner: Owner,
    },
    /// The conversation's metadata were set.
    MetadataSet {
        /// All of them.
        metadata: Metadata,
    },
    /// A client added items to the conversation.
    ItemsAdded {
        /// At its end, in order.
        items: Vec<Item>,
    },
    /// A client deleted an item from the conversation.
    ItemDeleted {
        /// Its id.
        item: String,
        /// What is left of the records that held it, which are erased from the log: each stands at its ordinal.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<TranscriptRecord>,
    },
    /// The conversation was deleted. Its replies stay.
    ConversationDeleted {
        /// The ordinals of its other records, which are erased from the log: their absence is no gap.
        #[serde(default)]
        erased: Vec<u64>,
        /// What is left of other records that are erased: each stands at its ordinal.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<TranscriptRecord>,
        /// Its owner, which no other record holds any more.
        #[serde(default, rename = "caller")]
        owner: Owner,
    },
}

/// A reply's request, as it was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The reply.
    pub reply: ReplyId,
    /// Whether it belongs to the thread's conversation. Otherwise it belongs to the tree of replies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_conversation: bool,
    /// Whether it is a turn of a chat: a conversation that is a tree, of which the path to the newest reply is shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chat: bool,
    /// The reply that it follows, by `previous_response_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<ReplyId>,
    /// When, in Unix seconds.
    pub created_at: u64,
    /// Its owner: the caller, or the owner of the conversation or the reply that it continues.
    #[serde(default, rename = "caller")]
    pub owner: Owner,
    /// The instance that accepted it, and generates it first: epoch 1.
    pub instance: InstanceId,
    /// Distinguishes this attempt of the instance from another under the same `Idempotency-Key`.
    pub nonce: u64,
    /// A digest of the request's body, when it came with an `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The trace that its request is in, as `traceparent` has it, where that is exported: an instance that continues the reply
    /// goes on in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The request's own items; references resolved, ids given.
    pub input: Vec<Item>,
    /// What upstreams want back with these items, by their place; never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(rename = "kept")]
    pub provider_state: BTreeMap<u32, Value>,
    /// Everything else that was asked for.
    pub params: Arc<Params>,
}

/// A context item, with its provider state.
pub type ContextEntry = (Item, Option<Value>);

/// How a reply ended, and all its output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The reply.
    pub reply: ReplyId,
    /// Its output.
    #[serde(rename = "said")]
    pub content: Content,
    /// How its events were cut.
    #[serde(rename = "skeleton")]
    pub layout: OutputLayout,
    /// Its text is over, and its speech goes on: the layout is that of the events so far, and the rest of them
    /// comes as [`Change::Spoken`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub speaking: bool,
}

/// A record of a reply's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplyLogRecord {
    /// See [`VERSION`].
    pub v: u32,
    /// Which generator wrote it: 1 is the instance that accepted the reply, each claim is the next.
    pub epoch: u32,
    /// Distinguishes the generator's own records from another's after an ambiguous append.
    pub nonce: u64,
    /// Its content.
    pub entry: ReplyLogEntry,
}

/// The content of a record of a reply log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyLogEntry {
    /// Events, in order.
    Events {
        /// The sequence number of the first.
        first: u64,
        /// The events. None, where only the beginning of work is noted.
        events: Vec<Event>,
        /// After a takeover: the reply has its turn at the model from here on. If its instance dies before the next event
        /// is stored, the reply may be the cause.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begins: Option<Begins>,
    },
    /// An instance has taken over the reply.
    Claim {
        /// Which.
        instance: InstanceId,
    },
    /// The generator stops in good order, for another to take over: its end is not held against the reply.
    HandedOver,
    /// The reply's text is over, and its speech goes on: its last events but the terminal one, and what goes into the
    /// transcript.
    #[serde(rename = "said")]
    TextEnded {
        /// The sequence number of the first of the events.
        first: u64,
        /// The events.
        events: Vec<Event>,
        /// The end of the text.
        ended: Arc<Ended>,
    },
    /// The reply is over.
    Done(Done),
    /// There was a ticket and never a reply; this keeps its owner from starting one.
    Void,
    /// The reply was deleted.
    Deleted,
}

/// An instance that took a reply over begins to work on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begins {
    /// No other reply that is suspected of killing its instances is worked on there meanwhile.
    pub alone: bool,
}

/// The end of a reply log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The sequence number of the first event that no record before this one holds.
    pub first: u64,
    /// What goes into the transcript.
    pub ended: Arc<Ended>,
}

/// How far a reply got, written now and then, so that it need not be read from its first record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// See [`VERSION`].
    pub v: u32,
    /// The reply log's sequence of the last record that it holds.
    pub chain_sequence: u64,
    /// The latest generator at that point.
    pub epoch: u32,
    /// The instance that claimed last up to that point, if any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimant: Option<InstanceId>,
    /// The output so far.
    #[serde(rename = "said")]
    pub content: Content,
    /// How its events were cut.
    #[serde(rename = "skeleton")]
    pub layout: OutputLayout,
}

/// A stored record that this program cannot read.
#[derive(Debug, thiserror::Error)]
#[error("a record of the log cannot be read: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

impl Change {
    /// Whether it takes something away.
    pub const fn is_deletion(&self) -> bool {
        matches!(self, Self::ReplyDeleted { .. } | Self::ConversationDeleted { .. } | Self::ItemDeleted { .. })
    }

    /// The ordinals of records of which a deletion left nothing.
    pub fn erased(&self) -> &[u64] {
        match self {
            Self::ReplyDeleted { erased, .. } | Self::ConversationDeleted { erased, .. } => erased,
            _ => &[],
        }
    }

    /// What a deletion left of the other records that it erases.
    pub fn left(&self) -> &[TranscriptRecord] {
        match self {
            Self::ReplyDeleted { left, .. }
            | Self::ConversationDeleted { left, .. }
            | Self::ItemDeleted { left, .. } => left,
            _ => &[],
        }
    }

    /// Takes out what a deletion left.
    pub fn take_left(&mut self) -> Vec<TranscriptRecord> {
        match self {
            Self::ReplyDeleted { left, .. }
            | Self::ConversationDeleted { left, .. }
            | Self::ItemDeleted { left, .. } => std::mem::take(left),
            _ => Vec::new(),
        }
    }
}

impl TranscriptRecord {
    /// Reads a record as the log holds it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        Ok(read_json(bytes)?)
    }

    /// The record as the log holds it.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

impl ReplyLogRecord {
    /// Reads a record as the log holds it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        Ok(read_json(bytes)?)
    }

    /// The record as the log holds it.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

impl ReplyLogRecord {
    /// The record of these parts as the log holds it: without taking the entry, which may be large.
    pub fn encode_parts(v: u32, epoch: u32, nonce: u64, entry: &ReplyLogEntry) -> Vec<u8> {
        #[derive(Serialize)]
        struct Parts<'a> {
            v: u32,
            epoch: u32,
            nonce: u64,
            entry: &'a ReplyLogEntry,
        }
        encode(&Parts { v, epoch, nonce, entry })
    }
}

impl Snapshot {
    /// Reads a snapshot as the log holds it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        Ok(read_json(bytes)?)
    }

    /// The snapshot as the log holds it.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

impl Accepted {
    /// Whether it is seen where its conversation is looked at.
    pub const fn is_shown(&self) -> bool {
        self.in_conversation || self.chat
    }

    /// The request's own items.
    pub fn context_entries(&self) -> Vec<ContextEntry> {
        let items = self.input.iter().enumerate();
        items
            .map(|(index, item)| {
                let provider_state = u32::try_from(index).ok().and_then(|index| self.provider_state.get(&index));
                (item.clone(), provider_state.cloned())
            })
            .collect()
    }
}

impl Ended {
    /// The same reply, with its speech complete.
    #[must_use]
    pub fn spoken(&self, layout: OutputLayout, degraded: Option<Arc<Degraded>>) -> Self {
        let content = Content { degraded, ..self.content.clone() };
        Self { reply: self.reply, content, layout, speaking: false }
    }

    /// How the reply ended.
    pub const fn end(&self) -> Option<&End> {
        self.content.end.as_ref()
    }
}

/// Reads JSON that this program wrote. What a client sent nests at most as deeply as the parser of requests allows, and
/// stands some levels deeper in a record: a limit here would make a thread unreadable.
pub(crate) fn read_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    reader.disable_recursion_limit();
    let value = T::deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, record).expect("a record is always JSON");
    bytes
}
