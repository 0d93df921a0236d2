//! Chat Completions: what a request becomes, what its chunks add up to, and what is refused by its name.

use crate::support::{
    chat::{Chunk, add_up, asked, ended, open, read_words},
    sse::End,
    upstream::{Break, Fate, Manner, Step},
    *,
};

mod refused;
mod stored;
mod through_every_door;

const PATH: &str = "/v1/chat/completions";

fn streamed_chat(prompt: &str) -> Value {
    with(asked(prompt), json!({"stream": true}))
}

/// The chunks of a completion that goes well.
async fn chunks(given: &Given, body: Value) -> Vec<Chunk> {
    ended(open(&given.api, body).await.collect().await)
}

#[tokio::test]
async fn a_completion_is_what_the_upstream_says_in_one_piece_and_in_chunks() {
    let given = Given::new().await;
    let prompt = prompt(30, "completions");
    let answer = given.api.post(PATH, asked(&prompt)).await;
    let completion = answer.ok();
    assert_eq!(completion["object"], "chat.completion");
    let choice = &completion["choices"][0];
    assert_eq!(choice["message"]["content"], truth(&prompt));
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("stop")));
    assert_eq!(choice["message"]["refusal"], Value::Null);
    assert!(completion["usage"]["total_tokens"].as_u64().is_some_and(|total| total > 0), "{completion}");
    assert!(answer.header("x-response-id").is_some_and(|id| id.starts_with("resp_")));

    let chunks = chunks(&given, streamed_chat(&prompt)).await;
    assert_eq!(chunks[0].delta(), &json!({"role": "assistant", "content": ""}));
    let (message, reason) = add_up(&chunks);
    assert_eq!((&message["content"], reason), (&json!(truth(&prompt)), json!("stop")));
    assert!(chunks.len() > 20, "a chunk for each token");
    assert!(chunks.iter().all(|chunk| chunk.body.get("usage").is_none()), "usage was not asked for");
}

#[tokio::test]
async fn usage_comes_in_a_last_chunk_without_choices_where_it_is_asked_for() {
    let given = Given::new().await;
    let request = with(streamed_chat("usage"), json!({"stream_options": {"include_usage": true}}));
    let chunks = chunks(&given, request).await;
    let (last, before) = chunks.split_last().expect("chunks");
    assert_eq!(last.body["choices"], json!([]));
    let usage = &last.body["usage"];
    let tokens = |name: &str| usage[name].as_u64().unwrap_or_else(|| panic!("no {name} in {usage}"));
    assert_eq!(tokens("prompt_tokens") + tokens("completion_tokens"), tokens("total_tokens"));
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 0);
    assert!(before.iter().all(|chunk| chunk.body["usage"].is_null()));
    assert_eq!(before.last().expect("chunks").body["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn messages_and_parameters_arrive_at_the_upstream() {
    let given = Given::new().await;
    let image = "data:image/png;base64,iVBORw0KGgo=";
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let function = json!({"name": "look", "description": "Looks", "parameters": schema, "strict": true});
    let tools = json!([{"type": "function", "function": function}]);
    let request = json!({
        "model": "truth",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "anna", "content": [
                {"type": "text", "text": "see this"}, {"type": "image_url", "image_url": {"url": image, "detail": "low"}},
            ]},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":\"b\"}"}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
            {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
            {"role": "user", "content": [{"type": "text", "text": "Once more, arriving."}]},
        ],
        "tools": tools,
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": true}},
        "max_completion_tokens": 77, "temperature": 0.5, "top_p": 0.25, "presence_penalty": 1, "frequency_penalty": -1,
        "stop": ["END"], "seed": 7, "logit_bias": {"5": 1}, "logprobs": true, "top_logprobs": 2,
        "reasoning_effort": "low", "verbosity": "low", "user": "u", "n": 1,
    });
    given.upstream.on("arriving", Behaviour::script([Step::text("{\"a\":\"x\"}"), Step::Finish("stop"), Step::Done]));
    given.api.post(PATH, request.clone()).await.ok();
    let heard = given.upstream.heard_once("arriving").body;
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "anna", "content": [
            {"type": "text", "text": "see this"}, {"type": "image_url", "image_url": {"url": image, "detail": "low"}},
        ]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":\"b\"}"}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Once more, arriving."},
    ]);
    assert_eq!(heard["messages"], messages);
    for name in [
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "verbosity",
        "user",
    ] {
        assert_eq!(heard[name], request[name], "{name}");
    }
    let number = |name: &str| heard[name].as_f64();
    assert_eq!((number("presence_penalty"), number("frequency_penalty")), (Some(1.0), Some(-1.0)));
    assert_eq!(heard["max_tokens"], 77);
}

