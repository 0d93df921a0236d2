//! What a request in the words of the Responses API asks the upstream in the words of Chat Completions.

use crate::support::*;

/// The body of the one request that `request` makes the server send.
async fn asked(request: Value) -> Value {
    let given = Given::new().await;
    assert_eq!(given.reply(with(streamed("hello"), request)).await.status, "completed");
    given.upstream.heard_once("hello").body
}

#[tokio::test]
async fn a_plain_request_sends_nothing_that_the_client_did_not_ask_for() {
    let body = asked(json!({})).await;
    let mut keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["messages", "model", "stream", "stream_options"]);
    assert_eq!(body["messages"], json!([{"role": "user", "content": "hello"}]));
    assert_eq!((&body["model"], &body["stream"]), (&json!("truth"), &json!(true)));
}

#[tokio::test]
async fn the_key_of_the_upstream_is_sent_and_that_of_the_client_is_not() {
    let given = Given::with(|config| config.env("LLM_API_KEY", "sk-upstream")).await;
    let api = given.api.clone().header("authorization", "Bearer sk-client");
    api.post("/v1/responses", whole("hello")).await.ok();
    assert_eq!(given.upstream.heard_once("hello").headers["authorization"], "Bearer sk-upstream");
}

#[tokio::test]
async fn sampling_options_are_passed_on_under_their_names() {
    let tool = json!({"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}});
    let body = asked(json!({
        "tools": [tool], "temperature": 0.5, "top_p": 0.25, "max_output_tokens": 77, "parallel_tool_calls": false, "user": "u-1",
        "safety_identifier": "s-1", "prompt_cache_key": "k-1", "service_tier": "flex",
        "reasoning": {"effort": "low"}, "text": {"verbosity": "high"},
    }))
    .await;
    let expected = json!({
        "temperature": 0.5, "top_p": 0.25, "max_tokens": 77, "parallel_tool_calls": false, "user": "u-1",
        "safety_identifier": "s-1", "prompt_cache_key": "k-1", "service_tier": "flex",
        "reasoning_effort": "low", "verbosity": "high",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&body[key], value, "{key}");
    }
}

#[tokio::test]
async fn instructions_and_leading_system_items_are_one_system_message() {
    let input = json!([
        {"role": "developer", "content": "Speak of trees."},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "hel"}, {"type": "input_text", "text": "lo"}]},
    ]);
    let given = Given::new().await;
    given.reply(with(streamed(""), json!({"input": input, "instructions": "Be brief."}))).await;
    let heard = given.upstream.heard_once("Be brief.");
    assert_eq!(heard.roles(), ["system", "user"]);
    let system = heard.messages()[0]["content"].as_str().expect("one text");
    let places: Vec<_> = ["Be brief.", "Speak of trees.", "Be kind."].map(|part| system.find(part)).to_vec();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{system}");
    assert!(heard.messages()[1]["content"].is_string(), "parts that are only text are one text");
}

#[tokio::test]
async fn instructions_are_not_inherited_by_the_next_reply() {
    let given = Given::new().await;
    let first = given.reply(with(streamed("first turn"), json!({"instructions": "Be brief."}))).await;
    given.reply(with(streamed("second turn"), json!({"previous_response_id": first.id}))).await;
    let heard = given.upstream.heard_once("second turn");
    assert_eq!(heard.roles(), ["user", "assistant", "user"]);
    assert_eq!(heard.messages()[1]["content"], first.text);
}

