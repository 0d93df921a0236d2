//! `tools` as agents send them. To a model all of them are functions: one with a text for arguments, those of a namespace
//! under names of their own, a shell. What a provider runs itself is left out, and said so.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::definition;
use crate::domain::params::{GivenTool, Tool, ToolKind};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, entries, name, object, required, short_string, string};

/// The longest name of a function.
const LONGEST: usize = 64;

/// Tools that a provider runs itself, or that need one of its own kind.
const HOSTED: &[&str] = &[
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "file_search",
    "code_interpreter",
    "image_generation",
    "mcp",
    "computer",
    "computer_use",
    "computer_use_preview",
    "tool_search",
    "programmatic_tool_calling",
];

/// What is run here, or by the client.
const SUPPORTED: &[&str] = &["function", "custom", "namespace", "local_shell", "shell", "apply_patch"];

/// The tools of a request.
#[derive(Debug, Default)]
pub(in crate::protocols) struct Tools {
    /// What a model may call.
    pub(in crate::protocols) tools: Vec<Tool>,
    /// The types of those that are not run here.
    pub(in crate::protocols) left_out: Vec<String>,
}

/// `tools`.
pub(in crate::protocols) fn tools(at: At, value: Value) -> Read<Tools> {
    let mut tools = Tools::default();
    entries(at, value, |at, value| tools.add(at, value))?;
    Ok(tools)
}

impl Tools {
    fn add(&mut self, at: At, value: Value) -> Read<()> {
        let fields = object(at, value)?;
        let kind = string(at.field("type"), required(at, "type", fields.get("type").cloned())?)?;
        match kind.as_str() {
            "function" => self.tools.push(definition(at, fields)?),
            "custom" => self.tools.push(custom(at, fields, None)?),
            "namespace" => self.namespace(at, &fields)?,
            "local_shell" => self.tools.push(shell(ToolKind::LocalShell, fields)),
            "shell" => self.tools.push(shell(ToolKind::Shell, fields)),
            "apply_patch" => self.tools.push(apply_patch(fields)),
            hosted if HOSTED.contains(&hosted) => self.left_out.push(hosted.to_owned()),
            other => return Err(ApiError::invalid_value(at.field("type"), other, SUPPORTED)),
        }
        Ok(())
    }

    /// Functions under a common name, each by itself.
    fn namespace(&mut self, at: At, fields: &Map<String, Value>) -> Read<()> {
        let namespace = short_string(at.field("name"), required(at, "name", fields.get("name").cloned())?, 256)?;
        let mut whole = Some(Value::Object(fields.clone()));
        let inner = required(at, "tools", fields.get("tools").cloned())?;
        entries(at.field("tools"), inner, |at, value| {
            let fields = object(at, value)?;
            let is_custom = fields.get("type").is_some_and(|kind| kind == "custom");
            let mut tool = if is_custom { custom(at, fields, Some(&namespace))? } else { definition(at, fields)? };
            let kind = if is_custom { ToolKind::Custom } else { ToolKind::Function };
            let own = tool.given.take().map_or_else(|| tool.name.clone(), |given| given.name);
            tool.name = flat(&namespace, &own);
            let (namespace, value) = (Some(namespace.clone()), whole.take());
            tool.given = Some(Box::new(GivenTool { kind, name: own, namespace, value }));
            self.tools.push(tool);
            Ok(())
        })?;
        Ok(())
    }
}

/// The name under which a model knows a function of a namespace.
pub(in crate::protocols) fn flat(namespace: &str, name: &str) -> String {
    let allowed = |char: char| if char.is_ascii_alphanumeric() || matches!(char, '_' | '-') { char } else { '_' };
    let flat: String = namespace.chars().map(allowed).chain("__".chars()).chain(name.chars().map(allowed)).collect();
    if flat.len() <= LONGEST {
        return flat;
    }
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&flat)[..6]);
    format!("{}_{digest}", &flat[..LONGEST - digest.len() - 1])
}

/// A tool that takes a text.
fn custom(at: At, mut fields: Map<String, Value>, namespace: Option<&str>) -> Read<Tool> {
    let own = name(at.field("name"), required(at, "name", fields.get("name").cloned())?)?;
    let value = namespace.is_none().then(|| Value::Object(fields.clone()));
    let description = fields.remove("description").and_then(|value| value.as_str().map(str::to_owned));
    let grammar = fields.get("format").filter(|format| format["type"] == "grammar").map(|format| {
        let (syntax, definition) = (format["syntax"].as_str().unwrap_or_default(), &format["definition"]);
        format!("The input has to match this grammar ({syntax}):\n{}", definition.as_str().unwrap_or_default())
    });
    let description = [description, grammar].into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    let parameters = json!({
        "type": "object",
        "properties": {"input": {"type": "string", "description": "The input of the tool, as plain text"}},
        "required": ["input"],
        "additionalProperties": false,
    });
    let given = GivenTool { kind: ToolKind::Custom, name: own.clone(), namespace: None, value };
    let description = Some(description).filter(|description| !description.is_empty());
    Ok(Tool { name: own, description, parameters: Some(parameters), strict: None, given: Some(Box::new(given)) })
}