#[tokio::test]
async fn calls_come_with_their_names_and_then_their_arguments() {
    let given = Given::new().await;
    let steps = [
        Step::Delta(json!({"reasoning_content": "Let me look."})),
        Step::call(0, Some("call_a"), Some("weather"), Some("{\"city\"")),
        Step::call(0, None, None, Some(":\"Paris\"}")),
        Step::call(1, Some("call_b"), Some("time"), Some("{}")),
        Step::Finish("tool_calls"),
        Step::Done,
    ];
    given.upstream.on("calls", Behaviour::script(steps));
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let request = with(streamed_chat("calls"), json!({"tools": [tool("weather"), tool("time")]}));
    let (message, reason) = add_up(&chunks(&given, request.clone()).await);
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = json!([call("call_a", "weather", "{\"city\":\"Paris\"}"), call("call_b", "time", "{}")]);
    assert_eq!((&message["tool_calls"], reason), (&calls, json!("tool_calls")));
    assert_eq!(message["reasoning_content"], "Let me look.");
    let whole = given.api.post(PATH, with(request, json!({"stream": false}))).await.ok();
    let message = &whole["choices"][0]["message"];
    assert_eq!((&message["tool_calls"], &message["content"]), (&calls, &Value::Null));
    assert_eq!(message["reasoning_content"], "Let me look.");
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn probabilities_and_refusals_have_their_places() {
    let given = Given::new().await;
    let probable = json!({"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []});
    let choice =
        json!({"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [probable]}, "finish_reason": null});
    let steps = [
        Step::Chunk(json!({"choices": [choice]})),
        Step::Delta(json!({"refusal": "No."})),
        Step::Finish("stop"),
        Step::Done,
    ];
    given.upstream.on("probable", Behaviour::script(steps));
    let request = with(streamed_chat("probable"), json!({"logprobs": true}));
    let chunks = chunks(&given, request.clone()).await;
    let told: Vec<_> = chunks.iter().filter(|chunk| !chunk.body["choices"][0]["logprobs"].is_null()).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].body["choices"][0]["logprobs"]["content"], json!([probable]));
    assert_eq!(add_up(&chunks).0["refusal"], "No.");
    let whole = given.api.post(PATH, with(request, json!({"stream": false}))).await.ok();
    assert_eq!(whole["choices"][0]["logprobs"], json!({"content": [probable], "refusal": null}));
    assert_eq!(whole["choices"][0]["message"]["refusal"], "No.");
}

#[tokio::test]
async fn an_end_at_a_limit_is_a_length() {
    let given = Given::new().await;
    given.upstream.on("limits", Manner::polite().finishing(Some("length"), true));
    let whole = given.api.post(PATH, with(asked("limits"), json!({"max_tokens": 5}))).await.ok();
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(given.upstream.heard_once("limits").body["max_tokens"], 5);
    given.upstream.on("filters", Manner::polite().finishing(Some("content_filter"), true));
    assert_eq!(add_up(&chunks(&given, streamed_chat("filters")).await).1, "content_filter");
}

#[tokio::test]
async fn a_failure_before_the_stream_is_a_status_and_within_it_an_error_and_a_cut() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "off")).await;
    given.upstream.on("refusing", Behaviour::error(400, "context_length_exceeded", "Too long for this model."));
    let answer = given.api.post(PATH, asked("refusing")).await;
    answer.refused(400, "context_length_exceeded", "messages");

    given.upstream.on("breaking", Manner::polite().breaking(3, Break::Closed));
    let collected = open(&given.api, streamed_chat("breaking")).await.collect().await;
    assert!(matches!(collected.end, End::Cut(_)), "{collected:#?}");
    let last: Value =
        serde_json::from_str(&collected.frames.last().expect("frames").data).expect("JSON, and not [DONE]");
    assert_eq!((&last["error"]["type"], &last["error"]["code"]), (&json!("server_error"), &json!("server_error")));
    assert!(collected.frames.len() > 3, "with what was generated before it");
    given.api.post(PATH, asked("breaking")).await.refused(502, "server_error", Value::Null);
}

#[tokio::test]
async fn a_completion_that_is_not_stored_ends_with_its_client_and_is_nowhere() {
    let given = Given::new().await;
    given.upstream.on("leaving", Manner::paced(20));
    let mut stream = open(&given.api, streamed_chat(&prompt(200, "leaving"))).await;
    let first = read_words(&mut stream, 3).await.swap_remove(0);
    drop(stream);
    until("the upstream to be left", async || {
        (given.upstream.heard_once("leaving").fate == Fate::HungUp).then_some(())
    })
    .await;
    let id = first.body["id"].as_str().expect("an id");
    let path = format!("{PATH}/{id}");
    let error = given.api.get(&path).await.refused(404, Value::Null, "completion_id");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(id)), "{error}");
}

#[tokio::test]
async fn chunks_come_as_lines_and_the_text_bare_where_that_is_preferred() {
    let given = Given::new().await;
    let lines = given.api.clone().header("accept", "application/x-ndjson").post(PATH, streamed_chat("lines")).await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson; charset=utf-8"));
    let chunk = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let all: Vec<_> =
        lines.text().lines().map(chunk).map(|body| Chunk { number: body["sequence_number"].as_u64(), body }).collect();
    assert_eq!(add_up(&all).0["content"], truth("lines"));
    let text = given.api.clone().header("accept", "text/plain").post(PATH, asked("bare")).await;
    assert_eq!(text.text(), truth("bare"));
}
