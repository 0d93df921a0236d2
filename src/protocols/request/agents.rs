//! Items of agents: calls of tools that are no plain functions, and their outputs. To a model they are calls of functions.

use serde_json::{Map, Value, json};

use super::input::{MAX_NAME, call_id, id, must_take, status, take};
use super::tools::given::flat;
use crate::domain::items::{Extra, FunctionCall, FunctionCallOutput, InputItem, Item, ItemStatus};
use crate::protocols::json::{At, Read, entries, object, short_string, string};

/// The name under which a model knows a tool that was called: its own, or that in its namespace.
pub(super) fn known_name(at: At, fields: &mut Map<String, Value>) -> Read<String> {
    let name = short_string(at.field("name"), must_take(at, fields, "name")?, MAX_NAME)?;
    let namespace = fields.get("namespace").and_then(Value::as_str);
    Ok(namespace.map_or_else(|| name.clone(), |namespace| flat(namespace, &name)))
}

pub(super) fn custom_call(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let name = known_name(at, &mut fields)?;
    let input = string(at.field("input"), must_take(at, &mut fields, "input")?)?;
    call(at, fields, name, &json!({"input": input}))
}

pub(super) fn local_shell_call(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let mut action = object(at.field("action"), must_take(at, &mut fields, "action")?)?;
    action.remove("type");
    if take(&mut fields.clone(), "call_id").is_none() {
        // The first of these clients had one id for both.
        let id = must_take(at, &mut fields, "id")?;
        fields.insert("call_id".to_owned(), id);
    }
    call(at, fields, "local_shell".to_owned(), &action.into())
}

pub(super) fn shell_call(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let action = object(at.field("action"), must_take(at, &mut fields, "action")?)?;
    call(at, fields, "shell".to_owned(), &action.into())
}

pub(super) fn apply_patch_call(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let operation = object(at.field("operation"), must_take(at, &mut fields, "operation")?)?;
    call(at, fields, "apply_patch".to_owned(), &operation.into())
}

pub(super) fn local_shell_output(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    if take(&mut fields.clone(), "call_id").is_none() {
        let id = must_take(at, &mut fields, "id")?;
        fields.insert("call_id".to_owned(), id);
    }
    plain_output(at, fields)
}

/// An output as a model reads it: text as it is, all else as JSON; where there is none, how it went.
pub(super) fn plain_output(at: At, mut fields: Map<String, Value>) -> Read<InputItem> {
    let id = id(at, &mut fields)?;
    let call_id = call_id(at, &mut fields)?;
    let went = take(&mut fields, "status");
    let output = match take(&mut fields, "output").or(went) {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (status, extra) = (ItemStatus::Completed, Extra::new());
    let item = FunctionCallOutput { id, status, call_id, output: output.into(), extra };
    Ok(InputItem::Item(Item::FunctionCallOutput(item), None))
}

fn call(at: At, mut fields: Map<String, Value>, name: String, arguments: &Value) -> Read<InputItem> {
    let (id, status) = (id(at, &mut fields)?, status(at, &mut fields)?.unwrap_or(ItemStatus::Completed));
    let call_id = call_id(at, &mut fields)?;
    let (arguments, extra) = (arguments.to_string(), Extra::new());
    Ok(InputItem::Item(Item::FunctionCall(FunctionCall { id, status, call_id, name, arguments, extra }), None))
}

/// Takes out of an input what brings tools, and is no item: gives the tools.
pub(super) fn take_tools(at: At, input: &mut Value) -> Read<Vec<Value>> {
    let Value::Array(items) = input else { return Ok(Vec::new()) };
    let brings = |item: &Value| {
        matches!(item["type"].as_str(), Some("additional_tools" | "tool_search_call" | "tool_search_output"))
    };
    if !items.iter().any(brings) {
        return Ok(Vec::new());
    }
    let (bringing, items_left): (Vec<_>, Vec<_>) = std::mem::take(items).into_iter().partition(brings);
    *items = items_left;
    let mut tools = Vec::new();
    for mut item in bringing {
        if let Some(list) = item.get_mut("tools").map(Value::take).filter(|list| !list.is_null()) {
            entries(at.field("tools"), list, |_, tool| {
                tools.push(tool);
                Ok(())
            })?;
        }
    }
    Ok(tools)
}
