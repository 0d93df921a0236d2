//! What is said to a model: a string, or items.

use serde_json::{Map, Value};

use super::{agents, parts};
use crate::domain::compaction::FIELD;
use crate::domain::items::{
    Extra, FunctionCall, FunctionCallOutput, InputItem, Item, ItemStatus, Message, Part, Reasoning, Role,
};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, at_most, choice, entries, object, required, short_string, string, wrong_type};
use crate::protocols::seal;

/// The field that marks the item which wants a summary.
const TRIGGER: &str = "rejoinder_compaction_trigger";

/// The most characters of an id, a call's id, or the name of a function that was called.
pub(super) const MAX_NAME: usize = 256;

/// `input`.
pub(super) fn input(at: At, value: Value) -> Read<Vec<InputItem>> {
    match value {
        Value::String(text) => {
            let content = vec![Part::InputText { text }];
            Ok(vec![given(message(Role::User, content))])
        }
        Value::Array(_) => items(at, value),
        other => Err(wrong_type(at, "one of a string or an array of items", &other)),
    }
}

/// An item that is given, with what is sealed into it.
fn given(mut item: Item) -> InputItem {
    let kept = seal::open(&mut item);
    InputItem::Item(item, kept)
}

fn message(role: Role, content: Vec<Part>) -> Item {
    let (id, status, extra) = (String::new(), ItemStatus::Completed, Extra::new());
    Item::Message(Message { id, status, role, content, extra })
}

/// A list of items.
pub(super) fn items(at: At, value: Value) -> Read<Vec<InputItem>> {
    entries(at, value, item)
}

fn item(at: At, value: Value) -> Read<InputItem> {
    let mut fields = object(at, value)?;
    let read = reader(at, fields.remove("type"), &fields)?;
    read(at, fields)
}

type Reader = fn(At, Map<String, Value>) -> Read<InputItem>;

const TYPES: &[(&str, Reader)] = &[
    ("message", read_message),
    ("reasoning", read_reasoning),
    ("function_call", read_call),
    ("function_call_output", read_call_output),
    ("item_reference", read_reference),
    ("custom_tool_call", agents::custom_call),
    ("custom_tool_call_output", read_call_output),
    ("local_shell_call", agents::local_shell_call),
    ("local_shell_call_output", agents::local_shell_output),
    ("shell_call", agents::shell_call),
    ("shell_call_output", agents::plain_output),
    ("apply_patch_call", agents::apply_patch_call),
    ("apply_patch_call_output", agents::plain_output),
    ("compaction", read_compaction),
    ("compaction_summary", read_compaction),
    ("compaction_trigger", read_trigger),
];

/// What reads an item of this type. Without a type it is a message if it has a role, a reference if it has an id.
fn reader(at: At, kind: Option<Value>, fields: &Map<String, Value>) -> Read<Reader> {
    match kind.filter(|kind| !kind.is_null()) {
        Some(kind) => choice(at.field("type"), kind, TYPES),
        None if fields.contains_key("role") => Ok(read_message),
        None if fields.contains_key("id") => Ok(read_reference),
        None => Err(ApiError::missing_parameter(at.field("type"))),
    }
}

fn read_message(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let (id, status) = (id(at, &mut fields)?, status(at, &mut fields)?.unwrap_or(ItemStatus::Completed));
    let role = choice(at.field("role"), must_take(at, &mut fields, "role")?, ROLES)?;
    let content = parts::content(at.field("content"), must_take(at, &mut fields, "content")?, role)?;
    Ok(given(Item::Message(Message { id, status, role, content, extra: fields })))
}

fn read_reasoning(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let (id, status) = (id(at, &mut fields)?, status(at, &mut fields)?);
    let summary = take(&mut fields, "summary")
        .map_or(Ok(Vec::new()), |value| entries(at.field("summary"), value, parts::summary_text))?;
    let content = take(&mut fields, "content")
        .map_or(Ok(Vec::new()), |value| entries(at.field("content"), value, parts::reasoning_text))?;
    let encrypted_content =
        take(&mut fields, "encrypted_content").map(|value| string(at.field("encrypted_content"), value)).transpose()?;
    let item = Reasoning { id, status, summary, content, encrypted_content, extra: fields };
    Ok(given(Item::Reasoning(item)))
}

