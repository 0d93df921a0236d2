//! Thoughts, and what an upstream wants back with an item, sealed into the item: for clients that keep the conversation
//! themselves, and send it back with every turn.
//!
//! Sealed is not secret: it holds what an upstream said to this client (signatures, its reasoning), and a client that
//! writes its own reaches nothing but the upstream's own check of it.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::json;
use crate::domain::items::{Item, Part, Reasoning};

/// The field that carries it.
pub(crate) const FIELD: &str = "encrypted_content";

/// The thoughts, beside what an upstream wants back.
const THOUGHTS: &str = "thoughts";

/// Marks what is sealed in this way.
const VERSION: &str = "rejoinder1.";

/// Seals what an upstream wants back.
pub(crate) fn seal(kept: &Value) -> String {
    let mut sealed = VERSION.to_owned();
    BASE64URL_NOPAD.encode_append(&serde_json::to_vec(kept).expect("a value is JSON"), &mut sealed);
    sealed
}

/// What was sealed; nothing when it was sealed elsewhere or is damaged.
pub(crate) fn unseal(sealed: &str) -> Option<Value> {
    let bytes = BASE64URL_NOPAD.decode(sealed.strip_prefix(VERSION)?.as_bytes()).ok()?;
    json::parse(&bytes).ok()
}

/// Whether a client asks for thoughts in this form.
pub(crate) fn is_asked_for(include: &[String]) -> bool {
    include.iter().any(|include| include == "reasoning.encrypted_content")
}

/// Seals thoughts, with what their upstream wants back with them.
pub(crate) fn thoughts(reasoning: &Reasoning, kept: Option<&Value>) -> String {
    let mut fields = kept.and_then(Value::as_object).cloned().unwrap_or_default();
    let parts = if reasoning.content.is_empty() { &reasoning.summary } else { &reasoning.content };
    let texts: Vec<&str> = parts.iter().map(Part::text).collect();
    if !texts.is_empty() {
        fields.insert(THOUGHTS.to_owned(), texts.into());
    }
    seal(&fields.into())
}

/// Opens an item that a client sent: thoughts that it has only in the sealed form are put into their place. Gives what an
/// upstream wants back with it.
pub(crate) fn open(item: &mut Item) -> Option<Value> {
    let extra = match item {
        Item::Reasoning(reasoning) => return open_thoughts(reasoning),
        Item::Message(item) => &item.extra,
        Item::FunctionCall(item) => &item.extra,
        Item::FunctionCallOutput(item) => &item.extra,
    };
    unseal(extra.get(FIELD)?.as_str()?)
}

fn open_thoughts(reasoning: &mut Reasoning) -> Option<Value> {
    let Value::Object(mut fields) = unseal(reasoning.encrypted_content.as_deref()?)? else { return None };
    if let Some(Value::Array(texts)) = fields.remove(THOUGHTS)
        && reasoning.content.is_empty()
        && reasoning.summary.is_empty()
    {
        let texts = texts.into_iter().filter_map(|text| text.as_str().map(str::to_owned));
        reasoning.content = texts.map(|text| Part::ReasoningText { text }).collect();
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_unsealed() {
        let kept = serde_json::json!({"reasoning_details": [{"signature": "a+/ü"}]});
        let sealed = seal(&kept);
        assert!(sealed.starts_with("rejoinder1."), "{sealed}");
        assert_eq!(unseal(&sealed), Some(kept));
    }

    #[test]
    fn what_others_sealed_is_left_alone() {
        for foreign in ["", "gAAAAABo", "rejoinder1.", "rejoinder1.!!", "rejoinder1.e30x", "rejoinder2.e30"] {
            assert_eq!(unseal(foreign), None, "{foreign}");
        }
    }

    fn reasoning(fields: &Value) -> Item {
        let mut item = serde_json::json!({"type": "reasoning", "id": "rs_1"});
        item.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        serde_json::from_value(item).expect("an item")
    }

    #[test]
    fn thoughts_come_back_where_a_client_left_them_out() {
        let shown = serde_json::json!({"content": [{"type": "reasoning_text", "text": "elm"}]});
        let kept = serde_json::json!({"reasoning_details": [1]});
        for (kept, back) in [(None, None), (Some(&kept), Some(kept.clone()))] {
            let Item::Reasoning(made) = reasoning(&shown) else { panic!("reasoning") };
            let sealed = thoughts(&made, kept);
            let mut bare = reasoning(&serde_json::json!({"encrypted_content": sealed}));
            assert_eq!(open(&mut bare), back);
            assert!(matches!(&bare, Item::Reasoning(bare) if bare.content == made.content));
            let summary = serde_json::json!([{"type": "summary_text", "text": "oak"}]);
            let mut own = reasoning(&serde_json::json!({"encrypted_content": sealed, "summary": summary}));
            assert_eq!(open(&mut own), back);
            assert!(matches!(&own, Item::Reasoning(own) if own.content.is_empty()), "its own words stay");
        }
    }
}
