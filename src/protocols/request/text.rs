//! How the model is to think, what form its text is to have, and when its context is summed up.

use serde_json::Value;

use crate::domain::params::{ContextManagement, ReasoningParams, TextFormat, TextParams};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, at_most, boolean, entries, integer, name, object, required, string, word};

/// `reasoning`. Which efforts there are is the upstream's to say: there are more every year.
pub(in crate::protocols) fn reasoning(at: At, value: Value) -> Read<ReasoningParams> {
    let mut reasoning = ReasoningParams::default();
    for (key, value) in object(at, value)?.into_iter().filter(|(_, value)| !value.is_null()) {
        let at = at.field(&key);
        match key.as_str() {
            "effort" => reasoning.effort = Some(at_most(at, string(at, value)?, 64)?),
            "summary" => reasoning.summary = Some(word(at, value, &["auto", "concise", "detailed"])?),
            // The older name; the newer one wins.
            "generate_summary" => {
                let summary = word(at, value, &["auto", "concise", "detailed"])?;
                reasoning.summary.get_or_insert(summary);
            }
            _ => {}
        }
    }
    Ok(reasoning)
}

/// `text`.
pub(super) fn text(at: At, value: Value) -> Read<TextParams> {
    let mut text = TextParams::default();
    for (key, value) in object(at, value)?.into_iter().filter(|(_, value)| !value.is_null()) {
        let at = at.field(&key);
        match key.as_str() {
            "format" => text.format = Some(format(at, value)?),
            "verbosity" => text.verbosity = Some(word(at, value, &["low", "medium", "high"])?),
            _ => {}
        }
    }
    Ok(text)
}

/// The least threshold that the API takes.
const LEAST_THRESHOLD: u64 = 1000;

/// `context_management`: of several thresholds the lowest counts.
pub(super) fn context_management(at: At, value: Value) -> Read<Option<ContextManagement>> {
    let thresholds = entries(at, value, |at, value| {
        let (mut kind, mut threshold) = (None, None);
        for (key, value) in object(at, value)?.into_iter().filter(|(_, value)| !value.is_null()) {
            let at = at.field(&key);
            match key.as_str() {
                "type" => kind = Some(word(at, value, &["compaction"])?),
                "compact_threshold" => threshold = Some(integer(at, &value, LEAST_THRESHOLD, u64::MAX)?),
                _ => {}
            }
        }
        required(at, "type", kind)?;
        // Without one it would be the model's window, which servers do not tell.
        required(at, "compact_threshold", threshold)
    })?;
    Ok(thresholds.into_iter().min().map(|compact_threshold| ContextManagement { compact_threshold, key: None }))
}

fn format(at: At, value: Value) -> Read<TextFormat> {
    let (mut kind, mut title, mut description, mut schema, mut strict) = (None, None, None, None, None);
    for (key, value) in object(at, value)?.into_iter().filter(|(_, value)| !value.is_null()) {
        let at = at.field(&key);
        match key.as_str() {
            "type" => kind = Some(word(at, value, &["text", "json_schema", "json_object"])?),
            "name" => title = Some(name(at, value)?),
            "description" => description = Some(string(at, value)?),
            "schema" => schema = Some(Value::Object(object(at, value)?)),
            "strict" => strict = Some(boolean(at, &value)?),
            _ => {}
        }
    }
    match required(at, "type", kind)?.as_str() {
        "json_schema" => {
            let (name, schema) = (required(at, "name", title)?, required(at, "schema", schema)?);
            Ok(TextFormat::JsonSchema { name, description, schema, strict })
        }
        "json_object" => Ok(TextFormat::JsonObject),
        "text" => Ok(TextFormat::Text),
        other => Err(ApiError::invalid_value(at.field("type"), other, &["text", "json_schema", "json_object"])),
    }
}