#[tokio::test]
async fn an_image_is_passed_on_with_its_detail() {
    let url = "data:image/png;base64,iVBORw0KGgo=";
    let content = json!([{"type": "input_text", "text": "hello"},
        {"type": "input_image", "image_url": url, "detail": "low"}]);
    let body = asked(json!({"input": [{"role": "user", "content": content}]})).await;
    let expected = json!([{"type": "text", "text": "hello"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]);
    assert_eq!(body["messages"][0]["content"], expected);
}

#[tokio::test]
async fn an_image_larger_than_a_record_is_passed_on_whole_also_in_the_next_turn() {
    let given = Given::new().await;
    let url = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(120_000));
    let image = json!({"type": "input_image", "image_url": url});
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "look"}, image]}]);
    let first = given.reply(with(streamed(""), json!({"input": input}))).await;
    given.reply(with(streamed("and again"), json!({"previous_response_id": first.id}))).await;
    for heard in given.upstream.heard("look") {
        assert_eq!(heard.messages()[0]["content"][1]["image_url"]["url"], url.as_str());
    }
    assert_eq!(given.upstream.heard("look").len(), 2);
}

#[tokio::test]
async fn tools_are_nested_under_function() {
    let parameters = json!({"type": "object", "properties": {}});
    let tool = json!({"type": "function", "name": "f", "description": "d", "parameters": parameters, "strict": true});
    let other = json!({"type": "function", "name": "g", "parameters": parameters});
    let request = |choice: Value| json!({"tools": [tool, other], "tool_choice": choice});
    let body = asked(request("required".into())).await;
    let function = json!({"name": "f", "description": "d", "parameters": parameters, "strict": true});
    assert_eq!(body["tools"][0], json!({"type": "function", "function": function}));
    assert_eq!(body["tool_choice"], "required");
    let body = asked(request(json!({"type": "function", "name": "g"}))).await;
    assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": "g"}}));
    let only = json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]});
    let body = asked(request(only)).await;
    assert_eq!((body["tools"].as_array().map(Vec::len), &body["tool_choice"]), (Some(1), &json!("required")));
    assert_eq!(body["tools"][0]["function"]["name"], "g");
}

#[tokio::test]
async fn a_text_format_becomes_a_response_format() {
    let given = Given::new().await;
    let script = Behaviour::script([upstream::Step::text("{}"), upstream::Step::Finish("stop"), upstream::Step::Done]);
    given.upstream.on("hello", script);
    let schema = json!({"type": "object", "properties": {}});
    let format = json!({"type": "json_schema", "name": "n", "description": "d", "schema": schema, "strict": false});
    given.reply(with(streamed("hello schema"), json!({"text": {"format": format}}))).await;
    let inner = json!({"name": "n", "description": "d", "schema": schema, "strict": false});
    let expected = json!({"type": "json_schema", "json_schema": inner});
    assert_eq!(given.upstream.heard_once("hello schema").body["response_format"], expected);

    given.reply(with(streamed("hello object"), json!({"text": {"format": {"type": "json_object"}}}))).await;
    let heard = given.upstream.heard_once("hello object");
    assert_eq!(heard.body["response_format"], json!({"type": "json_object"}));
    given.reply(with(streamed("hello text"), json!({"text": {"format": {"type": "text"}}}))).await;
    assert_eq!(given.upstream.heard_once("hello text").body.get("response_format"), None);
}

#[tokio::test]
async fn a_reference_to_an_item_stands_for_the_item() {
    let given = Given::new().await;
    let first = given.reply(streamed("first turn")).await;
    let item = first.output[0]["id"].as_str().expect("an id");
    let input = json!([
        {"role": "user", "content": "first turn"},
        {"type": "item_reference", "id": item},
        {"role": "user", "content": "referring turn"},
    ]);
    given.reply(with(streamed(""), json!({"input": input}))).await;
    let heard = given.upstream.heard_once("referring turn");
    assert_eq!(heard.roles(), ["user", "assistant", "user"]);
    assert_eq!(heard.messages()[1]["content"], first.text);
}

