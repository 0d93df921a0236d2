//! The parts of messages, of reasoning, and of a function's output.

use serde_json::{Map, Value};

use super::{file, recording};
use crate::domain::items::{Part, Role};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, entries, object, required, string, word, wrong_type};

/// `content` of a message: text, or a list of parts.
pub(super) fn content(at: At, value: Value, role: Role) -> Read<Vec<Part>> {
    match value {
        Value::String(text) => Ok(vec![text_of(role, text)]),
        Value::Array(_) => entries(at, value, |at, value| part(at, value, role)),
        other => Err(wrong_type(at, "one of a string or an array of content parts", &other)),
    }
}

/// `output` of a function: text, or a list of parts, which are checked and kept as JSON.
pub(super) fn call_output(at: At, value: Value) -> Read<Value> {
    match value {
        Value::String(_) => Ok(value),
        Value::Array(_) => {
            let parts = entries(at, value, |at, value| part(at, value, Role::User))?;
            Ok(serde_json::to_value(parts).expect("parts are JSON"))
        }
        other => Err(wrong_type(at, "one of a string or an array of content parts", &other)),
    }
}

/// A part of a reasoning item's `summary`.
pub(super) fn summary_text(at: At, value: Value) -> Read<Part> {
    let mut fields = object(at, value)?;
    kind(at, &mut fields, &["summary_text"])?;
    Ok(Part::SummaryText { text: text(at, &mut fields, "text")? })
}

/// A part of a reasoning item's `content`.
pub(super) fn reasoning_text(at: At, value: Value) -> Read<Part> {
    let mut fields = object(at, value)?;
    kind(at, &mut fields, &["reasoning_text"])?;
    Ok(Part::ReasoningText { text: text(at, &mut fields, "text")? })
}

fn text_of(role: Role, text: String) -> Part {
    match role {
        Role::Assistant => Part::OutputText { text, annotations: Vec::new(), logprobs: Vec::new() },
        Role::User | Role::System | Role::Developer => Part::InputText { text },
    }
}

fn part(at: At, value: Value, role: Role) -> Read<Part> {
    let mut fields = object(at, value)?;
    let supported = ["input_text", "input_image", "input_file", "input_audio", "output_text", "refusal", "text"];
    match kind(at, &mut fields, &supported)?.as_str() {
        "input_audio" if role == Role::User => recording::recording(at, &mut fields),
        "input_audio" => Err(ApiError::invalid(at.field("type"), "only messages of users have recordings.")),
        "input_text" => Ok(Part::InputText { text: text(at, &mut fields, "text")? }),
        "input_image" => image(at, &mut fields),
        "input_file" => file::file(at, &mut fields),
        "output_text" => Ok(Part::OutputText {
            text: text(at, &mut fields, "text")?,
            annotations: list(at, &mut fields, "annotations")?,
            logprobs: list(at, &mut fields, "logprobs")?,
        }),
        "refusal" => Ok(Part::Refusal { refusal: text(at, &mut fields, "refusal")? }),
        _ => Ok(text_of(role, text(at, &mut fields, "text")?)),
    }
}

/// `input_image`, and the `image_url` of Chat Completions.
pub(in crate::protocols) fn image(at: At, fields: &mut Map<String, Value>) -> Read<Part> {
    if take(fields, "file_id").is_some() {
        let reason = "Send the image itself in 'image_url', as a URL or a data URL.";
        return Err(ApiError::unsupported_parameter(at.field("file_id"), reason));
    }
    let at_url = at.field("image_url");
    let mut detail = take(fields, "detail");
    let image_url = match required(at, "image_url", take(fields, "image_url"))? {
        // The form that Chat Completions has.
        Value::Object(mut nested) => {
            detail = detail.or(take(&mut nested, "detail"));
            url(at_url.field("url"), required(at_url, "url", take(&mut nested, "url"))?)?
        }
        other => url(at_url, other)?,
    };
    let supported = ["auto", "low", "high", "original"];
    let detail = detail.map_or(Ok("auto".to_owned()), |value| word(at.field("detail"), value, &supported))?;
    Ok(Part::InputImage { detail, image_url })
}

/// The address of an image.
pub(in crate::protocols) fn url(at: At, value: Value) -> Read<String> {
    let url = string(at, value)?;
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    if ["http", "https", "data"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Ok(url);
    }
    Err(ApiError::invalid(at, "expected a URL that begins with 'http:', 'https:' or 'data:'."))
}

fn kind(at: At, fields: &mut Map<String, Value>, supported: &[&str]) -> Read<String> {
    word(at.field("type"), required(at, "type", take(fields, "type"))?, supported)
}

fn text(at: At, fields: &mut Map<String, Value>, name: &str) -> Read<String> {
    string(at.field(name), required(at, name, take(fields, name))?)
}

fn list(at: At, fields: &mut Map<String, Value>, name: &str) -> Read<Vec<Value>> {
    take(fields, name).map_or(Ok(Vec::new()), |value| entries(at.field(name), value, |_, value| Ok(value)))
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Value> {
    fields.remove(name).filter(|value| !value.is_null())
}
