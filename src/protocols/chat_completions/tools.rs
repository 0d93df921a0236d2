//! The functions that a model may call, nested as Chat Completions has them.

use serde_json::{Map, Value};

use crate::domain::params::{TextFormat, Tool, ToolChoice};
use crate::protocols::json::{At, Read, boolean, name, object, required, string, word};
use crate::protocols::request::tools::{choice_with, definition, function, function_name};

/// An entry of `tools`.
pub(super) fn tool(at: At, value: Value) -> Read<Tool> {
    let mut fields = object(at, value)?;
    definition(at.field("function"), nested(at, &mut fields)?)
}

/// `tool_choice`.
pub(super) fn tool_choice(at: At, value: Value) -> Read<ToolChoice> {
    choice_with(at, value, named, Some("allowed_tools"))
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
