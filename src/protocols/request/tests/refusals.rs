//! Every way in which a request can be wrong, and what its client is told.

use serde_json::{Value, json};

use super::super::*;

/// A request that says "Hi", with one more field.
fn with(name: &str, value: Value) -> Value {
    let mut body = json!({"input": "Hi"});
    body[name] = value;
    body
}

/// Asserts that `body` is refused with 400, and how: the message, the parameter, the code.
#[track_caller]
fn refused(body: &Value, message: &str, param: &str, code: &str) {
    let error = super::parse(body).expect_err("refused");
    let told = (error.status, error.message.as_str(), error.param.as_deref(), error.code);
    assert_eq!(told, (400, message, Some(param).filter(|param| !param.is_empty()), Some(code)));
}

#[track_caller]
fn wrong_type(body: &Value, param: &str, expected: &str, got: &str) {
    let message = format!("Invalid type for '{param}': expected {expected}, but got {got} instead.");
    refused(body, &message, param, "invalid_type");
}

#[track_caller]
fn missing(body: &Value, param: &str) {
    refused(body, &format!("Missing required parameter: '{param}'."), param, "missing_required_parameter");
}

#[test]
fn a_body_that_is_no_object() {
    refused(
        &json!([]),
        "Invalid type for the request body: expected an object, but got an array instead.",
        "",
        "invalid_type",
    );
    let error = CreateResponse::parse(b"{\"input\": \"Hi\"").expect_err("refused");
    let message = "We could not parse the JSON body of your request: EOF while parsing an object at line 1 column 14.";
    assert_eq!((error.message.as_str(), error.code), (message, Some("invalid_json")));
}

#[test]
fn fields_of_the_wrong_type() {
    wrong_type(&with("temperature", json!("hot")), "temperature", "a number", "a string");
    wrong_type(&with("top_p", json!([])), "top_p", "a number", "an array");
    wrong_type(&with("stream", json!("true")), "stream", "a boolean", "a string");
    wrong_type(&with("store", json!(1)), "store", "a boolean", "an integer");
    wrong_type(&with("background", json!({})), "background", "a boolean", "an object");
    wrong_type(&with("parallel_tool_calls", json!(0)), "parallel_tool_calls", "a boolean", "an integer");
    wrong_type(&with("model", json!(4)), "model", "a string", "an integer");
    wrong_type(&with("instructions", json!([])), "instructions", "a string", "an array");
    wrong_type(&with("max_output_tokens", json!(1.5)), "max_output_tokens", "an integer", "a decimal");
    wrong_type(&with("max_tool_calls", json!("1")), "max_tool_calls", "an integer", "a string");
    wrong_type(&with("metadata", json!([])), "metadata", "an object", "an array");
    wrong_type(&with("metadata", json!({"a": 1})), "metadata.a", "a string", "an integer");
    wrong_type(&with("include", json!("all")), "include", "an array", "a string");
    wrong_type(&with("include", json!([true])), "include[0]", "a string", "a boolean");
    wrong_type(&with("reasoning", json!("high")), "reasoning", "an object", "a string");
    wrong_type(&with("text", json!({"format": "json"})), "text.format", "an object", "a string");
    wrong_type(&with("tools", json!({})), "tools", "an array", "an object");
    wrong_type(&with("tools", json!([{"type": 1}])), "tools[0].type", "a string", "an integer");
    wrong_type(&with("tool_choice", json!(1)), "tool_choice", "one of a string or an object", "an integer");
    wrong_type(&with("conversation", json!(1)), "conversation", "one of a string or an object", "an integer");
    wrong_type(&with("previous_response_id", json!(1)), "previous_response_id", "a string", "an integer");
    wrong_type(&with("user", json!(1)), "user", "a string", "an integer");
}

