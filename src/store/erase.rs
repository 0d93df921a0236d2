//! What is left of a record when its text is deleted. No I/O.

use serde_json::Value;

use crate::domain::items::{Extra, Item};
use crate::domain::params::Metadata;
use crate::domain::record::{Change, TranscriptRecord};

/// Takes all that a client wrote out of a record of a deleted conversation.
pub(super) fn all_text(record: &mut TranscriptRecord) {
    match &mut record.change {
        Change::ConversationCreated { metadata, items, .. } => {
            *metadata = Metadata::new();
            items.clear();
        }
        Change::MetadataSet { metadata } => *metadata = Metadata::new(),
        Change::ItemsAdded { items } => items.clear(),
        Change::Accepted(_)
        | Change::Ended(_)
        | Change::Spoken { .. }
        | Change::ReplyDeleted { .. }
        | Change::ItemDeleted { .. }
        | Change::ConversationDeleted { .. } => {}
    }
}

/// Takes the text out of one item. The item stays, empty: it tells which call it made or answered, so that its
/// counterpart leaves the context with it. Tells whether the record held it.
pub(super) fn item_text(record: &mut TranscriptRecord, id: &str) -> bool {
    let (Change::ConversationCreated { items, .. } | Change::ItemsAdded { items }) = &mut record.change else {
        return false;
    };
    let Some(item) = items.iter_mut().find(|item| item.id() == id) else { return false };
    empty(item);
    true
}

fn empty(item: &mut Item) {
    match item {
        Item::Message(item) => {
            item.content = Vec::new();
            item.extra = Extra::new();
        }
        Item::Reasoning(item) => {
            item.summary = Vec::new();
            item.content = Vec::new();
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn added() -> TranscriptRecord {
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
        let record = json!({"v": 1, "ordinal": 1, "at": 0, "change": {"items_added": {"items": items}}});
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn an_items_text_goes_and_its_place_stays() {
        let mut record = added();
        for id in ["msg_1", "fc_1", "fco_1", "rs_1"] {
            assert!(item_text(&mut record, id), "{id}");
        }
        assert!(!item_text(&mut record, "msg_2"));
        let text = String::from_utf8(record.encode()).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(text.matches(r#""call_id":"c""#).count(), 2, "{text}");
    }

    #[test]
    fn a_deleted_conversation_keeps_nothing_that_was_written() {
        let mut record = added();
        all_text(&mut record);
        assert!(!String::from_utf8(record.encode()).unwrap().contains("secret"));
    }
}