#[tokio::test]
async fn whole_items_with_unknown_ids_and_fields_are_taken() {
    let given = Given::new().await;
    let content = json!([{"type": "output_text", "text": "alder001", "annotations": [], "logprobs": []}]);
    let input = json!([
        {"role": "user", "content": "before"},
        {"type": "message", "id": "msg_from_elsewhere", "role": "assistant", "status": "completed",
            "phase": "final_answer", "content": content},
        {"type": "reasoning", "id": "rs_from_elsewhere", "summary": []},
        {"role": "user", "content": "foreign items"},
    ]);
    given.reply(with(streamed(""), json!({"input": input}))).await;
    let heard = given.upstream.heard_once("foreign items");
    assert_eq!(heard.roles(), ["user", "assistant", "user"]);
    assert_eq!(heard.messages()[1], json!({"role": "assistant", "content": "alder001"}));
}

#[tokio::test]
async fn a_continuation_sends_the_text_so_far_as_the_last_message_without_its_trailing_space() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "prefill")).await;
    let breaking = upstream::Manner::polite().tokens(upstream::Tokens::SpaceLast).breaking(3, upstream::Break::Closed);
    given.upstream.on_each("go on", [breaking.into(), upstream::Manner::polite().into()]);
    let prompt = prompt(8, "how to go on");
    assert_eq!(given.reply(with(streamed(&prompt), json!({"temperature": 0.5}))).await.text, truth(&prompt));
    let [first, second] = &given.upstream.heard("go on")[..] else { panic!("asked twice") };
    let said: Vec<_> = truth(&prompt).split_inclusive(' ').take(3).map(str::to_owned).collect();
    assert_eq!(second.messages()[..1], first.messages()[..]);
    assert_eq!(second.messages()[1], json!({"role": "assistant", "content": said.concat().trim_end()}));
    assert_eq!(second.body["continue_final_message"], true);
    assert_eq!(second.body["add_generation_prompt"], false);
    assert_eq!(second.body["temperature"], 0.5);
}

#[tokio::test]
async fn a_continuation_by_instruction_tells_the_model_what_to_do() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "instruct")).await;
    let breaking = upstream::Manner::polite().breaking(3, upstream::Break::Closed);
    let chatty = upstream::Manner::polite().chatty("Sure, continuing:").repeating(1);
    given.upstream.on_each("go on", [breaking.into(), chatty.into()]);
    let prompt = prompt(8, "how to go on");
    let reply = given.reply(with(streamed(&prompt), json!({"instructions": "Be brief."}))).await;
    assert_eq!(reply.text, truth(&prompt));
    let second = &given.upstream.heard("go on")[1];
    let system = second.messages()[0]["content"].as_str().expect("a system message").to_lowercase();
    assert!(system.contains("be brief.") && system.contains("continu"), "{system}");
    assert_eq!(second.body.get("continue_final_message"), None);
}

#[tokio::test]
async fn after_one_refusal_of_a_final_assistant_message_the_instruction_is_used() {
    let given = Given::new().await;
    let manner = upstream::Manner::polite().prefill(upstream::Prefill::RefusedUnlessTold);
    let breaking = manner.clone().breaking(3, upstream::Break::Closed);
    given.upstream.on_each("go on", [breaking.into(), manner.into()]);
    let prompt = prompt(8, "how to go on");
    assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt));
    assert_eq!(given.upstream.heard("go on").len(), 3, "asked, refused, told");
}

#[tokio::test]
async fn a_request_without_a_model_is_asked_of_the_configured_one() {
    let given = Given::new().await;
    let answer = given.api.post("/v1/responses", json!({"input": "hello"})).await.ok();
    assert_eq!(answer["model"], "truth");
    assert_eq!(given.upstream.heard_once("hello").body["model"], "truth");
}

#[tokio::test]
async fn a_request_for_another_model_of_the_upstream_is_asked_of_that() {
    let given = Given::new().await;
    let answer = given.api.post("/v1/responses", json!({"model": "other", "input": "hello"})).await.ok();
    assert_eq!(answer["model"], "other");
    assert_eq!(given.upstream.heard_once("hello").body["model"], "other");
}
