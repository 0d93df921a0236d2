//! A reply is a fold over its events: [`Reply::apply`] is the one place that knows what each event changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{Degraded, End, Event, Opening, Outcome, PartKind, ReplyError, Usage};
use super::ids::ReplyId;
use super::items::{Extra, FunctionCall, Item, ItemStatus, Message, Part, Reasoning, Role};
use super::open::{OpenItem, OpenItems};

/// How far a reply got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Accepted, in the background.
    Queued,
    /// Being generated.
    InProgress,
    /// Generated to its end.
    Completed,
    /// Stopped at a limit or by a filter.
    Incomplete,
    /// Stopped by a client.
    Cancelled,
    /// Not generated to its end.
    Failed,
}

/// An event that cannot come where it came: the record is damaged, or of a version that this one cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {sequence} of the reply cannot follow the one before it")]
pub struct OutOfOrder {
    /// Its sequence number.
    pub sequence: u64,
}

/// A reply's state after its events so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    id: ReplyId,
    status: Status,
    content: Content,
    open: OpenItems,
    speech: Speech,
    next_sequence: u64,
}

/// How far a reply's speech got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Speech {
    #[default]
    Open,
    AudioDone,
    TranscriptDone,
}

/// The content of a reply: what is stored of it permanently.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The items in order.
    pub output: Vec<Item>,
    /// What the upstream wants back with an item, by output index; never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(rename = "kept")]
    pub provider_state: BTreeMap<u32, Value>,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// When it ended, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// What was switched off meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Arc<Degraded>>,
}

impl Reply {
    /// A reply before its first event, which creates it.
    pub const fn new(id: ReplyId) -> Self {
        Self {
            id,
            status: Status::InProgress,
            content: Content {
                output: Vec::new(),
                provider_state: BTreeMap::new(),
                end: None,
                ended_at: None,
                degraded: None,
            },
            open: OpenItems::new(),
            speech: Speech::Open,
            next_sequence: 0,
        }
    }

    /// A reply that has been opened: the events that every reply begins with were applied.
    pub fn opened(id: ReplyId, background: bool) -> Self {
        let mut reply = Self::new(id);
        for event in Event::opening(background) {
            reply.apply(event).expect("a reply opens with its opening events");
        }
        reply
    }

    /// Its id.
    pub const fn id(&self) -> ReplyId {
        self.id
    }

    /// How far it got.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Its output items.
    pub fn output(&self) -> &[Item] {
        &self.content.output
    }

    /// What is stored of it permanently.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// What is stored of it permanently, taken out.
    pub fn into_content(self) -> Content {
        self.content
    }

    /// How it ended.
    pub const fn end(&self) -> Option<&End> {
        self.content.end.as_ref()
    }

    /// Why it failed.
    pub const fn error(&self) -> Option<&ReplyError> {
        match &self.content.end {
            Some(End { outcome: Outcome::Failed(error), .. }) => Some(error),
            _ => None,
        }
    }

    /// What it used.
    pub const fn usage(&self) -> Option<&Usage> {
        match &self.content.end {
            Some(End { usage: Some(usage), .. }) => Some(usage),
            _ => None,
        }
    }

    /// The sequence number that the next event gets.
    pub const fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The items that are open, in the order in which they were opened.
    pub fn open_items(&self) -> &[OpenItem] {
        self.open.as_slice()
    }

    /// Whether its speech has ended.
    pub fn speech_is_over(&self) -> bool {
        self.speech == Speech::TranscriptDone
    }

    /// Sets how the reply ends, before its last event: its text is over, and its speech goes on.
    pub fn conclude(&mut self, end: End, ended_at: u64) {
        self.status = end.outcome.status();
        self.content.end = Some(end);
        self.content.ended_at = Some(ended_at);
    }

    /// Notes when the reply ended, in Unix seconds.
    pub const fn set_ended_at(&mut self, seconds: u64) {
        self.content.ended_at = Some(seconds);
    }

    /// The summary that it begins with, also one that is being made.
    pub fn compaction(&self) -> Option<&Item> {
        self.content.output.iter().find(|item| item.is_compaction())
    }

    /// Whether the summary that it begins with is made.
    pub fn is_compacted(&self) -> bool {
        self.compaction().is_some_and(|item| item.status() == ItemStatus::Completed)
    }

    /// What it answers: its items without the summary that it begins with.
    pub fn answer(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.content.output.iter().filter(|item| !item.is_compaction())
    }

    /// All text of its messages; while the summary that it begins with is being made, of that.
    pub fn text(&self) -> String {
        let is_summing_up = self.compaction().is_some_and(|item| item.status() == ItemStatus::InProgress);
        let parts = self.content.output.iter().filter_map(|item| match item {
            Item::Message(message) if item.is_compaction() == is_summing_up => Some(&message.content),
            _ => None,
        });
        parts.flatten().map(Part::text).collect()
    }

