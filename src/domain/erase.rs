//! Takes the text of one item out of the records that hold it. No I/O.
//!
//! The item stays, empty: it shows which call it made or answered, so that its counterpart leaves the context with it,
//! and a reply that generated it keeps the numbers of its events, and every other item as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::ids::ReplyId;
use super::items::{Extra, Item, Part};
use super::record::{Change, Ended, TranscriptRecord};

/// The erasure of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemErasure<'a> {
    id: &'a str,
    /// The reply that generated it, and its place there; what a client added has none.
    output: Option<(ReplyId, u32)>,
}

impl<'a> ItemErasure<'a> {
    /// Of the item of this id.
    pub fn of(id: &'a str) -> Self {
        Self { id, output: ReplyId::of_output_item(id).ok() }
    }

    /// Takes the item's text out of a record. Returns whether there was any.
    pub fn apply(&self, record: &mut TranscriptRecord) -> bool {
        match &mut record.change {
            Change::ConversationCreated { items, .. } | Change::ItemsAdded { items } => {
                !self.empty_in(items, &mut BTreeMap::new()).is_empty()
            }
            Change::Accepted(accepted) if self.is_among(&accepted.input) => {
                let accepted = Arc::make_mut(accepted);
                !self.empty_in(&mut accepted.input, &mut accepted.provider_state).is_empty()
            }
            Change::Ended(ended) => self.apply_to_end(ended),
            Change::Spoken { reply, layout, .. } => match self.output {
                Some((of, index)) if of == *reply => layout.empty(index),
                _ => false,
            },
            Change::Accepted(_)
            | Change::MetadataSet { .. }
            | Change::ReplyDeleted { .. }
            | Change::ItemDeleted { .. }
            | Change::ConversationDeleted { .. } => false,
        }
    }

    /// Takes the item's text out of the end of a reply. Returns whether there was any.
    pub fn apply_to_end(&self, ended: &mut Arc<Ended>) -> bool {
        if !self.is_among(&ended.content.output) {
            return false;
        }
        let Ended { content, layout, .. } = Arc::make_mut(ended);
        let emptied = self.empty_in(&mut content.output, &mut content.provider_state);
        for index in &emptied {
            layout.empty(*index);
        }
        !emptied.is_empty()
    }

    /// Whether the item is one of these.
    pub fn is_among(&self, items: &[Item]) -> bool {
        items.iter().any(|item| item.id() == self.id)
    }

    /// The places of the items that had text.
    fn empty_in(&self, items: &mut [Item], provider_state: &mut BTreeMap<u32, Value>) -> Vec<u32> {
        let own = (0..).zip(items).filter(|(_, item)| item.id() == self.id);
        own.filter_map(|(index, item)| {
            let had_state = provider_state.remove(&index).is_some();
            (empty(item) || had_state).then_some(index)
        })
        .collect()
    }
}

/// Returns whether there was anything to take out.
fn empty(item: &mut Item) -> bool {
    let before = item.clone();
    match item {
        Item::Message(item) => {
            empty_parts(&mut item.content);
            item.extra = Extra::new();
        }
        Item::Reasoning(item) => {
            empty_parts(&mut item.summary);
            empty_parts(&mut item.content);
            item.encrypted_content = None;
            item.extra = Extra::new();
        }
        Item::FunctionCall(item) => {
            item.arguments = String::new();
            item.extra = Extra::new();
        }
        Item::FunctionCallOutput(item) => {
            item.output = Value::String(String::new());
            item.extra = Extra::new();
        }
    }
    *item != before
}

/// Parts that a model generated keep their places: the events of their reply name them.
fn empty_parts(parts: &mut Vec<Part>) {
    parts.retain_mut(|part| {
        match part {
            Part::InputText { .. } | Part::InputImage { .. } | Part::InputAudio { .. } => return false,
            Part::OutputText { text, annotations, logprobs } => {
                text.clear();
                annotations.clear();
                logprobs.clear();
            }
            Part::Refusal { refusal: text } | Part::ReasoningText { text } | Part::SummaryText { text } => text.clear(),
        }
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{End, Event, Opening, Outcome, PartKind};
    use crate::domain::ids::ThreadId;
    use crate::domain::layout::{OutputLayout, expand};
    use crate::domain::reply::Reply;
    use serde_json::json;

    fn record(change: Change) -> TranscriptRecord {
        TranscriptRecord { v: 1, ordinal: 1, at: 0, change }
    }

    fn text_of(record: &TranscriptRecord) -> String {
        String::from_utf8(record.encode()).unwrap()
    }

    #[test]
    fn an_items_text_goes_and_its_place_stays() {
        let items = json!([
            {"type": "message", "id": "msg_1", "status": "completed", "role": "user", "note": "secret",
             "content": [{"type": "input_text", "text": "secret"}]},
            {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "c", "name": "f",
             "arguments": "secret"},
            {"type": "function_call_output", "id": "fco_1", "status": "completed", "call_id": "c",
             "output": [{"secret": 1}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "secret"}],
             "encrypted_content": "secret"},
        ]);
        let mut record = record(Change::ItemsAdded { items: serde_json::from_value(items).unwrap() });
        for id in ["msg_1", "fc_1", "fco_1", "rs_1"] {
            assert!(ItemErasure::of(id).apply(&mut record), "{id}");
            assert!(!ItemErasure::of(id).apply(&mut record), "{id} is empty already");
        }
        assert!(!ItemErasure::of("msg_2").apply(&mut record));
        let text = text_of(&record);
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(text.matches(r#""call_id":"c""#).count(), 2, "{text}");
    }

    #[test]
    fn a_reply_keeps_its_events_and_its_other_items_when_one_is_emptied() {
        let id = ReplyId::random(ThreadId::random());
        let message = |item, text: &str| {
            let logprobs = vec![json!({"token": text})];
            let provider_state = Some(json!({"state": text}));
            [
                Event::ItemAdded(Opening::Message),
                Event::PartAdded { item, kind: PartKind::Text },
                Event::Delta { item, text: text.into(), logprobs: vec![] },
                Event::Delta { item, text: text.into(), logprobs },
                Event::TextDone(item),
                Event::PartDone(item),
                Event::ItemDone { item, incomplete: false, provider_state },
            ]
        };
        let end = Event::End(End { outcome: Outcome::Completed, usage: None });
        let opening = Event::opening(false);
        let events: Vec<Event> =
            opening.iter().cloned().chain(message(0, "secret")).chain(message(1, "known")).chain([end]).collect();
        let mut reply = Reply::new(id);
        for event in &events {
            reply.apply(event).unwrap();
        }
        let layout = OutputLayout::compact(&events);
        let mut ended = Arc::new(Ended { reply: id, content: reply.into_content(), layout, speaking: false });
        let item = id.output_item("msg", 0);
        assert!(ItemErasure::of(&item).apply_to_end(&mut ended));
        let events_again = expand(false, &ended.content, &ended.layout).unwrap();
        assert_eq!(events_again.len(), events.len());
        assert_eq!(events_again[events_again.len() - 8..], events[events.len() - 8..]);
        assert!(!text_of(&record(Change::Ended(Arc::clone(&ended)))).contains("secret"));
        let mut spoken = record(Change::Spoken { reply: id, layout: OutputLayout::compact(&events), degraded: None });
        assert!(ItemErasure::of(&item).apply(&mut spoken));
        let Change::Spoken { layout, .. } = spoken.change else { unreachable!() };
        assert_eq!(expand(false, &ended.content, &layout).unwrap(), events_again);
    }
}
