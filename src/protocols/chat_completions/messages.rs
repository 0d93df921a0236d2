//! `messages`: each becomes one item, or several where a model thought, spoke and called in one.

use serde_json::{Map, Value};

use super::tools;
use crate::domain::items::{
    Extra, FunctionCall, FunctionCallOutput, InputItem, Item, ItemStatus, Message, Part, Reasoning, Role,
};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, choice, entries, object, required, short_string, string, word, wrong_type};
use crate::protocols::request::{file, parts, recording};

/// The most characters of a name, or of a call's id.
const LONGEST_NAME: usize = 256;

/// The items of a list of messages, and for each the place of its message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Messages {
    pub(super) items: Vec<InputItem>,
    pub(super) places: Vec<usize>,
}

/// `messages`.
pub(super) fn messages(at: At, value: Value) -> Read<Messages> {
    let mut messages = Messages::default();
    let made = entries(at, value, message)?;
    if made.is_empty() {
        return Err(ApiError::empty_array(at));
    }
    for (place, items) in made.into_iter().enumerate() {
        messages.places.extend(items.iter().map(|_| place));
        messages.items.extend(items.into_iter().map(|item| InputItem::Item(item, None)));
    }
    Ok(messages)
}

#[derive(Clone, Copy)]
enum Speaker {
    Operator(Role),
    User,
    Assistant,
    Tool,
}

const SPEAKERS: &[(&str, Speaker)] = &[
    ("system", Speaker::Operator(Role::System)),
    ("developer", Speaker::Operator(Role::Developer)),
    ("user", Speaker::User),
    ("assistant", Speaker::Assistant),
    ("tool", Speaker::Tool),
];

fn message(at: At, value: Value) -> Read<Vec<Item>> {
    let mut fields = object(at, value)?;
    fields.retain(|_, value| !value.is_null());
    let speaker = choice(at.field("role"), required(at, "role", fields.remove("role"))?, SPEAKERS)?;
    if let (Some(_), false) = (fields.get("name"), matches!(speaker, Speaker::User)) {
        return Err(ApiError::unsupported_parameter(at.field("name"), "Only messages of users have names here."));
    }
    match speaker {
        Speaker::Operator(role) => {
            let content = content(at.field("content"), must_take(at, &mut fields, "content")?, text_only)?;
            Ok(vec![said(role, content, Extra::new())])
        }
        Speaker::User => {
            let content = content(at.field("content"), must_take(at, &mut fields, "content")?, user_part)?;
            let name = fields.remove("name").map(|name| short_string(at.field("name"), name, LONGEST_NAME));
            let extra = name.transpose()?.map(|name| ("name".to_owned(), name.into())).into_iter().collect();
            Ok(vec![said(Role::User, content, extra)])
        }
        Speaker::Assistant => assistant(at, fields),
        Speaker::Tool => Ok(vec![tool_output(at, fields)?]),
    }
}

fn said(role: Role, content: Vec<Part>, extra: Extra) -> Item {
    Item::Message(Message { id: String::new(), status: ItemStatus::Completed, role, content, extra })
}

/// What a model thought, said and called in one message, in this order.
fn assistant(at: At, mut fields: Map<String, Value>) -> Read<Vec<Item>> {
    let mut items = Vec::new();
    if let Some(text) = thoughts(at, &mut fields)? {
        items.push(thought(text));
    }
    let mut parts = match fields.remove("content") {
        Some(value) => content(at.field("content"), value, assistant_part)?,
        None => Vec::new(),
    };
    if let Some(value) = fields.remove("refusal") {
        parts.push(Part::Refusal { refusal: string(at.field("refusal"), value)? });
    }
    let calls = match fields.remove("tool_calls") {
        Some(value) => entries(at.field("tool_calls"), value, call)?,
        None => Vec::new(),
    };
    if fields.contains_key("function_call") {
        return Err(ApiError::unsupported_parameter(at.field("function_call"), "Use 'tool_calls' instead."));
    }
    if parts.is_empty() && calls.is_empty() {
        if fields.contains_key("audio") {
            let reason = "Send what was spoken as 'content': it came with the audio.";
            return Err(ApiError::unsupported_parameter(at.field("audio"), reason));
        }
        return Err(ApiError::missing_parameter(at.field("content")));
    }
    if !parts.is_empty() {
        items.push(said(Role::Assistant, parts, Extra::new()));
    }
    items.extend(calls);
    Ok(items)
}