#[test]
fn fields_out_of_range() {
    let ranged = |name: &str, value: Value, problem: &str, code: &str| {
        refused(&with(name, value), &format!("Invalid '{name}': {problem} instead."), name, code);
    };
    let (below, above) = ("decimal_below_min_value", "decimal_above_max_value");
    ranged("temperature", json!(-0.1), "decimal below minimum value. Expected a value >= 0, but got -0.1", below);
    ranged("temperature", json!(2.5), "decimal above maximum value. Expected a value <= 2, but got 2.5", above);
    ranged("top_p", json!(1.5), "decimal above maximum value. Expected a value <= 1, but got 1.5", above);
    let (below, above) = ("integer_below_min_value", "integer_above_max_value");
    ranged("top_logprobs", json!(21), "integer above maximum value. Expected a value <= 20, but got 21", above);
    ranged("top_logprobs", json!(-1), "integer below minimum value. Expected a value >= 0, but got -1", below);
    ranged("max_output_tokens", json!(0), "integer below minimum value. Expected a value >= 1, but got 0", below);
    let long = "é".repeat(65);
    let problem = "string too long. Expected a string with maximum length 64, but got a string with length 65";
    ranged("safety_identifier", json!(long), problem, "string_above_max_length");
    let empty = "empty string. Expected a string with minimum length 1, but got an empty string";
    ranged("model", json!(""), empty, "empty_string");
}

#[test]
fn notes_that_are_too_many_or_too_long() {
    let many: Value = (0..17).map(|number| (number.to_string(), Value::from(""))).collect();
    let message = "Invalid 'metadata': too many properties. \
                   Expected an object with at most 16 properties, but got an object with 17 properties instead.";
    refused(&with("metadata", many), message, "metadata", "object_above_max_properties");
    let message = "Invalid 'metadata': property name too long. \
                   Expected property names with maximum length 64, but got one with length 65 instead.";
    let long = json!({"k".repeat(65): ""});
    refused(&with("metadata", long), message, "metadata", "property_name_above_max_length");
    let message = "Invalid 'metadata.a': string too long. \
                   Expected a string with maximum length 512, but got a string with length 513 instead.";
    refused(&with("metadata", json!({"a": "v".repeat(513)})), message, "metadata.a", "string_above_max_length");
    let most: Value = (0..16).map(|number| (format!("{number:064}"), Value::from("ü".repeat(512)))).collect();
    assert!(super::parse(&with("metadata", most)).is_ok());
}

#[test]
fn words_that_are_not_known() {
    let unknown = |body: Value, param: &str, got: &str, supported: &str| {
        let message = format!("Invalid value: '{got}'. Supported values are: {supported}.");
        refused(&body, &message, param, "invalid_value");
    };
    unknown(with("truncation", json!("some")), "truncation", "some", "'auto' and 'disabled'");
    unknown(with("tool_choice", json!("any")), "tool_choice", "any", "'none', 'auto', and 'required'");
    let tools = with("tools", json!([{"type": "function", "name": "a"}, {"type": "telepathy"}]));
    let known = "'function', 'custom', 'namespace', 'local_shell', 'shell', and 'apply_patch'";
    unknown(tools, "tools[1].type", "telepathy", known);
    let hosted = with("tool_choice", json!({"type": "file_search"}));
    unknown(hosted, "tool_choice.type", "file_search", "'function', 'allowed_tools', and 'custom'");
    let format = with("text", json!({"format": {"type": "xml"}}));
    unknown(format, "text.format.type", "xml", "'text', 'json_schema', and 'json_object'");
    let summary = with("reasoning", json!({"summary": "long"}));
    unknown(summary, "reasoning.summary", "long", "'auto', 'concise', and 'detailed'");
    unknown(with("text", json!({"verbosity": "huge"})), "text.verbosity", "huge", "'low', 'medium', and 'high'");
    let parts = "'input_text', 'input_image', 'input_file', 'input_audio', 'output_text', 'refusal', and 'text'";
    let file =
        json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": ""}, {"type": "input_video"}]}]});
    unknown(file, "input[0].content[1].type", "input_video", parts);
    let role = json!({"input": [{"role": "tool", "content": ""}]});
    unknown(role, "input[0].role", "tool", "'user', 'assistant', 'system', and 'developer'");
    let long = "x".repeat(200);
    let types = "'message', 'reasoning', 'function_call', 'function_call_output', 'item_reference', \
        'custom_tool_call', 'custom_tool_call_output', 'local_shell_call', 'local_shell_call_output', 'shell_call', \
        'shell_call_output', 'apply_patch_call', 'apply_patch_call_output', 'compaction', 'compaction_summary', and \
        'compaction_trigger'";
    unknown(json!({"input": [{"type": long}]}), "input[0].type", &format!("{}…", &long[..80]), types);
}

