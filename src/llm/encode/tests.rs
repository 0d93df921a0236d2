//! Requests as each server gets them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::llm::call::{ContextItem, Prefix};
use crate::llm::delta::UpstreamErrorKind;
use crate::llm::testing::{
    after, answer, assistant, call, calls, developer, item, keeping, system, thought, user, with_params,
};

fn target(dialect: Dialect) -> Target {
    Target {
        dialect,
        way: Way::Plain,
        asks_usage: dialect.is_asked_for_usage(),
        counts_completion: dialect.counts_completion_tokens(),
    }
}

fn request(dialect: Dialect, call: &Call) -> Value {
    written(target(dialect), call).0
}

fn written(target: Target, call: &Call) -> (Value, Continuation) {
    let encoded = encode(call, target).expect("a request");
    (serde_json::from_slice(&encoded.body).expect("JSON"), encoded.continuation)
}

fn messages(dialect: Dialect, context: Vec<ContextItem>) -> Value {
    request(dialect, &call("m", context))["messages"].take()
}

fn tool(name: &str) -> Value {
    json!({"name": name, "parameters": {"type": "object"}})
}

fn wire_tool(name: &str) -> Value {
    json!({"type": "function", "function": tool(name)})
}

fn message(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

const ALL: [Dialect; 10] = [
    Dialect::OpenAi,
    Dialect::Azure,
    Dialect::Ollama,
    Dialect::Anthropic,
    Dialect::OpenRouter,
    Dialect::DeepSeek,
    Dialect::Gemini,
    Dialect::Mistral,
    Dialect::Vllm,
    Dialect::Generic,
];

#[test]
fn a_bare_call_sends_nothing_that_the_client_did_not() {
    let body = request(Dialect::Generic, &call("m", vec![user("Hi")]));
    let expected = json!({
        "model": "m", "messages": [message("user", "Hi")], "stream": true, "stream_options": {"include_usage": true},
    });
    assert_eq!(body, expected);
    let silent = Target { asks_usage: false, ..target(Dialect::Generic) };
    assert!(written(silent, &call("m", vec![user("Hi")])).0.get("stream_options").is_none());
}

#[test]
fn the_operators_words_are_one_message_at_the_front() {
    let context = vec![system("a"), developer("b"), user("1"), assistant("2"), system("late"), user("3")];
    let call = with_params(json!({"model": "m", "instructions": "first"}), call("m", context));
    let others = request(Dialect::Generic, &call)["messages"].take();
    let turns = [message("user", "1"), message("assistant", "2"), message("user", "3")];
    assert_eq!(others, json!([message("system", "first\n\na\n\nb\n\nlate"), turns[0], turns[1], turns[2]]));
    let openai = request(Dialect::OpenAi, &call)["messages"].take();
    let late = message("system", "late");
    assert_eq!(openai, json!([message("developer", "first\n\na\n\nb"), turns[0], turns[1], late, turns[2]]));
}

#[test]
fn text_parts_are_one_string_and_images_are_parts() {
    let parts = |parts: Value| {
        vec![item(json!({"type": "message", "id": "m", "status": "completed", "role": "user", "content": parts}))]
    };
    let texts = json!([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]);
    assert_eq!(messages(Dialect::Ollama, parts(texts)), json!([message("user", "a\nb")]));
    let image = |url: &str| json!([{"type": "input_text", "text": "a"}, {"type": "input_image", "detail": "low", "image_url": url}]);
    let url = "data:image/png;base64,AA==";
    for dialect in ALL {
        let content = json!([
            {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        ]);
        assert_eq!(messages(dialect, parts(image(url))), json!([{"role": "user", "content": content}]));
    }
    let remote = call("m", parts(image("https://example.com/a.png")));
    let error = encode(&remote, target(Dialect::Ollama)).unwrap_err();
    assert_eq!(error.kind, UpstreamErrorKind::Request);
    assert!(error.error.message.contains("base64"));
    assert!(encode(&remote, target(Dialect::Generic)).is_ok());
}

#[test]
fn text_and_calls_are_one_message_and_outputs_follow_directly() {
    let context = vec![
        user("1"),
        thought("hm"),
        assistant("Let me see."),
        calls("a", "f", r#"{"x":1}"#),
        calls("b", "g", ""),
        user("wait"),
        answer("b", "B"),
        answer("a", "A"),
        assistant("Done."),
    ];
    let tool_call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let tool_calls = [tool_call("a", "f", r#"{"x":1}"#), tool_call("b", "g", "{}")];
    let expected = json!([
        message("user", "1"),
        {"role": "assistant", "content": "Let me see.", "tool_calls": tool_calls},
        {"role": "tool", "content": "A", "tool_call_id": "a"},
        {"role": "tool", "content": "B", "tool_call_id": "b"},
        message("user", "wait"),
        message("assistant", "Done."),
    ]);
    assert_eq!(messages(Dialect::Generic, context), expected);
}

#[test]
fn rounds_of_calls_stay_apart_also_where_ids_come_again() {
    let context = vec![
        user("1"),
        calls("0", "f", "{}"),
        answer("0", "A"),
        calls("0", "g", "{}"),
        answer("0", "B"),
        calls("0", "unanswered", "{}"),
        user("2"),
    ];
    let messages = messages(Dialect::Generic, context);
    let outputs: Vec<_> = messages.as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(outputs, [&json!("1"), &json!(null), &json!("A"), &json!(null), &json!("B"), &json!("2")]);
    assert_eq!(messages[3]["tool_calls"][0]["function"]["name"], "g");
}

#[test]
fn an_output_without_its_call_is_refused_in_openais_words() {
    let error = encode(&call("m", vec![user("1"), answer("a", "A")]), target(Dialect::Generic)).unwrap_err();
    assert_eq!(error.error.message, "No tool call found for function call output with call_id a.");
}

#[test]
fn outputs_are_text_whatever_they_were_and_their_images_are_shown_after() {
    let output = json!([
        {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:,x", "detail": "auto"},
        {"type": "input_text", "text": "b"},
    ]);
    let item = item(json!({"type": "function_call_output", "id": "x", "status": "completed", "call_id": "a",
        "output": output}));
    let messages = messages(Dialect::Generic, vec![user("1"), calls("a", "f", "{}"), item]);
    assert_eq!(messages[2], json!({"role": "tool", "content": "a\nb", "tool_call_id": "a"}));
    let image = json!({"type": "image_url", "image_url": {"url": "data:,x"}});
    assert_eq!(messages[3], json!({"role": "user", "content": [image]}));
}

#[test]
fn two_messages_of_a_person_are_merged_where_templates_insist_on_turns() {
    let context = || vec![user("1"), user("2"), assistant("a"), assistant("b"), user("3")];
    let merged = json!([message("user", "1\n\n2"), message("assistant", "a\nb"), message("user", "3")]);
    assert_eq!(messages(Dialect::Vllm, context()), merged);
    let apart = json!([message("user", "1"), message("user", "2"), message("assistant", "a\nb"), message("user", "3")]);
    assert_eq!(messages(Dialect::OpenAi, context()), apart);
}

#[test]
fn options_are_sent_under_the_names_that_a_server_knows() {
    let params = json!({
        "model": "m", "max_output_tokens": 7, "temperature": 1.5, "top_p": 0.5, "top_logprobs": 3,
        "parallel_tool_calls": false, "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "high", "format": {"type": "text"}}, "user": "u", "safety_identifier": "s",
        "service_tier": "flex", "prompt_cache_key": "k", "tools": [tool("f")], "tool_choice": "required",
        "metadata": {"not": "sent"}, "truncation": "auto", "max_tool_calls": 3,
    });
    let call = with_params(params, call("m", vec![user("Hi")]));
    let common = json!({
        "model": "m", "messages": [message("user", "Hi")], "stream": true, "temperature": 1.5, "top_p": 0.5,
        "parallel_tool_calls": false, "tools": [wire_tool("f")], "tool_choice": "required",
    });
    let with = |fields: Value| {
        let mut all = common.clone();
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        all
    };
    let usage = json!({"include_usage": true});
    let openai = with(json!({
        "stream_options": usage, "max_completion_tokens": 7, "logprobs": true, "top_logprobs": 3,
        "reasoning_effort": "low", "verbosity": "high", "user": "u", "safety_identifier": "s", "service_tier": "flex",
        "prompt_cache_key": "k",
    }));
    assert_eq!(request(Dialect::OpenAi, &call), openai);
    assert_eq!(request(Dialect::Mistral, &call), with(json!({"max_tokens": 7, "reasoning_effort": "low"})));
    let anthropic = request(Dialect::Anthropic, &call);
    assert_eq!((&anthropic["temperature"], &anthropic["max_tokens"]), (&json!(1.0), &json!(7)));
    for absent in ["logprobs", "top_logprobs", "reasoning_effort", "max_completion_tokens"] {
        assert!(anthropic.get(absent).is_none(), "{absent}");
    }
    let ollama = request(Dialect::Ollama, &call);
    assert!(ollama.get("tool_choice").is_none() && ollama.get("logprobs").is_none());
}

#[test]
fn token_probabilities_are_asked_for_in_either_way() {
    let params = json!({"model": "m", "include": ["message.output_text.logprobs"]});
    let body = request(Dialect::Generic, &with_params(params, call("m", vec![user("Hi")])));
    assert_eq!((&body["logprobs"], body.get("top_logprobs")), (&json!(true), None));
}

#[test]
fn the_choice_of_tools_is_sent_or_acted_out() {
    let body = |dialect, choice: Value| {
        let params = json!({"model": "m", "tools": [tool("f"), tool("g")], "tool_choice": choice});
        request(dialect, &with_params(params, call("m", vec![user("Hi")])))
    };
    let one = json!({"type": "function", "function": {"name": "g"}});
    for (choice, tools, wire) in [
        (json!("auto"), &["f", "g"][..], json!("auto")),
        (json!("none"), &["f", "g"], json!("none")),
        (json!({"function": "g"}), &["f", "g"], one),
        (json!({"allowed": {"required": true, "names": ["g"]}}), &["g"], json!("required")),
        (json!({"allowed": {"required": false, "names": ["f"]}}), &["f"], json!("auto")),
    ] {
        let body = body(Dialect::Generic, choice);
        assert_eq!(body["tool_choice"], wire);
        assert_eq!(body["tools"], tools.iter().map(|name| wire_tool(name)).collect::<Value>());
    }
    assert!(body(Dialect::Ollama, json!("none")).get("tools").is_none());
    assert_eq!(body(Dialect::Ollama, json!({"function": "g"}))["tools"], json!([wire_tool("g")]));
}

#[test]
fn a_choice_without_tools_is_not_sent_and_one_of_a_tool_that_is_not_there_is_refused() {
    let choice = |choice: Value| {
        with_params(
            json!({"model": "m", "tool_choice": choice, "parallel_tool_calls": true}),
            call("m", vec![user("")]),
        )
    };
    let body = request(Dialect::OpenAi, &choice(json!("auto")));
    assert!(body.get("tool_choice").is_none() && body.get("parallel_tool_calls").is_none());
    assert!(encode(&choice(json!({"function": "f"})), target(Dialect::OpenAi)).is_err());
}

#[test]
fn a_schema_is_sent_nested_or_put_in_words() {
    let schema = json!({"type": "object"});
    let format = json!({"type": "json_schema", "name": "n", "description": "d", "schema": schema, "strict": true});
    let call =
        |format: Value| with_params(json!({"model": "m", "text": {"format": format}}), call("m", vec![user("Hi")]));
    let nested = json!({
        "type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": schema, "strict": true},
    });
    assert_eq!(request(Dialect::Generic, &call(format.clone()))["response_format"], nested);
    let deepseek = request(Dialect::DeepSeek, &call(format.clone()));
    assert_eq!(deepseek["response_format"], json!({"type": "json_object"}));
    assert!(deepseek["messages"][0]["content"].as_str().unwrap().contains(r#"{"type":"object"}"#));
    let anthropic = request(Dialect::Anthropic, &call(format));
    assert!(anthropic.get("response_format").is_none() && anthropic["messages"][0]["role"] == "system");
    let object = json!({"type": "json_object"});
    assert_eq!(request(Dialect::Generic, &call(object.clone()))["response_format"], object);
    assert_eq!(request(Dialect::Generic, &call(object.clone()))["messages"], json!([message("user", "Hi")]));
    assert!(request(Dialect::DeepSeek, &call(object))["messages"][0]["content"].as_str().unwrap().contains("JSON"));
    assert!(request(Dialect::Generic, &call(json!({"type": "text"}))).get("response_format").is_none());
}

#[test]
fn what_a_server_wants_back_is_returned_to_it_and_to_no_stranger() {
    let details = json!([{"type": "reasoning.text", "text": "hm"}]);
    let signature = json!({"google": {"thought_signature": "s"}});
    let context = || {
        vec![
            user("1"),
            keeping(thought("hm"), json!({"reasoning_details": details})),
            keeping(calls("a", "f", "{}"), json!({"extra_content": signature})),
            answer("a", "A"),
        ]
    };
    let turn = |dialect| messages(dialect, context())[1].take();
    assert_eq!(turn(Dialect::OpenRouter)["reasoning_details"], details);
    assert_eq!(turn(Dialect::Gemini)["tool_calls"][0]["extra_content"], signature);
    assert_eq!(turn(Dialect::DeepSeek)["reasoning_content"], "hm");
    for dialect in [Dialect::OpenAi, Dialect::Mistral, Dialect::Anthropic] {
        let turn = turn(dialect);
        assert_eq!(turn.as_object().unwrap().keys().collect::<Vec<_>>(), ["role", "content", "tool_calls"]);
        assert!(turn["tool_calls"][0].get("extra_content").is_none());
    }
    let plain = messages(Dialect::DeepSeek, vec![user("1"), thought("hm"), assistant("Hi"), user("2")]);
    assert!(plain[1].get("reasoning_content").is_none(), "only with calls");
}

#[test]
fn mistral_gets_ids_of_nine_letters_on_both_ends() {
    let messages = messages(Dialect::Mistral, vec![user("1"), calls("call_1", "f", "{}"), answer("call_1", "A")]);
    let id = messages[1]["tool_calls"][0]["id"].as_str().unwrap();
    assert_eq!((id.len(), &messages[2]["tool_call_id"]), (9, &json!(id)));
}

#[test]
fn a_reply_is_continued_from_its_own_last_message() {
    let call = after("Once upon a ", call("m", vec![user("Tell")]));
    let with = |way| written(Target { way, ..target(Dialect::Generic) }, &call);
    let (plain, continuation) = with(Way::Plain);
    assert_eq!(continuation, Continuation::Prefill);
    assert_eq!(plain["messages"], json!([message("user", "Tell"), message("assistant", "Once upon a")]));
    assert!(plain.get("continue_final_message").is_none());
    let (flags, _) = with(Way::Flags);
    assert_eq!((&flags["continue_final_message"], &flags["add_generation_prompt"]), (&json!(true), &json!(false)));
    let (marked, _) = with(Way::Prefix);
    let last = json!({"role": "assistant", "content": "Once upon a", "prefix": true});
    assert_eq!(marked["messages"], json!([message("user", "Tell"), last]));
    let (instructed, continuation) = with(Way::Instruct);
    assert_eq!(continuation, Continuation::Instruct);
    assert!(
        instructed["messages"][0]["role"] == "system"
            && instructed["messages"][0]["content"].as_str().unwrap().contains("repeat")
    );
    assert_eq!(instructed["messages"][2], message("assistant", "Once upon a"));
    assert_eq!(instructed["messages"][3]["role"], "user");
}

#[test]
fn an_empty_prefix_is_not_continued() {
    let bare = call("m", vec![user("Hi")]);
    for way in [Way::Plain, Way::Prefix, Way::Flags, Way::Instruct] {
        let target = Target { way, ..target(Dialect::Generic) };
        let (body, continuation) = written(target, &after(" \n", bare.clone()));
        assert_eq!((body, continuation), (written(target, &bare).0, Continuation::Fresh));
    }
}

#[test]
fn an_open_call_is_made_again_by_force() {
    let params = json!({"model": "m", "tools": [tool("f"), tool("g")]});
    let bare = with_params(params, call("m", vec![user("Hi")]));
    let prefix = |text: &str| Some(Prefix { text: text.to_owned(), call: Some("g".to_owned()) });
    let (body, continuation) = written(target(Dialect::Generic), &Call { prefix: prefix(""), ..bare.clone() });
    assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": "g"}}));
    assert_eq!((&body["messages"], continuation), (&json!([message("user", "Hi")]), Continuation::Fresh));
    let (body, continuation) = written(target(Dialect::Vllm), &Call { prefix: prefix("Let me see."), ..bare });
    assert_eq!(continuation, Continuation::Instruct);
    assert!(body.get("continue_final_message").is_none());
    let last = [message("user", "Hi"), message("assistant", "Let me see."), message("user", "Go on.")];
    assert_eq!(body["messages"], json!(last));
}

proptest! {
    #[test]
    fn any_context_becomes_messages_that_servers_take(kinds in prop::collection::vec(0u8..8, 0..14)) {
        let context: Vec<_> = kinds.iter().map(|kind| match kind {
            0 => user("u"),
            1 => assistant("a"),
            2 => system("s"),
            3 => thought("t"),
            4 => calls("x", "f", "{}"),
            5 => calls("y", "f", "{}"),
            6 => answer("x", "X"),
            _ => answer("y", "Y"),
        }).collect();
        let outputs = kinds.iter().filter(|kind| **kind > 5).count();
        let Ok(encoded) = encode(&call("m", context), target(Dialect::Generic)) else { return Ok(()) };
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        let messages = body["messages"].as_array().unwrap();
        let mut owed: Vec<&Value> = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            match message["role"].as_str().unwrap() {
                "tool" => prop_assert_eq!(owed.remove(0), &message["tool_call_id"]),
                role => {
                    prop_assert!(owed.is_empty());
                    prop_assert!(role != "system" || index == 0);
                    prop_assert!(index == 0 || role == "assistant" || messages[index - 1]["role"] != role);
                    owed.extend(message["tool_calls"].as_array().into_iter().flatten().map(|call| &call["id"]));
                }
            }
        }
        prop_assert!(owed.is_empty());
        prop_assert_eq!(messages.iter().filter(|message| message["role"] == "tool").count(), outputs);
    }
}