    /// Takes the next event into the reply.
    ///
    /// # Errors
    /// [`OutOfOrder`] when the event cannot come here. The reply is then as it was.
    pub fn apply(&mut self, event: &Event) -> Result<(), OutOfOrder> {
        let damaged = OutOfOrder { sequence: self.next_sequence };
        if self.content.end.is_some() || !self.open.allow(event) || !self.speech.allows(event) {
            return Err(damaged);
        }
        let next_item = u32::try_from(self.content.output.len()).expect("a reply has fewer items");
        match event {
            Event::Created
            | Event::Error(_)
            | Event::TextDone(_)
            | Event::PartDone(_)
            | Event::Transcript(_)
            | Event::Audio(_) => {}
            Event::AudioDone(degraded) => {
                self.speech = Speech::AudioDone;
                self.content.degraded.clone_from(degraded);
            }
            Event::TranscriptDone => self.speech = Speech::TranscriptDone,
            Event::Queued => self.status = Status::Queued,
            Event::InProgress => self.status = Status::InProgress,
            Event::ItemAdded(opening) => self.add_item(opening),
            Event::PartAdded { item, kind } => self.add_part(*item, *kind).ok_or(damaged)?,
            Event::Delta { item, text, logprobs } => self.add_text(*item, text, logprobs).ok_or(damaged)?,
            Event::ItemDone { item, incomplete, provider_state } => {
                self.close_item(*item, *incomplete, provider_state.as_ref()).ok_or(damaged)?;
            }
            Event::End(end) => {
                self.status = end.outcome.status();
                self.content.end = Some(end.clone());
            }
        }
        self.open.note(event, next_item);
        self.next_sequence += 1;
        Ok(())
    }

    fn add_item(&mut self, opening: &Opening) {
        let index = self.content.output.len();
        self.content.output.push(opening.item(self.id, index));
    }

    fn add_part(&mut self, item: u32, kind: PartKind) -> Option<()> {
        match (self.content.output.get_mut(item as usize)?, kind) {
            (Item::Message(message), PartKind::Text | PartKind::Refusal) => message.content.push(kind.empty()),
            // Never both: the layout has the parts of one list.
            (Item::Reasoning(it), PartKind::Reasoning) if it.summary.is_empty() => it.content.push(kind.empty()),
            (Item::Reasoning(it), PartKind::Summary) if it.content.is_empty() => it.summary.push(kind.empty()),
            _ => return None,
        }
        Some(())
    }

    fn add_text(&mut self, item: u32, delta: &str, new_logprobs: &[Value]) -> Option<()> {
        let text = match self.content.output.get_mut(item as usize)? {
            Item::FunctionCall(call) => &mut call.arguments,
            item => match last_part(item)? {
                Part::OutputText { text, logprobs, .. } => {
                    logprobs.extend_from_slice(new_logprobs);
                    text.push_str(delta);
                    return Some(());
                }
                Part::Refusal { refusal: text } | Part::ReasoningText { text } | Part::SummaryText { text } => text,
                Part::InputText { .. } | Part::InputImage { .. } | Part::InputAudio { .. } => return None,
            },
        };
        // Only output text has a place for probabilities.
        new_logprobs.is_empty().then(|| text.push_str(delta))
    }

    fn close_item(&mut self, index: u32, incomplete: bool, provider_state: Option<&Value>) -> Option<()> {
        let new = if incomplete { ItemStatus::Incomplete } else { ItemStatus::Completed };
        match self.content.output.get_mut(index as usize)? {
            Item::Message(item) => item.status = new,
            Item::Reasoning(item) => item.status = Some(new),
            Item::FunctionCall(item) => item.status = new,
            Item::FunctionCallOutput(_) => return None,
        }
        if let Some(provider_state) = provider_state {
            self.content.provider_state.insert(index, provider_state.clone());
        }
        Some(())
    }
}

impl Speech {
    /// Whether `event` can come now: no speech after its end.
    fn allows(self, event: &Event) -> bool {
        match event {
            Event::Transcript(_) | Event::Audio(_) | Event::AudioDone(_) => self == Self::Open,
            Event::TranscriptDone => self == Self::AudioDone,
            _ => true,
        }
    }
}

/// The part of an item that is being generated, or was the last.
pub fn last_part(item: &mut Item) -> Option<&mut Part> {
    match item {
        Item::Message(message) => message.content.last_mut(),
        Item::Reasoning(reasoning) => reasoning.content.last_mut().or(reasoning.summary.last_mut()),
        Item::FunctionCall(_) | Item::FunctionCallOutput(_) => None,
    }
}

impl Opening {
    /// The item as it is when it has just been opened.
    fn item(&self, reply: ReplyId, index: usize) -> Item {
        let status = ItemStatus::InProgress;
        match self {
            Self::Message | Self::Compaction => {
                let (prefix, role) = match self {
                    Self::Compaction => ("cmp", Role::Developer),
                    _ => ("msg", Role::Assistant),
                };
                let (id, content, extra) = (reply.output_item(prefix, index), Vec::new(), Extra::new());
                Item::Message(Message { id, status, role, content, extra })
            }
            Self::Reasoning => Item::Reasoning(Reasoning {
                id: reply.output_item("rs", index),
                status: Some(status),
                summary: Vec::new(),
                content: Vec::new(),
                encrypted_content: None,
                extra: Extra::new(),
            }),
            Self::FunctionCall { call_id, name } => Item::FunctionCall(FunctionCall {
                id: reply.output_item("fc", index),
                status,
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: String::new(),
                extra: Extra::new(),
            }),
        }
    }
}

impl PartKind {
    /// A part of this kind without text.
    const fn empty(self) -> Part {
        let text = String::new();
        match self {
            Self::Text => Part::OutputText { text, annotations: Vec::new(), logprobs: Vec::new() },
            Self::Refusal => Part::Refusal { refusal: text },
            Self::Reasoning => Part::ReasoningText { text },
            Self::Summary => Part::SummaryText { text },
        }
    }
}

impl Outcome {
    /// The status of a reply that ended so.
    pub const fn status(&self) -> Status {
        match self {
            Self::Completed => Status::Completed,
            Self::MaxOutputTokens | Self::ContentFilter => Status::Incomplete,
            Self::Cancelled => Status::Cancelled,
            Self::Failed(_) => Status::Failed,
        }
    }
}

impl Status {
    /// The status as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether the reply is over.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}