#[test]
fn fields_that_are_missing() {
    missing(&json!({}), "input");
    missing(&json!({"input": null}), "input");
    missing(&json!({"input": []}), "input");
    missing(&with("tools", json!([{"type": "function"}])), "tools[0].name");
    missing(&with("tools", json!([{}])), "tools[0].type");
    missing(&with("tool_choice", json!({"type": "function"})), "tool_choice.name");
    missing(&with("tool_choice", json!({"type": "allowed_tools", "mode": "auto"})), "tool_choice.tools");
    missing(&with("text", json!({"format": {"type": "json_schema", "schema": {}}})), "text.format.name");
    missing(&with("text", json!({"format": {"type": "json_schema", "name": "a"}})), "text.format.schema");
    missing(&with("conversation", json!({})), "conversation.id");
    let file = json!({"input": [{"role": "user", "content": [{"type": "input_file"}]}]});
    missing(&file, "input[0].content[0].file_data");
    missing(&json!({"input": [{}]}), "input[0].type");
    missing(&json!({"input": [{"type": "message", "role": "user"}]}), "input[0].content");
    missing(&json!({"input": [{"type": "message", "content": ""}]}), "input[0].role");
    missing(&json!({"input": [{"role": "user", "content": [{}]}]}), "input[0].content[0].type");
    missing(
        &json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
        "input[0].content[0].image_url",
    );
    missing(&json!({"input": [{"type": "function_call", "name": "a", "arguments": ""}]}), "input[0].call_id");
    missing(&json!({"input": [{"type": "function_call_output", "call_id": "c"}]}), "input[0].output");
    missing(&json!({"input": [{"type": "item_reference"}]}), "input[0].id");
}

#[test]
fn items_of_the_wrong_form() {
    wrong_type(&json!({"input": 1}), "input", "one of a string or an array of items", "an integer");
    wrong_type(&json!({"input": ["Hi"]}), "input[0]", "an object", "a string");
    let expected = "one of a string or an array of content parts";
    wrong_type(&json!({"input": [{"role": "user", "content": {}}]}), "input[0].content", expected, "an object");
    let output = json!({"input": [{"type": "function_call_output", "call_id": "c", "output": 21}]});
    wrong_type(&output, "input[0].output", expected, "an integer");
    let arguments = json!({"input": [{"type": "function_call", "call_id": "c", "name": "a", "arguments": {}}]});
    wrong_type(&arguments, "input[0].arguments", "a string", "an object");
    let summary = json!({"input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": 1}]}]});
    wrong_type(&summary, "input[0].summary[0].text", "a string", "an integer");
    let image = json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://a"}]}]});
    let message =
        "Invalid 'input[0].content[0].image_url': expected a URL that begins with 'http:', 'https:' or 'data:'.";
    refused(&image, message, "input[0].content[0].image_url", "invalid_value");
}

#[test]
fn context_that_is_to_be_managed_in_another_way() {
    let managed = |entry: Value| with("context_management", json!([entry]));
    missing(&managed(json!({"compact_threshold": 1000})), "context_management[0].type");
    missing(&managed(json!({"type": "compaction"})), "context_management[0].compact_threshold");
    let message = "Invalid value: 'clear'. Supported values are: 'compaction'.";
    refused(&managed(json!({"type": "clear"})), message, "context_management[0].type", "invalid_value");
    let message = "Invalid 'context_management[0].compact_threshold': integer below minimum value. \
                   Expected a value >= 1000, but got 999 instead.";
    let low = managed(json!({"type": "compaction", "compact_threshold": 999}));
    refused(&low, message, "context_management[0].compact_threshold", "integer_below_min_value");
    wrong_type(&with("context_management", json!({})), "context_management", "an array", "an object");
}

