//! What requests become, and how they are refused.

mod properties;
mod refusals;

use serde_json::json;

use super::*;
use crate::domain::items::{Item, ItemStatus, Part, Role};
use crate::domain::params::{
    ContextManagement, Metadata, ReasoningParams, TextFormat, TextParams, Tool, ToolChoice, Truncation,
};

fn parse(body: &Value) -> Result<CreateResponse, ApiError> {
    CreateResponse::parse(body.to_string().as_bytes())
}

fn accepted(body: &Value) -> CreateResponse {
    parse(body).expect("accepted")
}

/// The items of a request, as they are stored.
fn items(input: &Value) -> Value {
    let items = accepted(&json!({"input": input})).input.into_iter().map(|item| match item {
        InputItem::Item(item, _) => serde_json::to_value(item).expect("JSON"),
        InputItem::Reference { id } => json!({"reference": id}),
    });
    items.collect()
}

#[test]
fn the_least_is_a_model_and_a_string() {
    let request = accepted(&json!({"model": "echo", "input": "Hi", "stream": true}));
    assert_eq!(request.model.as_deref(), Some("echo"));
    assert_eq!((request.stream, request.previous_response_id, request.conversation), (true, None, None));
    assert_eq!(request.params, Params { store: true, ..Params::default() });
    let [InputItem::Item(Item::Message(message), _)] = request.input.as_slice() else { panic!("one message") };
    assert_eq!((message.id.as_str(), message.role, message.status), ("", Role::User, ItemStatus::Completed));
    assert_eq!(message.content, [Part::InputText { text: "Hi".to_owned() }]);
}

#[test]
fn null_is_the_same_as_not_sent() {
    let all = "model stream store background metadata temperature top_p top_logprobs max_output_tokens max_tool_calls \
               tools tool_choice parallel_tool_calls reasoning text truncation include user safety_identifier \
               service_tier prompt_cache_key prompt previous_response_id conversation stream_options instructions";
    let mut body: Value = all.split_whitespace().map(|name| (name.to_owned(), Value::Null)).collect();
    body["input"] = "Hi".into();
    assert_eq!(accepted(&body), accepted(&json!({"input": "Hi"})));
}

#[test]
fn every_parameter_is_read() {
    let params = accepted(&json!({
        "input": "Hi", "instructions": "Be brief.", "background": true, "store": true, "metadata": {"a": "b"},
        "temperature": 2, "top_p": 0.5, "top_logprobs": 20, "max_output_tokens": 1, "max_tool_calls": 3,
        "tools": [{"type": "function", "name": "tea", "description": null, "parameters": {"type": "object"},
                   "strict": true, "defer_loading": false}],
        "tool_choice": {"type": "function", "name": "tea"}, "parallel_tool_calls": false,
        "reasoning": {"effort": "high", "generate_summary": "auto", "context": "new"},
        "text": {"format": {"type": "json_schema", "name": "cup", "schema": {}, "strict": null}, "verbosity": "low"},
        "truncation": "auto", "include": ["reasoning.encrypted_content"], "user": "u", "safety_identifier": "s",
        "service_tier": "flex", "prompt_cache_key": "k", "stream_options": {"include_obfuscation": false},
        "context_management": [{"type": "compaction", "compact_threshold": 9000},
                               {"type": "compaction", "compact_threshold": 4000}],
        "something_new": {"a": [1]},
    }))
    .params;
    let format = TextFormat::JsonSchema { name: "cup".into(), description: None, schema: json!({}), strict: None };
    let parameters = Some(json!({"type": "object"}));
    let expected = Params {
        model: String::new(),
        instructions: Some("Be brief.".into()),
        background: true,
        store: true,
        metadata: [("a".into(), "b".into())].into(),
        temperature: Some(2.0),
        top_p: Some(0.5),
        presence_penalty: None,
        frequency_penalty: None,
        passed: serde_json::Map::new(),
        top_logprobs: Some(20),
        max_output_tokens: Some(1),
        max_tool_calls: Some(3),
        tools: vec![Tool { name: "tea".into(), description: None, parameters, strict: Some(true), given: None }],
        left_out: Vec::new(),
        ignored: vec!["something_new".into()],
        tool_choice: Some(ToolChoice::Function("tea".into())),
        parallel_tool_calls: Some(false),
        reasoning: Some(ReasoningParams { effort: Some("high".into()), summary: Some("auto".into()) }),
        text: Some(TextParams { format: Some(format), verbosity: Some("low".into()) }),
        truncation: Some(Truncation::Auto),
        include: vec!["reasoning.encrypted_content".into()],
        goes_on: None,
        compaction: None,
        context_management: Some(ContextManagement { compact_threshold: 4000, key: None }),
        user: Some("u".into()),
        safety_identifier: Some("s".into()),
        service_tier: Some("flex".into()),
        prompt_cache_key: Some("k".into()),
        audio: None,
    };
    assert_eq!(params, expected);
}

