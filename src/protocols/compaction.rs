//! Compaction: a conversation as one item, whose content is a summary by the model, [sealed](sealing) for its owner.

use serde::Serialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::json::{self as reading, At, object};
use super::request::CreateResponse;
use crate::auth::sealing::{self, SALT};
use crate::domain::compaction::FIELD;
use crate::domain::items::{InputItem, Item};
use crate::domain::params::SealKey;
use crate::domain::record::Accepted;
use crate::domain::reply::Reply;

/// What sealed content begins with.
const PREFIX: &str = "rejoinder-compaction1.";

/// Seals a text.
pub(crate) fn seal(key: &SealKey, text: &str) -> String {
    sealing::seal(PREFIX, key, text)
}

/// Opens what of an input is sealed. What stands for nothing is left out.
///
/// # Errors
/// That it was not sealed here for this owner.
pub(crate) fn open_input(
    input: &mut Vec<InputItem>,
    keys: impl Fn(&[u8; SALT]) -> Vec<[u8; 32]>,
) -> Result<(), ApiError> {
    let mut empty = Vec::new();
    for (index, item) in input.iter_mut().enumerate() {
        let InputItem::Item(Item::Message(message), _) = item else { continue };
        let Some(Value::String(sealed)) = message.extra.get(FIELD) else { continue };
        let Some(text) = sealing::open(PREFIX, sealed, &keys) else {
            let problem = "it was not made by this server for this caller, or its secret is another now.";
            return Err(ApiError::invalid(format!("input[{index}].encrypted_content"), problem));
        };
        if text.is_empty() {
            empty.push(index);
        }
        let (id, extra) = (std::mem::take(&mut message.id), std::mem::take(&mut message.extra));
        *item = InputItem::Item(Item::summary(id, &text, extra), None);
    }
    for index in empty.into_iter().rev() {
        input.remove(index);
    }
    Ok(())
}

/// A request for a summary: `POST /v1/responses/compact`. Nothing of it is stored.
///
/// # Errors
/// What is wrong with it, with the path of the field that is to blame.
pub(crate) fn parse(body: &[u8]) -> Result<CreateResponse, ApiError> {
    let mut fields = object(At::Body, reading::parse(body)?)?;
    if fields.get("model").is_none_or(Value::is_null) {
        return Err(ApiError::missing_parameter("model"));
    }
    let trigger = json!({"type": "compaction_trigger"});
    let input = match fields.remove("input") {
        None | Some(Value::Null) => vec![trigger],
        Some(Value::Array(mut items)) => {
            items.push(trigger);
            items
        }
        Some(Value::String(text)) => vec![json!({"role": "user", "content": text}), trigger],
        Some(other) => {
            return Err(reading::wrong_type(At::Body.field("input"), "one of a string or an array of items", &other));
        }
    };
    fields.insert("input".to_owned(), input.into());
    fields.insert("store".to_owned(), false.into());
    fields.insert("stream".to_owned(), false.into());
    CreateResponse::of(fields)
}

/// The item of a summary.
#[derive(Debug, Serialize)]
pub(super) struct CompactionItem<'a> {
    r#type: &'static str,
    id: String,
    encrypted_content: &'a str,
}

impl<'a> CompactionItem<'a> {
    /// Of the message that holds the summary.
    pub(super) fn of(message: &str, encrypted_content: &'a str) -> Self {
        let id = message.strip_prefix("msg_").map_or_else(|| message.to_owned(), |own| format!("cmp_{own}"));
        Self { r#type: "compaction", id, encrypted_content }
    }
}

/// What `POST /v1/responses/compact` gives, of a reply that has ended.
pub(crate) fn compacted(accepted: &Accepted, reply: &Reply) -> Value {
    let sealed = accepted.params.compaction.as_ref().map(|key| seal(key, &reply.text())).unwrap_or_default();
    let message = reply.output().iter().find(|item| matches!(item, Item::Message(_))).map_or("", Item::id);
    let used = reply.usage().copied().unwrap_or_default();
    json!({
        "id": accepted.reply.to_string(),
        "object": "response.compaction",
        "created_at": accepted.created_at,
        "output": [CompactionItem::of(message, &sealed)],
        "usage": {
            "input_tokens": used.input,
            "input_tokens_details": {"cached_tokens": used.cached},
            "output_tokens": used.output,
            "output_tokens_details": {"reasoning_tokens": used.reasoning},
            "total_tokens": used.total,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_a_summary_ends_with_the_prompt_and_names_its_model() {
        let parsed = |body: Value| parse(body.to_string().as_bytes());
        let request = parsed(json!({"model": "m", "input": "hi", "store": true, "stream": true})).expect("a request");
        assert!(request.compacts && !request.params.store && !request.stream);
        assert_eq!(request.input.len(), 2);
        let param = |body: Value| parsed(body).map(drop).map_err(|error| error.param);
        assert_eq!(param(json!({"input": "hi"})), Err(Some("model".to_owned())));
        assert_eq!(param(json!({"model": "m", "input": 1})), Err(Some("input".to_owned())));
    }
}
