//! What this door cannot do is refused by its name.

use super::*;

#[tokio::test]
async fn what_it_cannot_do_is_refused_by_its_name() {
    let given = Given::new().await;
    let message = |message: Value| json!({"messages": [{"role": "user", "content": "hi"}, message]});
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let cases = [
        (json!({"n": 2}), "n"),
        (json!({"functions": []}), "functions"),
        (json!({"function_call": "auto"}), "function_call"),
        (json!({"prediction": {"type": "content", "content": "x"}}), "prediction"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"input": "hi"}), "input"),
        (json!({"instructions": "hi"}), "instructions"),
        (json!({"max_output_tokens": 5}), "max_output_tokens"),
        (json!({"max_tokens": 5, "max_completion_tokens": 5}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"stream": true, "stream_options": {"include_usage": "yes"}}), "stream_options.include_usage"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (message(json!({"role": "function", "name": "f", "content": "x"})), "messages[1].role"),
        (message(json!({"role": "system", "name": "s", "content": "x"})), "messages[1].name"),
        (message(json!({"role": "assistant"})), "messages[1].content"),
        (message(json!({"role": "assistant", "content": null, "audio": {"id": "audio_1"}})), "messages[1].audio"),
        (message(json!({"role": "assistant", "function_call": {"name": "f"}})), "messages[1].function_call"),
        (
            message(json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]})),
            "messages[1].tool_calls[0].type",
        ),
        (message(json!({"role": "tool", "content": "x"})), "messages[1].tool_call_id"),
        (message(json!({"role": "tool", "tool_call_id": "c", "content": "x"})), "messages"),
        (
            part(json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})),
            "messages[0].content[0].input_audio",
        ),
        (part(json!({"type": "file", "file": {"file_id": "f"}})), "messages[0].content[0].file.file_id"),
        (part(json!({"type": "image_url", "image_url": {"url": "ftp://x"}})), "messages[0].content[0].image_url.url"),
        (part(json!({"type": "video_url"})), "messages[0].content[0].type"),
        (json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}), "tools[0].function.name"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}), "tool_choice"),
        (json!({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}), "tool_choice.type"),
        (json!({"response_format": {"type": "grammar"}}), "response_format.type"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
            "response_format.json_schema.schema",
        ),
        (json!({"modalities": ["audio"]}), "modalities"),
        (json!({"audio": {"voice": "alloy"}}), "audio"),
        (json!({"audio": {"format": "wma"}, "modalities": ["text", "audio"]}), "audio.format"),
        (json!({"metadata": {"a": 1}}), "metadata.a"),
        (json!({"stop": 1}), "stop"),
        (json!({"model": "unknown"}), "model"),
        (json!({"model": null}), "model"),
        (json!({"reasoning": {"summary": "all"}}), "reasoning.summary"),
    ];
    for (change, param) in cases {
        let request = with(asked("hi"), change);
        let answer = given.api.post(PATH, request.clone()).await;
        assert_eq!(answer.status, 400, "{request}: {}", answer.text());
        answer.refused(400, Value::Null, param);
    }
    let kept = with(asked("hi"), json!({"store": false}));
    given.api.clone().header("idempotency-key", "k").post(PATH, kept).await.refused(400, Value::Null, "store");
    assert!(given.upstream.heard("hi").is_empty());
    for id in ["chatcmpl-1", "resp_1", "x"] {
        let path = format!("{PATH}/{id}");
        given.api.get(&path).await.refused(404, Value::Null, "completion_id");
        given.api.delete(&path).await.refused(404, Value::Null, "completion_id");
    }
    assert_eq!(given.api.get(PATH).await.status, 405);
}

#[tokio::test]
async fn an_image_that_is_none_is_told_by_the_place_of_its_message() {
    let given = Given::new().await;
    // One message that becomes two items stands before it.
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "well", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http:x"}}]},
    ]);
    let answer = given.api.post(PATH, json!({"model": "truth", "messages": messages})).await;
    let error = answer.refused(400, Value::Null, answer.json()["error"]["param"].clone());
    assert!(error["param"].as_str().is_some_and(|param| param.starts_with("messages[3].content[0]")), "{error}");
}