#[test]
fn tool_choices_are_read_in_all_their_forms() {
    let choice = |choice: Value| {
        let tools = json!([{"type": "function", "name": "tea"}, {"type": "function", "name": "cup"}]);
        accepted(&json!({"input": "Hi", "tools": tools, "tool_choice": choice})).params.tool_choice
    };
    assert_eq!(choice(json!("auto")), Some(ToolChoice::Auto));
    assert_eq!(choice(json!("none")), Some(ToolChoice::None));
    assert_eq!(choice(json!("required")), Some(ToolChoice::Required));
    let allowed = json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "cup"}]});
    assert_eq!(choice(allowed), Some(ToolChoice::Allowed { required: true, names: vec!["cup".into()] }));
}

#[test]
fn a_conversation_or_a_reply_can_be_continued() {
    let thread = ThreadId::random();
    for conversation in [json!(thread.conversation()), json!({"id": thread.conversation()})] {
        let request = accepted(&json!({"conversation": conversation}));
        assert_eq!((request.conversation, request.input), (Some(thread), vec![]));
    }
    let reply = ReplyId::random(thread);
    let request = accepted(&json!({"input": "And?", "previous_response_id": reply.to_string()}));
    assert_eq!(request.previous_response_id, Some(reply));
}

#[test]
fn messages_come_with_and_without_a_type() {
    assert_eq!(
        items(&json!([
            {"role": "developer", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "text", "text": "!"}]},
            {"role": "assistant", "content": "Hello", "phase": "final_answer"},
            {"type": "message", "id": "msg_1", "status": "incomplete", "role": "assistant", "content": [
                {"type": "output_text", "text": "I", "annotations": [{"type": "x"}]}, {"type": "refusal", "refusal": "No"}]},
        ])),
        json!([
            {"type": "message", "id": "", "status": "completed", "role": "developer",
             "content": [{"type": "input_text", "text": "Be brief."}]},
            {"type": "message", "id": "", "status": "completed", "role": "user",
             "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_text", "text": "!"}]},
            {"type": "message", "id": "", "status": "completed", "role": "assistant", "phase": "final_answer",
             "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]},
            {"type": "message", "id": "msg_1", "status": "incomplete", "role": "assistant", "content": [
                {"type": "output_text", "text": "I", "annotations": [{"type": "x"}], "logprobs": []},
                {"type": "refusal", "refusal": "No"}]},
        ])
    );
}

#[test]
fn images_come_in_two_forms() {
    assert_eq!(
        items(&json!([{"role": "user", "content": [
            {"type": "input_image", "image_url": "https://a/b.png", "file_id": null},
            {"type": "input_image", "image_url": {"url": "DATA:image/png;base64,AA", "detail": "low"}},
            {"type": "input_image", "image_url": "http://a/b.png", "detail": "high"},
        ]}]))[0]["content"],
        json!([
            {"type": "input_image", "detail": "auto", "image_url": "https://a/b.png"},
            {"type": "input_image", "detail": "low", "image_url": "DATA:image/png;base64,AA"},
            {"type": "input_image", "detail": "high", "image_url": "http://a/b.png"},
        ])
    );
}

#[test]
fn calls_their_outputs_thoughts_and_references_are_read() {
    assert_eq!(
        items(&json!([
            {"type": "reasoning", "id": "rs_x", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": null},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm"}], "encrypted_content": "e"},
            {"type": "function_call", "call_id": "c", "name": "tea", "arguments": "{}", "namespace": "n"},
            {"type": "function_call_output", "call_id": "c", "output": "hot", "status": null},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "hot"}]},
            {"type": "item_reference", "id": "msg_1"},
            {"id": "msg_2", "type": null},
        ])),
        json!([
            {"type": "reasoning", "id": "rs_x", "summary": [{"type": "summary_text", "text": "Hm"}], "content": []},
            {"type": "reasoning", "id": "", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}],
             "encrypted_content": "e"},
            {"type": "function_call", "id": "", "status": "completed", "call_id": "c", "name": "n__tea",
             "arguments": "{}", "namespace": "n"},
            {"type": "function_call_output", "id": "", "status": "completed", "call_id": "c", "output": "hot"},
            {"type": "function_call_output", "id": "", "status": "completed", "call_id": "c",
             "output": [{"type": "input_text", "text": "hot"}]},
            {"reference": "msg_1"},
            {"reference": "msg_2"},
        ])
    );
}

#[test]
fn conversations_are_created_changed_and_added_to() {
    let item = json!({"role": "user", "content": "Hi"});
    let body = json!({"items": [item], "metadata": {"a": "b"}}).to_string();
    let created = CreateConversation::parse(body.as_bytes()).expect("accepted");
    assert_eq!((created.items.len(), created.metadata.len()), (1, 1));
    assert_eq!(CreateItems::parse(body.as_bytes()).expect("accepted").items, created.items);
    assert_eq!(UpdateConversation::parse(body.as_bytes()).expect("accepted").metadata, created.metadata);
    for nothing in ["", " \n", "{}", r#"{"items":null,"metadata":null}"#] {
        assert_eq!(CreateConversation::parse(nothing.as_bytes()), Ok(CreateConversation::default()));
    }
    let cleared = UpdateConversation::parse(br#"{"metadata":null}"#);
    assert_eq!(cleared, Ok(UpdateConversation { metadata: Metadata::new() }));
}
