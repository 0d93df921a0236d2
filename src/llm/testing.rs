//! Calls and items for tests, in few words.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Call, ContextItem, Prefix};
use crate::domain::items::Item;
use crate::domain::params::Params;

/// An item from its JSON.
pub(super) fn item(json: Value) -> ContextItem {
    let item: Item = serde_json::from_value(json).expect("an item");
    ContextItem { item, provider_state: None }
}

fn message(role: &str, kind: &str, text: &str) -> ContextItem {
    item(json!({"type": "message", "id": "msg_1", "status": "completed", "role": role,
        "content": [{"type": kind, "text": text}]}))
}

pub(super) fn user(text: &str) -> ContextItem {
    message("user", "input_text", text)
}

pub(super) fn system(text: &str) -> ContextItem {
    message("system", "input_text", text)
}

pub(super) fn developer(text: &str) -> ContextItem {
    message("developer", "input_text", text)
}

pub(super) fn assistant(text: &str) -> ContextItem {
    message("assistant", "output_text", text)
}

pub(super) fn calls(call_id: &str, name: &str, arguments: &str) -> ContextItem {
    item(json!({"type": "function_call", "id": "fc_1", "status": "completed", "call_id": call_id, "name": name,
        "arguments": arguments, "phase": "unknown to us"}))
}

pub(super) fn answer(call_id: &str, output: &str) -> ContextItem {
    item(json!({"type": "function_call_output", "id": "fco_1", "status": "completed", "call_id": call_id,
        "output": output}))
}

pub(super) fn thought(text: &str) -> ContextItem {
    item(json!({"type": "reasoning", "id": "rs_1", "summary": [],
        "content": [{"type": "reasoning_text", "text": text}]}))
}

pub(super) fn keeping(entry: ContextItem, state: Value) -> ContextItem {
    ContextItem { provider_state: Some(state), ..entry }
}

/// A call of `model` in this context.
pub(super) fn call(model: &str, context: Vec<ContextItem>) -> Call {
    let params = Params { model: model.to_owned(), ..Params::default() };
    Call { params: Arc::new(params), context, prefix: None, max_bytes: usize::MAX }
}

/// The same call, with parameters from JSON.
pub(super) fn with_params(params: Value, call: Call) -> Call {
    Call { params: Arc::new(serde_json::from_value(params).expect("parameters")), ..call }
}

/// The same call, after this output.
pub(super) fn after(text: &str, call: Call) -> Call {
    Call { prefix: Some(Prefix { text: text.to_owned(), call: None }), ..call }
}
