//! Whether and which function a model must call, and what a function is.

use serde_json::{Map, Value};

pub(in crate::protocols) mod given;

use crate::domain::params::{Params, Tool, ToolChoice, ToolKind};
use crate::protocols::error::ApiError;
use crate::protocols::json::{self, At, Read, boolean, entries, name, object, required, string, word, wrong_type};

/// What a function is: its name, what it does, and what it takes.
pub(in crate::protocols) fn definition(at: At, fields: Map<String, Value>) -> Read<Tool> {
    let (mut title, mut description, mut parameters, mut strict) = (None, None, None, None);
    for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        let at = at.field(&key);
        match key.as_str() {
            "name" => title = Some(name(at, value)?),
            "description" => description = Some(string(at, value)?),
            "parameters" => parameters = Some(Value::Object(object(at, value)?)),
            "strict" => strict = Some(boolean(at, &value)?),
            _ => {}
        }
    }
    Ok(Tool { name: required(at, "name", title)?, description, parameters, strict, given: None })
}

/// Refuses every `type` but `function`.
pub(in crate::protocols) fn function(at: At, kind: Option<&Value>) -> Read<()> {
    match kind {
        Some(Value::String(kind)) if kind == "function" => Ok(()),
        Some(Value::String(kind)) => Err(ApiError::invalid_value(at.field("type"), kind, &["function"])),
        Some(other) => Err(wrong_type(at.field("type"), "a string", other)),
        None => Err(ApiError::missing_parameter(at.field("type"))),
    }
}

/// Reads the function that an object names, in one protocol's form.
type Named = fn(At, &mut Map<String, Value>) -> Read<String>;

/// `tool_choice`.
pub(super) fn choice(at: At, value: Value) -> Read<ToolChoice> {
    // Those that are of one kind are named by their type.
    let alone = value.get("type").and_then(Value::as_str).filter(|kind| kind_alone(kind).is_some());
    if let Some(kind) = alone {
        return Ok(ToolChoice::Function(kind.to_owned()));
    }
    choice_with(at, value, named, None)
}

/// The tools of which there is one.
fn kind_alone(kind: &str) -> Option<ToolKind> {
    match kind {
        "local_shell" => Some(ToolKind::LocalShell),
        "shell" => Some(ToolKind::Shell),
        "apply_patch" => Some(ToolKind::ApplyPatch),
        _ => None,
    }
}

/// `tool_choice` in a protocol that names functions so, and has what `allowed_tools` says in this field, if not beside it.
pub(in crate::protocols) fn choice_with(
    at: At,
    value: Value,
    function_of: Named,
    allowed_in: Option<&'static str>,
) -> Read<ToolChoice> {
    match value {
        Value::String(_) => match word(at, value, &["none", "auto", "required"])?.as_str() {
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Ok(ToolChoice::Auto),
        },
        Value::Object(mut fields) => {
            let kind = required(at, "type", fields.get("type").cloned())?;
            // (Only one of the protocols has tools that take a text.)
            let kinds: &[&str] = if allowed_in.is_none() {
                &["function", "allowed_tools", "custom"]
            } else {
                &["function", "allowed_tools"]
            };
            match (word(at.field("type"), kind, kinds)?.as_str(), allowed_in) {
                ("function" | "custom", _) => Ok(ToolChoice::Function(function_of(at, &mut fields)?)),
                (_, None) => allowed(at, fields, function_of),
                (_, Some(field)) => {
                    let inner = required(at, field, fields.remove(field))?;
                    allowed(at.field(field), object(at.field(field), inner)?, function_of)
                }
            }
        }
        other => Err(wrong_type(at, "one of a string or an object", &other)),
    }
}

fn allowed(at: At, mut fields: Map<String, Value>, function_of: Named) -> Read<ToolChoice> {
    let modes = [("auto", false), ("required", true)];
    let required_mode = json::choice(at.field("mode"), required(at, "mode", fields.remove("mode"))?, &modes)?;
    let tools = required(at, "tools", fields.remove("tools"))?;
    let names = entries(at.field("tools"), tools, |at, value| function_of(at, &mut object(at, value)?))?;
    if names.is_empty() {
        return Err(ApiError::empty_array(at.field("tools")));
    }
    Ok(ToolChoice::Allowed { required: required_mode, names })
}

fn named(at: At, fields: &mut Map<String, Value>) -> Read<String> {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind_alone(kind).is_some() {
        return Ok(kind.to_owned());
    }
    if kind != "custom" {
        function(at, fields.get("type"))?;
    }
    let own = function_name(at, fields.remove("name"))?;
    let namespace = fields.get("namespace").and_then(Value::as_str);
    Ok(namespace.map_or_else(|| own.clone(), |namespace| given::flat(namespace, &own)))
}

/// The name of a function that is to be called.
pub(in crate::protocols) fn function_name(at: At, value: Option<Value>) -> Read<String> {
    name(at.field("name"), required(at, "name", value)?)
}

/// Whether what is to be called can be.
pub(in crate::protocols) fn check_choice(params: &Params) -> Read<()> {
    let names: &[String] = match &params.tool_choice {
        Some(ToolChoice::Function(name)) => std::slice::from_ref(name),
        Some(ToolChoice::Allowed { names, .. }) => names,
        Some(ToolChoice::Required) if params.tools.is_empty() => {
            let message = "Tool choice 'required' must be specified with 'tools' parameter.";
            return Err(ApiError::client(400, message).with_param("tool_choice").with_code("invalid_value"));
        }
        None | Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) => return Ok(()),
    };
    match names.iter().find(|name| !params.tools.iter().any(|tool| tool.name == **name)) {
        None => Ok(()),
        Some(missing) => {
            let message = format!("Tool choice '{missing}' not found in 'tools' parameter.");
            Err(ApiError::client(400, message).with_param("tool_choice").with_code("invalid_value"))
        }
    }
}
