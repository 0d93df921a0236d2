//! How large one reply may become. What it takes in memory, in the log and in the store follows from this.

use super::batcher::event_bytes;
use crate::domain::event::Event;
use crate::domain::items::{Item, Part};
use crate::domain::reply::Reply;
use crate::llm::delta::Delta;

/// An event takes about as much as so many bytes of text, however short its own is.
const BYTES_PER_EVENT: usize = 64;

/// How large a reply is, and how large it may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    bytes: usize,
    events: usize,
    max_bytes: usize,
}

impl Size {
    /// The size of a reply as it is, of which so many bytes may be generated.
    pub(super) fn of(reply: &Reply, max_bytes: usize) -> Self {
        let bytes = reply.output().iter().map(item_bytes).sum();
        Self { bytes, events: usize::try_from(reply.next_sequence()).unwrap_or(usize::MAX), max_bytes }
    }

    /// How many bytes may still be generated.
    pub(super) const fn left(&self) -> usize {
        self.max_bytes.saturating_sub(self.bytes)
    }

    /// Cuts text off that there is no room for.
    pub(super) fn clip(&self, delta: &mut Delta) {
        let (Delta::Content { text, .. } | Delta::Reasoning(text) | Delta::Refusal(text)) = delta else { return };
        text.truncate(text.floor_char_boundary(self.left()));
    }

    /// Adds events.
    pub(super) fn add(&mut self, events: &[Event]) {
        self.bytes += events.iter().map(event_bytes).sum::<usize>();
    }

    /// Counts events that are emitted.
    pub(super) const fn count(&mut self, events: usize) {
        self.events += events;
    }

    /// Whether nothing more is to be generated.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes || self.events >= self.max_bytes.div_ceil(BYTES_PER_EVENT)
    }
}

fn item_bytes(item: &Item) -> usize {
    let parts = |parts: &[Part]| parts.iter().map(part_bytes).sum::<usize>();
    match item {
        Item::Message(message) => parts(&message.content),
        Item::Reasoning(reasoning) => parts(&reasoning.content) + parts(&reasoning.summary),
        Item::FunctionCall(call) => call.arguments.len(),
        Item::FunctionCallOutput(_) => 0,
    }
}

fn part_bytes(part: &Part) -> usize {
    let logprobs = match part {
        Part::OutputText { logprobs, .. } => logprobs.iter().map(super::batcher::json_bytes).sum(),
        _ => 0,
    };
    part.text().len() + logprobs
}
