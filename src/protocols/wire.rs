//! Events and replies as they are sent: JSON, appended to a buffer.
//!
//! This is the hot path: an event costs no allocation beyond the buffer's own growth, and its text is escaped once.
//! How events are framed (SSE, NDJSON) is not known here.

mod call;
mod echo;
mod envelope;
mod event;
mod item;

pub(crate) use envelope::Envelope;
#[cfg(test)]
pub(crate) use envelope::Facts;

use serde::Serialize;

use crate::domain::event::Event;
use crate::domain::items::{Item, Part};
use crate::domain::reply::Reply;

/// The text that an event adds to what a person reads: a delta of a message's text or refusal. `reply` is as it was
/// after the event.
pub(crate) fn plain_text<'a>(reply: &Reply, event: &'a Event) -> Option<&'a str> {
    match event {
        Event::Delta { item, text, .. } => {
            let item = reply.output().get(*item as usize)?;
            (matches!(item, Item::Message(_)) && !item.is_compaction()).then_some(text.as_str())
        }
        _ => None,
    }
}

/// Appends something as JSON.
pub(super) fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("the types of the wire are JSON, and a buffer takes what it is given");
}

/// The part that is being said, or was said last, and its place among the item's parts.
pub(super) fn last_part(item: &Item) -> Option<(usize, &Part)> {
    let parts = match item {
        Item::Message(message) => &message.content,
        Item::Reasoning(reasoning) if reasoning.content.is_empty() => &reasoning.summary,
        Item::Reasoning(reasoning) => &reasoning.content,
        Item::FunctionCall(_) | Item::FunctionCallOutput(_) => return None,
    };
    parts.last().map(|part| (parts.len() - 1, part))
}

#[cfg(test)]
mod tests;
