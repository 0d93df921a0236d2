//! Calls of tools that are no plain functions, as their clients know them.

use serde::Serialize;
use serde_json::{Map, Value};

use super::json;
use crate::domain::items::{FunctionCall, ItemStatus};
use crate::domain::params::{GivenTool, ToolKind};

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
struct Call<'a> {
    r#type: &'static str,
    id: String,
    status: ItemStatus,
    call_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<Value>,
}

/// Appends a call of a tool.
pub(super) fn write(out: &mut Vec<u8>, call: &FunctionCall, given: &GivenTool) {
    let (namespace, name) = (given.namespace.as_deref(), Some(&*given.name));
    let bare = Call {
        r#type: kind(given.kind),
        id: id(&call.id, given.kind),
        status: call.status,
        call_id: &call.call_id,
        namespace: None,
        name: None,
        arguments: None,
        input: None,
        action: None,
        operation: None,
    };
    json(
        out,
        &match given.kind {
            ToolKind::Function => Call { namespace, name, arguments: Some(&call.arguments), ..bare },
            ToolKind::Custom => Call { namespace, name, input: Some(input(&call.arguments)), ..bare },
            ToolKind::LocalShell => Call { action: Some(command(&call.arguments)), ..bare },
            ToolKind::Shell => Call { action: Some(commands(&call.arguments)), ..bare },
            ToolKind::ApplyPatch => Call { operation: Some(fields(&call.arguments).into()), ..bare },
        },
    );
}

const fn kind(kind: ToolKind) -> &'static str {
    match kind {
        ToolKind::Function => "function_call",
        ToolKind::Custom => "custom_tool_call",
        ToolKind::LocalShell => "local_shell_call",
        ToolKind::Shell => "shell_call",
        ToolKind::ApplyPatch => "apply_patch_call",
    }
}

/// The id of a call, as calls of its kind have it.
pub(super) fn id(id: &str, kind: ToolKind) -> String {
    let prefix = match kind {
        ToolKind::Function => "fc_",
        ToolKind::Custom => "ctc_",
        ToolKind::LocalShell => "lsh_",
        ToolKind::Shell => "sh_",
        ToolKind::ApplyPatch => "apc_",
    };
    id.strip_prefix("fc_").map_or_else(|| id.to_owned(), |own| format!("{prefix}{own}"))
}

/// The text of a call: what a model that does not keep to the form wrote counts as it is.
pub(super) fn input(arguments: &str) -> String {
    match fields(arguments).remove("input") {
        Some(Value::String(text)) => text,
        _ => arguments.to_owned(),
    }
}

/// What a model wrote, as far as it is an object.
fn fields(arguments: &str) -> Map<String, Value> {
    match crate::protocols::json::parse(arguments.as_bytes()) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn command(arguments: &str) -> Value {
    let mut action = fields(arguments);
    action.insert("type".to_owned(), "exec".into());
    action.entry("command").or_insert_with(|| Value::Array(Vec::new()));
    action.entry("env").or_insert_with(|| Map::new().into());
    action.into()
}

fn commands(arguments: &str) -> Value {
    let mut action = fields(arguments);
    action.entry("commands").or_insert_with(|| Value::Array(Vec::new()));
    action.entry("timeout_ms").or_insert(Value::Null);
    action.entry("max_output_length").or_insert(Value::Null);
    action.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::items::Extra;

    fn written(kind: ToolKind, arguments: &str) -> Value {
        let (id, call_id, name) = ("fc_x".to_owned(), "c".to_owned(), "internal".to_owned());
        let (status, extra, arguments) = (ItemStatus::Completed, Extra::new(), arguments.to_owned());
        let call = FunctionCall { id, status, call_id, name, arguments, extra };
        let given = GivenTool { kind, name: "own".to_owned(), namespace: Some("ns".to_owned()), value: None };
        let mut out = Vec::new();
        write(&mut out, &call, &given);
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn a_call_is_told_as_its_client_knows_it() {
        let base = |kind: &str, id: &str| json!({"type": kind, "id": id, "status": "completed", "call_id": "c"});
        let with = |mut base: Value, more: Value| {
            base.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            base
        };
        let names = json!({"namespace": "ns", "name": "own"});
        let function = with(with(base("function_call", "fc_x"), names.clone()), json!({"arguments": "{}"}));
        assert_eq!(written(ToolKind::Function, "{}"), function);
        let custom =
            |input: &str| with(with(base("custom_tool_call", "ctc_x"), names.clone()), json!({"input": input}));
        assert_eq!(written(ToolKind::Custom, "{\"input\": \"*** Begin\\n\"}"), custom("*** Begin\n"));
        assert_eq!(written(ToolKind::Custom, "*** Begin"), custom("*** Begin"));
        let action = json!({"action": {"command": ["ls"], "type": "exec", "env": {}}});
        assert_eq!(
            written(ToolKind::LocalShell, "{\"command\": [\"ls\"]}"),
            with(base("local_shell_call", "lsh_x"), action)
        );
        let action = json!({"action": {"commands": ["ls"], "timeout_ms": 5, "max_output_length": null}});
        assert_eq!(
            written(ToolKind::Shell, "{\"commands\": [\"ls\"], \"timeout_ms\": 5}"),
            with(base("shell_call", "sh_x"), action)
        );
        let operation = json!({"operation": {"type": "delete_file", "path": "a"}});
        assert_eq!(
            written(ToolKind::ApplyPatch, "{\"type\": \"delete_file\", \"path\": \"a\"}"),
            with(base("apply_patch_call", "apc_x"), operation)
        );
    }
}
