//! What is left of a record when its text is deleted. No I/O.

use super::Error;
use super::read::decode;
use crate::domain::erase::ItemErasure;
use crate::domain::ids::ThreadId;
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

/// Takes the text of an item out of the two records of a reply. `None`: neither holds any.
pub(super) fn item_of_reply(
    thread: ThreadId,
    item: &ItemErasure<'_>,
    accepted: &str,
    ended: Option<&str>,
) -> Result<Option<(String, Option<String>)>, Error> {
    let mut is_changed = false;
    let mut emptied = |text: &str| {
        if text.is_empty() {
            return Ok(String::new());
        }
        let mut record = decode(thread, text)?;
        if !item.apply(&mut record) {
            return Ok(text.to_owned());
        }
        is_changed = true;
        Ok::<_, Error>(encode(&record))
    };
    let records = (emptied(accepted)?, ended.map(&mut emptied).transpose()?);
    Ok(is_changed.then_some(records))
}

/// A record as a row holds it.
pub(super) fn encode(record: &TranscriptRecord) -> String {
    String::from_utf8(record.encode()).unwrap_or_default()
}

/// An item's id as a record has it.
pub(super) fn in_json(id: &str) -> String {
    serde_json::Value::from(id).to_string()
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
    fn a_deleted_conversation_keeps_nothing_that_was_written() {
        let mut record = added();
        all_text(&mut record);
        assert!(!String::from_utf8(record.encode()).unwrap().contains("secret"));
    }
}
