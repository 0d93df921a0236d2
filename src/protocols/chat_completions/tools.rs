//! The functions that a model may call, nested as Chat Completions has them.

use serde_json::{Map, Value};

use crate::domain::params::{TextFormat, Tool, ToolChoice};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, boolean, choice, entries, name, object, required, string, word, wrong_type};
use crate::protocols::request::tools::{definition, function, function_name};

/// An entry of `tools`.
pub(super) fn tool(at: At, value: Value) -> Read<Tool> {
    let mut fields = object(at, value)?;
    definition(at.field("function"), nested(at, &mut fields)?)
}

/// `tool_choice`.
pub(super) fn tool_choice(at: At, value: Value) -> Read<ToolChoice> {
    match value {
        Value::String(_) => match word(at, value, &["none", "auto", "required"])?.as_str() {
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Ok(ToolChoice::Auto),
        },
        Value::Object(mut fields) => {
            let kind = required(at, "type", fields.get("type").cloned())?;
            match word(at.field("type"), kind, &["function", "allowed_tools"])?.as_str() {
                "function" => Ok(ToolChoice::Function(named(at, &mut fields)?)),
                _ => allowed(at.field("allowed_tools"), required(at, "allowed_tools", fields.remove("allowed_tools"))?),
            }
        }
        other => Err(wrong_type(at, "one of a string or an object", &other)),
    }
}

fn allowed(at: At, value: Value) -> Read<ToolChoice> {
    let mut fields = object(at, value)?;
    let modes = [("auto", false), ("required", true)];
    let is_required = choice(at.field("mode"), required(at, "mode", fields.remove("mode"))?, &modes)?;
    let names = entries(at.field("tools"), required(at, "tools", fields.remove("tools"))?, |at, value| {
        named(at, &mut object(at, value)?)
    })?;
    if names.is_empty() {
        return Err(ApiError::empty_array(at.field("tools")));
    }
    Ok(ToolChoice::Allowed { required: is_required, names })
}

fn named(at: At, fields: &mut Map<String, Value>) -> Read<String> {
    let name = nested(at, fields)?.remove("name");
    function_name(at.field("function"), name)
}

/// `function` of what has to be one.
pub(super) fn nested(at: At, fields: &mut Map<String, Value>) -> Read<Map<String, Value>> {
    function(at, fields.get("type"))?;
    object(at.field("function"), required(at, "function", fields.remove("function"))?)
}

/// `response_format`.
pub(super) fn response_format(at: At, value: Value) -> Read<TextFormat> {
    let mut fields = object(at, value)?;
    let kind = required(at, "type", fields.remove("type"))?;
    match word(at.field("type"), kind, &["text", "json_object", "json_schema"])?.as_str() {
        "text" => Ok(TextFormat::Text),
        "json_object" => Ok(TextFormat::JsonObject),
        _ => json_schema(at.field("json_schema"), required(at, "json_schema", fields.remove("json_schema"))?),
    }
}

fn json_schema(at: At, value: Value) -> Read<TextFormat> {
    let (mut title, mut description, mut schema, mut strict) = (None, None, None, None);
    for (key, value) in object(at, value)?.into_iter().filter(|(_, value)| !value.is_null()) {
        let at = at.field(&key);
        match key.as_str() {
            "name" => title = Some(name(at, value)?),
            "description" => description = Some(string(at, value)?),
            "schema" => schema = Some(Value::Object(object(at, value)?)),
            "strict" => strict = Some(boolean(at, &value)?),
            _ => {}
        }
    }
    let (name, schema) = (required(at, "name", title)?, required(at, "schema", schema)?);
    Ok(TextFormat::JsonSchema { name, description, schema, strict })
}
