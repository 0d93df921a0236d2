//! Which items of a reply are open, and how far each got: the grammar of a reply's events.
//!
//! A message or reasoning is opened, then each of its parts opened, generated, completed and closed, then the item
//! closed; only one is open at a time. A function call has no parts, and several may be open. A reply ends with none
//! open.

use super::event::{Event, Opening};

/// An item that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenItem {
    /// Its output index.
    pub item: u32,
    /// Whether it is a function call.
    pub call: bool,
    /// How far it got.
    pub stage: Stage,
}

/// How far an open item got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// None of its parts is open.
    Between,
    /// Its last part is being generated, or the arguments of a call are.
    Generating,
    /// Its last part, or the arguments of a call, are complete, and not closed.
    Complete,
}

/// The open items of a reply, in the order in which they were opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OpenItems(Vec<OpenItem>);

impl OpenItems {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn as_slice(&self) -> &[OpenItem] {
        &self.0
    }

    /// Whether `event` can come now.
    pub(super) fn allow(&self, event: &Event) -> bool {
        let is_at = |item: &u32, call: Option<bool>, stage: Stage| {
            self.get(*item).is_some_and(|open| open.stage == stage && call.is_none_or(|call| open.call == call))
        };
        match event {
            Event::ItemAdded(_) => self.0.iter().all(|open| open.call),
            Event::PartAdded { item, .. } => is_at(item, Some(false), Stage::Between),
            Event::Delta { item, .. } | Event::TextDone(item) => is_at(item, None, Stage::Generating),
            Event::PartDone(item) => is_at(item, Some(false), Stage::Complete),
            Event::ItemDone { item, .. } => {
                is_at(item, Some(false), Stage::Between) || is_at(item, Some(true), Stage::Complete)
            }
            Event::End(_) => self.0.is_empty(),
            // Speech goes on beside the items.
            Event::Transcript(_)
            | Event::Audio(_)
            | Event::AudioDone(_)
            | Event::TranscriptDone
            | Event::Created
            | Event::Queued
            | Event::InProgress
            | Event::Error(_) => true,
        }
    }

    /// Notes an event that was [allowed](Self::allow); an item that it opens is the `next`.
    pub(super) fn note(&mut self, event: &Event, next: u32) {
        match event {
            Event::ItemAdded(opening) => {
                let call = matches!(opening, Opening::FunctionCall { .. });
                let stage = if call { Stage::Generating } else { Stage::Between };
                self.0.push(OpenItem { item: next, call, stage });
            }
            Event::PartAdded { item, .. } => self.set(*item, Stage::Generating),
            Event::TextDone(item) => self.set(*item, Stage::Complete),
            Event::PartDone(item) => self.set(*item, Stage::Between),
            Event::ItemDone { item, .. } => self.0.retain(|open| open.item != *item),
            _ => {}
        }
    }

    fn get(&self, item: u32) -> Option<&OpenItem> {
        self.0.iter().find(|open| open.item == item)
    }

    fn set(&mut self, item: u32, stage: Stage) {
        if let Some(open) = self.0.iter_mut().find(|open| open.item == item) {
            open.stage = stage;
        }
    }
}
