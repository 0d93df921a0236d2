//! The message or the thoughts that are being generated.

use serde_json::Value;

use crate::domain::event::{Event, Opening, PartKind};
use crate::domain::items::{Item, Part};
use crate::domain::open::Stage;
use crate::domain::reply::Reply;

/// An open message or reasoning item.
#[derive(Debug)]
pub(super) struct TextItem {
    item: u32,
    message: bool,
    /// The kind of its last part.
    part: PartKind,
    stage: Stage,
    /// Thoughts of an attempt that was broken off: closed as they are.
    broken: bool,
}

impl TextItem {
    /// Opens an item for a part of this kind; `as_message` is the item for parts of a message.
    pub(super) fn open(item: u32, kind: PartKind, as_message: Opening, out: &mut Vec<Event>) -> Self {
        let message = is_message(kind);
        out.push(Event::ItemAdded(if message { as_message } else { Opening::Reasoning }));
        Self { item, message, part: kind, stage: Stage::Between, broken: false }
    }

    /// The one that an earlier attempt left open.
    pub(super) fn taken_over(reply: &Reply) -> Option<Self> {
        let open = reply.open_items().iter().find(|open| !open.call)?;
        let (message, part) = match &reply.output()[open.item as usize] {
            Item::Message(message) => (true, message.content.last().map_or(PartKind::Text, message_part)),
            _ => (false, PartKind::Reasoning),
        };
        Some(Self { item: open.item, message, part, stage: open.stage, broken: !message })
    }

    pub(super) const fn item(&self) -> u32 {
        self.item
    }

    pub(super) const fn part(&self) -> PartKind {
        self.part
    }

    pub(super) const fn is_message(&self) -> bool {
        self.message
    }

    /// Whether a part of this kind belongs into this item.
    pub(super) fn takes(&self, kind: PartKind) -> bool {
        self.message == is_message(kind) && !self.broken
    }

    /// Makes a part of this kind the open one.
    pub(super) fn open_part(&mut self, kind: PartKind, out: &mut Vec<Event>) {
        if self.stage != Stage::Generating || self.part != kind {
            self.close_part(out);
        }
        if self.stage == Stage::Between {
            out.push(Event::PartAdded { item: self.item, kind });
            self.stage = Stage::Generating;
            self.part = kind;
        }
    }

    /// Closes the item; it takes along what the upstream wants back, unless that came after it was broken off.
    pub(super) fn close(mut self, incomplete: bool, provider_state: &mut Option<Value>, out: &mut Vec<Event>) {
        self.close_part(out);
        let provider_state = if self.broken { None } else { provider_state.take() };
        out.push(Event::ItemDone { item: self.item, incomplete: incomplete || self.broken, provider_state });
    }

    fn close_part(&mut self, out: &mut Vec<Event>) {
        if self.stage == Stage::Generating {
            out.push(Event::TextDone(self.item));
        }
        if self.stage != Stage::Between {
            out.push(Event::PartDone(self.item));
        }
        self.stage = Stage::Between;
    }
}

/// Whether parts of this kind belong to messages.
pub(super) const fn is_message(kind: PartKind) -> bool {
    matches!(kind, PartKind::Text | PartKind::Refusal)
}

const fn message_part(part: &Part) -> PartKind {
    if matches!(part, Part::Refusal { .. }) { PartKind::Refusal } else { PartKind::Text }
}