#[test]
fn what_this_server_does_not_have() {
    let message =
        "Unsupported parameter: 'prompt' is not supported by this server. Send the prompt itself, as 'instructions'.";
    refused(&with("prompt", json!({"id": "pmpt_1"})), message, "prompt", "unsupported_parameter");
    let file = json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]});
    let message = "Unsupported parameter: 'input[0].content[0].file_id' is not supported by this server. \
                   Send the image itself in 'image_url', as a URL or a data URL.";
    refused(&file, message, "input[0].content[0].file_id", "unsupported_parameter");
}

#[test]
fn names_that_do_not_match() {
    let message = "Invalid 'tools[0].name': string does not match pattern. \
                   Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.";
    let tools = json!([{"type": "function", "name": "a b"}]);
    refused(&with("tools", tools), message, "tools[0].name", "invalid_value");
    let tools = json!([{"type": "function", "name": "a".repeat(65)}]);
    let message = "Invalid 'tools[0].name': string too long. \
                   Expected a string with maximum length 64, but got a string with length 65 instead.";
    refused(&with("tools", tools), message, "tools[0].name", "string_above_max_length");
}

#[test]
fn fields_that_exclude_each_other() {
    let thread = ThreadId::random();
    let body =
        json!({"conversation": thread.conversation(), "previous_response_id": ReplyId::random(thread).to_string()});
    let message = "Mutually exclusive parameters: 'conversation'. \
                   Ensure you are only providing one of: 'previous_response_id' or 'conversation'.";
    refused(&body, message, "conversation", "mutually_exclusive_parameters");
    let body = json!({"input": "Hi", "background": true, "store": false});
    refused(&body, "'background' requires 'store' to be true.", "background", "invalid_value");
    let body = with("tool_choice", json!("required"));
    let message = "Tool choice 'required' must be specified with 'tools' parameter.";
    refused(&body, message, "tool_choice", "invalid_value");
    let body = with("tool_choice", json!({"type": "function", "name": "tea"}));
    refused(&body, "Tool choice 'tea' not found in 'tools' parameter.", "tool_choice", "invalid_value");
}

#[test]
fn ids_that_lead_nowhere() {
    let message = "Invalid 'previous_response_id': 'msg_1'. Expected an ID that begins with 'resp'.";
    refused(&with("previous_response_id", json!("msg_1")), message, "previous_response_id", "invalid_value");
    let message = "Previous response with id 'resp_1' not found.";
    let code = "previous_response_not_found";
    refused(&with("previous_response_id", json!("resp_1")), message, "previous_response_id", code);
    let message = "Invalid 'conversation': 'x'. Expected an ID that begins with 'conv'.";
    refused(&with("conversation", json!("x")), message, "conversation", "invalid_value");
    let error = super::parse(&with("conversation", json!({"id": "conv_1"}))).expect_err("refused");
    assert_eq!((error.status, error.message.as_str()), (404, "Conversation with id 'conv_1' not found."));
}

#[test]
fn conversations_with_too_many_items_or_none() {
    let many = json!({"items": vec![json!({"role": "user", "content": ""}); 21]}).to_string();
    let error = CreateConversation::parse(many.as_bytes()).expect_err("refused");
    let message = "Invalid 'items': array too long. \
                   Expected an array with maximum length 20, but got an array with length 21 instead.";
    assert_eq!((error.message.as_str(), error.code), (message, Some("array_above_max_length")));
    let error = CreateItems::parse(br#"{"items":[]}"#).expect_err("refused");
    assert_eq!((error.param.as_deref(), error.code), (Some("items"), Some("empty_array")));
    let missing = |result: Result<(), ApiError>| result.expect_err("refused").message;
    assert_eq!(missing(CreateItems::parse(b"{}").map(drop)), "Missing required parameter: 'items'.");
    assert_eq!(missing(UpdateConversation::parse(b"{}").map(drop)), "Missing required parameter: 'metadata'.");
}
