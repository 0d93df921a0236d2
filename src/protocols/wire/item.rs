//! Items and parts. What is said most often is written by hand, three times as fast as the derived form, and
//! reads the same: a test holds them against each other.

use super::json;
use crate::domain::items::{Item, ItemStatus, Message, Part, Role};

/// Appends an item in its stored form.
pub(super) fn write(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Message(message) if message.extra.is_empty() => write_message(out, message),
        other => json(out, other),
    }
}

fn write_message(out: &mut Vec<u8>, message: &Message) {
    out.extend_from_slice(b"{\"type\":\"message\",\"id\":");
    json(out, &message.id);
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(status(message.status).as_bytes());
    out.extend_from_slice(b"\",\"role\":\"");
    out.extend_from_slice(role(message.role).as_bytes());
    out.extend_from_slice(b"\",\"content\":[");
    for (index, part) in message.content.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_part(out, part);
    }
    out.extend_from_slice(b"]}");
}

/// Appends a part in its stored form.
pub(super) fn write_part(out: &mut Vec<u8>, part: &Part) {
    match part {
        Part::OutputText { text, annotations, logprobs } if annotations.is_empty() && logprobs.is_empty() => {
            out.extend_from_slice(b"{\"type\":\"output_text\",\"text\":");
            json(out, text);
            out.extend_from_slice(b",\"annotations\":[],\"logprobs\":[]}");
        }
        other => json(out, other),
    }
}

const fn status(status: ItemStatus) -> &'static str {
    match status {
        ItemStatus::InProgress => "in_progress",
        ItemStatus::Completed => "completed",
        ItemStatus::Incomplete => "incomplete",
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::System => "system",
        Role::Developer => "developer",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(item: &Value) -> (String, String) {
        let item: Item = serde_json::from_value(item.clone()).expect("an item");
        let mut out = Vec::new();
        write(&mut out, &item);
        (String::from_utf8(out).expect("UTF-8"), serde_json::to_string(&item).expect("JSON"))
    }

    #[test]
    fn an_item_reads_as_it_is_stored() {
        let parts = [
            json!([]),
            json!([{"type": "output_text", "text": "a\n\"ü"}, {"type": "refusal", "refusal": "No"}]),
            json!([{"type": "output_text", "text": "", "annotations": [{"a": 1}]}, {"type": "output_text", "text": "",
                "logprobs": [1]}]),
            json!([{"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": "data:"}]),
        ];
        for role in ["user", "assistant", "system", "developer"] {
            for status in ["in_progress", "completed", "incomplete"] {
                for content in &parts {
                    let mut item = json!({"type": "message", "id": "a\"b", "role": role, "status": status});
                    item["content"] = content.clone();
                    let (by_hand, derived) = written(&item);
                    assert_eq!(by_hand, derived);
                    item["phase"] = "final_answer".into();
                    let (by_hand, derived) = written(&item);
                    assert_eq!(by_hand, derived);
                }
            }
        }
        let (by_hand, derived) = written(&json!({"type": "reasoning", "id": "rs_1"}));
        assert_eq!(by_hand, derived);
    }
}