fn shell(kind: ToolKind, fields: Map<String, Value>) -> Tool {
    let (name, description, properties, needed) = match kind {
        ToolKind::LocalShell => (
            "local_shell",
            "Runs a command on the user's machine.",
            json!({
                "command": {"type": "array", "items": {"type": "string"}, "description": "The program and its arguments"},
                "env": {"type": "object", "additionalProperties": {"type": "string"}},
                "working_directory": {"type": "string"},
                "timeout_ms": {"type": "integer"},
            }),
            "command",
        ),
        _ => (
            "shell",
            "Runs commands in a shell, one after the other.",
            json!({
                "commands": {"type": "array", "items": {"type": "string"}},
                "timeout_ms": {"type": "integer"},
                "max_output_length": {"type": "integer"},
            }),
            "commands",
        ),
    };
    function_of(kind, (name, description), &properties, &[needed], fields)
}

fn apply_patch(fields: Map<String, Value>) -> Tool {
    let properties = json!({
        "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
        "path": {"type": "string"},
        "diff": {"type": "string", "description": "The change in the V4A format; empty where a file is deleted"},
    });
    let about = ("apply_patch", "Creates, updates or deletes a file by a diff.");
    function_of(ToolKind::ApplyPatch, about, &properties, &["type", "path"], fields)
}

fn function_of(
    kind: ToolKind,
    (name, description): (&str, &str),
    properties: &Value,
    needed: &[&str],
    fields: Map<String, Value>,
) -> Tool {
    let parameters = json!({"type": "object", "properties": properties, "required": needed});
    let given = GivenTool { kind, name: name.to_owned(), namespace: None, value: Some(fields.into()) };
    let (name, description) = (name.to_owned(), Some(description.to_owned()));
    Tool { name, description, parameters: Some(parameters), strict: None, given: Some(Box::new(given)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Read<Tools> {
        tools(At::Body.field("tools"), value)
    }

    #[test]
    fn all_that_a_client_runs_is_a_function_to_a_model() {
        let namespace = json!({"type": "namespace", "name": "multi.agent", "description": "d", "tools": [
            {"type": "function", "name": "close", "parameters": {"type": "object"}},
            {"type": "custom", "name": "say"},
        ]});
        let given = json!([
            {"type": "function", "name": "f"},
            {"type": "custom", "name": "apply_patch", "description": "FREEFORM", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
            namespace, {"type": "local_shell"}, {"type": "shell"}, {"type": "web_search", "external_web_access": false},
        ]);
        let Tools { tools, left_out } = read(given).expect("tools");
        let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["f", "apply_patch", "multi_agent__close", "multi_agent__say", "local_shell", "shell"]);
        assert_eq!(left_out, ["web_search"]);
        assert!(tools[1].description.as_deref().is_some_and(|text| text.contains("FREEFORM") && text.contains("/.+/")));
        assert_eq!(tools[2].given.as_ref().and_then(|given| given.value.as_ref()), Some(&namespace));
        assert_eq!(
            tools[3].given.as_ref().map(|given| (given.kind, given.value.is_none())),
            Some((ToolKind::Custom, true))
        );
    }

    #[test]
    fn long_names_stay_apart_and_unknown_types_are_refused() {
        let (one, two) = (flat("a".repeat(60).as_str(), "one"), flat("a".repeat(60).as_str(), "two"));
        assert!(one != two && one.len() == LONGEST && two.len() == LONGEST);
        let param = |value: Value| read(value).map(drop).map_err(|error| error.param);
        assert_eq!(param(json!([{"type": "telepathy"}])), Err(Some("tools[0].type".to_owned())));
        assert_eq!(param(json!([{"name": "x"}])), Err(Some("tools[0].type".to_owned())));
        assert_eq!(param(json!([{"type": "custom"}])), Err(Some("tools[0].name".to_owned())));
        assert_eq!(param(json!([{"type": "namespace", "name": "n"}])), Err(Some("tools[0].tools".to_owned())));
    }
}