/// The model's thoughts, by either of the names that servers give them.
fn thoughts(at: At, fields: &mut Map<String, Value>) -> Read<Option<String>> {
    let mut thoughts = None;
    for name in ["reasoning", "reasoning_content"] {
        if let Some(value) = fields.remove(name) {
            thoughts = Some(string(at.field(name), value)?).filter(|text| !text.is_empty()).or(thoughts);
        }
    }
    Ok(thoughts)
}

fn thought(text: String) -> Item {
    Item::Reasoning(Reasoning {
        id: String::new(),
        status: Some(ItemStatus::Completed),
        summary: Vec::new(),
        content: vec![Part::ReasoningText { text }],
        encrypted_content: None,
        extra: Extra::new(),
    })
}

fn call(at: At, value: Value) -> Read<Item> {
    let mut fields = object(at, value)?;
    let call_id = short_string(at.field("id"), must_take(at, &mut fields, "id")?, LONGEST_NAME)?;
    let mut function = tools::nested(at, &mut fields)?;
    let at = at.field("function");
    let name = short_string(at.field("name"), must_take(at, &mut function, "name")?, LONGEST_NAME)?;
    let arguments = string(at.field("arguments"), must_take(at, &mut function, "arguments")?)?;
    let (id, status, extra) = (String::new(), ItemStatus::Completed, Extra::new());
    Ok(Item::FunctionCall(FunctionCall { id, status, call_id, name, arguments, extra }))
}

fn tool_output(at: At, mut fields: Map<String, Value>) -> Read<Item> {
    let call_id = short_string(at.field("tool_call_id"), must_take(at, &mut fields, "tool_call_id")?, LONGEST_NAME)?;
    let output = match must_take(at, &mut fields, "content")? {
        Value::String(text) => Value::String(text),
        value => {
            let parts = content(at.field("content"), value, user_part)?;
            serde_json::to_value(parts).expect("parts are JSON")
        }
    };
    let (id, status, extra) = (String::new(), ItemStatus::Completed, Extra::new());
    Ok(Item::FunctionCallOutput(FunctionCallOutput { id, status, call_id, output, extra }))
}

type ReadPart = fn(At, &str, &mut Map<String, Value>) -> Read<Part>;

/// `content`: text, or a list of parts. Text alone is a part that `read` makes of it.
fn content(at: At, value: Value, read: ReadPart) -> Read<Vec<Part>> {
    match value {
        Value::String(text) => {
            let mut fields = Map::from_iter([("text".to_owned(), text.into())]);
            Ok(vec![read(at, "text", &mut fields)?])
        }
        Value::Array(_) => entries(at, value, |at, value| {
            let mut fields = object(at, value)?;
            fields.retain(|_, value| !value.is_null());
            let kind = string(at.field("type"), must_take(at, &mut fields, "type")?)?;
            read(at, &kind, &mut fields)
        }),
        other => Err(wrong_type(at, "one of a string or an array of content parts", &other)),
    }
}

fn text_only(at: At, kind: &str, fields: &mut Map<String, Value>) -> Read<Part> {
    word(at.field("type"), kind.into(), &["text"])?;
    Ok(Part::InputText { text: text(at, fields, "text")? })
}

fn user_part(at: At, kind: &str, fields: &mut Map<String, Value>) -> Read<Part> {
    match kind {
        "text" => text_only(at, kind, fields),
        "image_url" => parts::image(at, fields),
        "file" => {
            let mut nested = object(at.field("file"), must_take(at, fields, "file")?)?;
            file::file(at.field("file"), &mut nested)
        }
        "input_audio" => recording::recording(at, fields),
        other => Err(ApiError::invalid_value(at.field("type"), other, &["text", "image_url", "file", "input_audio"])),
    }
}

fn assistant_part(at: At, kind: &str, fields: &mut Map<String, Value>) -> Read<Part> {
    match kind {
        "text" => {
            let text = text(at, fields, "text")?;
            Ok(Part::OutputText { text, annotations: Vec::new(), logprobs: Vec::new() })
        }
        "refusal" => Ok(Part::Refusal { refusal: text(at, fields, "refusal")? }),
        other => Err(ApiError::invalid_value(at.field("type"), other, &["text", "refusal"])),
    }
}

fn text(at: At, fields: &mut Map<String, Value>, name: &str) -> Read<String> {
    string(at.field(name), must_take(at, fields, name)?)
}

fn must_take(at: At, fields: &mut Map<String, Value>, name: &str) -> Read<Value> {
    required(at, name, fields.remove(name).filter(|value| !value.is_null()))
}