fn read_call(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let (id, status) = (id(at, &mut fields)?, status(at, &mut fields)?.unwrap_or(ItemStatus::Completed));
    let call_id = call_id(at, &mut fields)?;
    let name = agents::known_name(at, &mut fields)?;
    let arguments = string(at.field("arguments"), must_take(at, &mut fields, "arguments")?)?;
    let item = FunctionCall { id, status, call_id, name, arguments, extra: fields };
    Ok(given(Item::FunctionCall(item)))
}

fn read_call_output(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let (id, status) = (id(at, &mut fields)?, status(at, &mut fields)?.unwrap_or(ItemStatus::Completed));
    let call_id = call_id(at, &mut fields)?;
    let output = parts::call_output(at.field("output"), must_take(at, &mut fields, "output")?)?;
    let item = FunctionCallOutput { id, status, call_id, output, extra: fields };
    Ok(given(Item::FunctionCallOutput(item)))
}

fn read_reference(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let id = short_string(at.field("id"), must_take(at, &mut fields, "id")?, MAX_NAME)?;
    Ok(InputItem::Reference { id })
}

/// What was said before, as it was summed up: opened by whoever has the keys.
fn read_compaction(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let id = id(at, &mut fields)?;
    let sealed = string(at.field("encrypted_content"), must_take(at, &mut fields, "encrypted_content")?)?;
    let extra = Extra::from_iter([(FIELD.to_owned(), sealed.into())]);
    let (status, role, content) = (ItemStatus::Completed, Role::Developer, Vec::new());
    Ok(InputItem::Item(Item::Message(Message { id, status, role, content, extra }), None))
}

/// That a summary is wanted: what the model is asked for it.
#[expect(clippy::unnecessary_wraps, reason = "the signature of what reads an item")]
fn read_trigger(_at: At, _fields: Map<String, Value>) -> Read<InputItem> {
    let mut trigger = Item::asks_for_summary();
    if let Item::Message(message) = &mut trigger {
        message.extra.insert(TRIGGER.to_owned(), true.into());
    }
    Ok(InputItem::Item(trigger, None))
}

/// Whether an item wants a summary.
pub(super) fn is_trigger(item: &InputItem) -> bool {
    matches!(item, InputItem::Item(Item::Message(message), _) if message.extra.contains_key(TRIGGER))
}

const ROLES: &[(&str, Role)] =
    &[("user", Role::User), ("assistant", Role::Assistant), ("system", Role::System), ("developer", Role::Developer)];

const STATUSES: &[(&str, ItemStatus)] = &[
    ("in_progress", ItemStatus::InProgress),
    ("completed", ItemStatus::Completed),
    ("incomplete", ItemStatus::Incomplete),
];

pub(super) fn id(at: At, fields: &mut Map<String, Value>) -> Read<String> {
    let at = at.field("id");
    take(fields, "id").map_or(Ok(String::new()), |value| at_most(at, string(at, value)?, MAX_NAME))
}

pub(super) fn status(at: At, fields: &mut Map<String, Value>) -> Read<Option<ItemStatus>> {
    take(fields, "status").map(|value| choice(at.field("status"), value, STATUSES)).transpose()
}

pub(super) fn call_id(at: At, fields: &mut Map<String, Value>) -> Read<String> {
    short_string(at.field("call_id"), must_take(at, fields, "call_id")?, MAX_NAME)
}

pub(super) fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Value> {
    fields.remove(name).filter(|value| !value.is_null())
}

pub(super) fn must_take(at: At, fields: &mut Map<String, Value>, name: &str) -> Read<Value> {
    required(at, name, take(fields, name))
}
