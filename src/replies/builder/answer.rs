//! What is known of the reply's last message.

use super::options::JsonForm;
use super::text_item;
use crate::domain::event::PartKind;
use crate::domain::items::{Item, Message, Part};
use crate::domain::reply::Reply;
use crate::offload::offload;

/// What is known of the reply's last message.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// There is one.
    pub(super) exists: bool,
    /// It refuses.
    refused: bool,
    /// Its text; only if it has to be JSON.
    text: String,
}

impl Answer {
    pub(super) fn of(reply: &Reply, with_text: bool) -> Self {
        let last = reply.answer().rev().find_map(|item| match item {
            Item::Message(Message { content, .. }) => Some(content),
            _ => None,
        });
        let Some(parts) = last else { return Self::default() };
        let refused = parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
        let text = if with_text { parts.iter().map(Part::text).collect() } else { String::new() };
        Self { exists: true, refused, text }
    }

    pub(super) fn add(&mut self, kind: PartKind, text: &str, with_text: bool) {
        match kind {
            PartKind::Text if with_text => self.text.push_str(text),
            PartKind::Refusal => self.refused = true,
            PartKind::Text | PartKind::Reasoning | PartKind::Summary => {}
        }
        self.exists |= text_item::is_message(kind);
    }

    /// Whether it is JSON of this form. A refusal need not be.
    pub(super) fn is(&self, form: JsonForm) -> bool {
        self.refused || offload(self.text.len(), || form.matches(&self.text))
    }
}
