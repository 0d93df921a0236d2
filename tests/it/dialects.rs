//! The output of a model server in its own dialect becomes the events of the Responses API, in order.

use crate::support::{
    upstream::{Break, Manner, Step, Wire},
    *,
};

/// A reply to a prompt that the upstream answers with exactly `steps`.
async fn reply_to(given: &Given, steps: impl Into<Vec<Step>>) -> Reply {
    given.upstream.on("dialect", Behaviour::script(steps));
    given.reply(streamed("a dialect")).await
}

fn kinds(reply: &Reply) -> Vec<&str> {
    reply.output.iter().map(|item| item["type"].as_str().expect("a type")).collect()
}

#[tokio::test]
async fn every_way_to_write_an_event_stream_is_read() {
    let given = Given::new().await;
    let polite = Wire::POLITE;
    let wires = [
        Wire { eol: "\r\n", ..polite },
        Wire { eol: "\r", ..polite },
        Wire { data: "data:", ..polite },
        Wire { comments: true, ..polite },
        Wire { blanks: true, ..polite },
        Wire { comments: true, blanks: true, eol: "\r\n", data: "data:", piece: Some(1), ..polite },
        Wire { usage_always: true, ..polite },
        Wire { opens_empty: true, ..polite },
        Wire { piece: Some(1), ..polite },
        Wire { piece: Some(2), ..polite },
        Wire { piece: Some(13), ..polite },
    ];
    for (number, wire) in wires.into_iter().enumerate() {
        let about = format!("wire-{number}");
        given.upstream.on(&about, Manner::polite().wire(wire));
        let prompt = prompt(12, &about);
        let reply = given.reply(streamed(&prompt)).await;
        assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"), "{wire:?}");
        assert_eq!(given.upstream.heard(&about).len(), 1, "{wire:?}");
    }
}

#[tokio::test]
async fn a_stream_without_a_reason_but_with_done_is_complete() {
    let given = Given::new().await;
    given.upstream.on("unreasoned", Manner::polite().finishing(None, true));
    let prompt = prompt(8, "unreasoned");
    assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt));
    assert_eq!(given.upstream.heard("unreasoned").len(), 1);
}

#[tokio::test]
async fn a_stream_with_a_reason_but_without_done_is_complete() {
    let given = Given::new().await;
    given.upstream.on("undone", Manner::polite().finishing(Some("stop"), false));
    let prompt = prompt(8, "undone");
    assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt));
    assert_eq!(given.upstream.heard("undone").len(), 1);
}

#[tokio::test]
async fn an_answer_in_one_json_body_is_read_as_one_chunk() {
    let given = Given::new().await;
    let message = json!({"role": "assistant", "content": "alder001 birch002"});
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "truth",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    });
    given.upstream.on("dialect", Behaviour::Status { status: 200, headers: vec![], body: body.to_string() });
    let reply = given.reply(streamed("a dialect")).await;
    assert_eq!(reply.text, "alder001 birch002");
    assert_eq!(reply.response["usage"]["total_tokens"], 5);
}

#[tokio::test]
async fn each_finish_reason_ends_the_reply_by_the_mapping() {
    let given = Given::new().await;
    let ends = [
        ("stop", "completed", Value::Null),
        ("tool_calls", "completed", Value::Null),
        ("function_call", "completed", Value::Null),
        ("length", "incomplete", "max_output_tokens".into()),
        ("max_tokens", "incomplete", "max_output_tokens".into()),
        ("model_length", "incomplete", "max_output_tokens".into()),
        ("content_filter", "incomplete", "content_filter".into()),
        ("safety", "incomplete", "content_filter".into()),
        ("sensitive", "incomplete", "content_filter".into()),
    ];
    for (finish, status, reason) in ends {
        let reply = reply_to(&given, [Step::text("alder001"), Step::Finish(finish), Step::Done]).await;
        assert_eq!(reply.status, status, "{finish}");
        assert_eq!(reply.response["incomplete_details"]["reason"], reason, "{finish}");
        assert_eq!((reply.text.as_str(), reply.output.len()), ("alder001", 1), "{finish}");
        assert_eq!(reply.output[0]["status"], status, "the item is as complete as the reply");
    }
}

#[tokio::test]
async fn reasoning_becomes_an_item_before_the_message() {
    let given = Given::new().await;
    for field in ["reasoning", "reasoning_content"] {
        let thought = |text: &str| Step::Delta(json!({field: text, "content": null}));
        let steps = [thought("elm"), thought(" and ash"), Step::text("alder001"), Step::Finish("stop"), Step::Done];
        let reply = reply_to(&given, steps).await;
        assert_eq!(kinds(&reply), ["reasoning", "message"], "{field}");
        assert_eq!(reply.output[0]["content"], json!([{"type": "reasoning_text", "text": "elm and ash"}]));
        assert_eq!(reply.text, "alder001");
    }
}

#[tokio::test]
async fn reasoning_is_a_summary_for_requests_that_ask_for_one() {
    let given = Given::new().await;
    let thought = Step::Delta(json!({"reasoning": "elm and ash"}));
    given
        .upstream
        .on("dialect", Behaviour::script([thought, Step::text("alder001"), Step::Finish("stop"), Step::Done]));
    let request = with(streamed("a dialect"), json!({"reasoning": {"summary": "auto"}}));
    let events = given.events(request).await;
    let reply = check_reply(&events);
    assert_eq!(reply.output[0]["summary"], json!([{"type": "summary_text", "text": "elm and ash"}]));
    assert!(events.iter().any(|event| event.kind == "response.reasoning_summary_text.delta"));
    assert!(!events.iter().any(|event| event.kind.starts_with("response.reasoning_text")));
}

#[tokio::test]
async fn think_tags_inside_the_content_become_reasoning_however_they_are_cut() {
    let given = Given::new().await;
    let output = "<think>elm and ash</think>\n\nalder001 birch002";
    for size in [1, 3, 7, output.len()] {
        let mut steps: Vec<_> =
            output.as_bytes().chunks(size).map(|piece| Step::text(str::from_utf8(piece).unwrap())).collect();
        steps.extend([Step::Finish("stop"), Step::Done]);
        let reply = reply_to(&given, steps).await;
        assert_eq!(kinds(&reply), ["reasoning", "message"], "in pieces of {size}");
        assert_eq!(reply.output[0]["content"][0]["text"].as_str().map(str::trim), Some("elm and ash"));
        assert_eq!(reply.text, "alder001 birch002", "in pieces of {size}");
    }
}

#[tokio::test]
async fn text_that_only_looks_like_a_think_tag_is_text() {
    let given = Given::new().await;
    for output in ["<thin", "<thinker> alder001", "<b>alder001</b>", "alder <think>birch</think>"] {
        let mut steps: Vec<_> = output.chars().map(|letter| Step::text(&letter.to_string())).collect();
        steps.extend([Step::Finish("stop"), Step::Done]);
        let reply = reply_to(&given, steps).await;
        assert_eq!((reply.text.as_str(), kinds(&reply)), (output, vec!["message"]));
    }
}

#[tokio::test]
async fn a_refusal_is_a_part_of_its_own() {
    let given = Given::new().await;
    let refuse = |text: &str| Step::Delta(json!({"refusal": text}));
    let ends = [Step::Finish("stop"), Step::Done];
    let steps = [vec![Step::text("alder001"), refuse("I will"), refuse(" not.")], ends.to_vec()].concat();
    let reply = reply_to(&given, steps).await;
    let content = reply.output[0]["content"].as_array().expect("parts");
    assert_eq!(content.len(), 2, "{content:?}");
    assert_eq!((&content[0]["type"], &content[0]["text"]), (&json!("output_text"), &json!("alder001")));
    assert_eq!((&content[1]["type"], &content[1]["refusal"]), (&json!("refusal"), &json!("I will not.")));

    let reply = reply_to(&given, [vec![refuse("No.")], ends.to_vec()].concat()).await;
    assert_eq!(reply.output[0]["content"], json!([{"type": "refusal", "refusal": "No."}]));
}

#[tokio::test]
async fn reasoning_after_content_is_a_new_item() {
    let given = Given::new().await;
    let thought = |text: &str| Step::Delta(json!({"reasoning": text}));
    let steps = [
        thought("elm"),
        Step::text("alder001"),
        thought("ash"),
        Step::text("birch002"),
        Step::Finish("stop"),
        Step::Done,
    ];
    let reply = reply_to(&given, steps).await;
    assert_eq!(kinds(&reply), ["reasoning", "message", "reasoning", "message"]);
    assert_eq!(reply.text, "alder001birch002");
}

#[tokio::test]
async fn content_may_be_a_list_of_parts() {
    let given = Given::new().await;
    let list = |text: &str| Step::Delta(json!({"content": [{"type": "text", "text": text}]}));
    let reply = reply_to(&given, [list("alder001"), list(" birch002"), Step::Finish("stop"), Step::Done]).await;
    assert_eq!(reply.text, "alder001 birch002");
}

#[tokio::test]
async fn nulls_and_unknown_fields_are_passed_over() {
    let given = Given::new().await;
    let nulls = json!({"role": null, "content": null, "refusal": null, "tool_calls": null, "function_call": null,
        "reasoning": null, "reasoning_content": null, "audio": null, "something_new": {"a": [1]}});
    let steps =
        [Step::Delta(nulls.clone()), Step::text("alder001"), Step::Delta(nulls), Step::Finish("stop"), Step::Done];
    let reply = reply_to(&given, steps).await;
    assert_eq!((reply.text.as_str(), reply.output.len()), ("alder001", 1));
}

#[tokio::test]
async fn an_empty_answer_is_an_empty_message_if_the_model_sent_a_delta_and_else_a_failure() {
    let given = Given::new().await;
    let reply = reply_to(&given, [Step::text(""), Step::Finish("stop"), Step::usage(5, 3), Step::Done]).await;
    assert_eq!((reply.status.as_str(), kinds(&reply), reply.text.as_str()), ("completed", vec!["message"], ""));
    let nothing = reply_to(&given, [Step::text(""), Step::Finish("stop"), Step::usage(5, 0), Step::Done]).await;
    assert_eq!((nothing.status.as_str(), nothing.output.len()), ("failed", 0));
}

#[tokio::test]
async fn usage_has_the_fields_of_the_responses_api() {
    let given = Given::new().await;
    let usage = json!({
        "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2},
    });
    let chunk = Step::Chunk(json!({"choices": [], "usage": usage}));
    let reply = reply_to(&given, [Step::text("alder001"), Step::Finish("stop"), chunk, Step::Done]).await;
    let usage = &reply.response["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(11), &json!(7)));
    assert_eq!(usage["total_tokens"], 18);
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 4);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 2);
    let heard = given.upstream.heard_once("dialect");
    assert_eq!(heard.body["stream_options"], json!({"include_usage": true}));

    let deepseek =
        json!({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_cache_hit_tokens": 6});
    let chunk = Step::Chunk(json!({"choices": [], "usage": deepseek}));
    let reply = reply_to(&given, [Step::text("alder001"), Step::Finish("stop"), chunk, Step::Done]).await;
    assert_eq!(reply.response["usage"]["input_tokens_details"]["cached_tokens"], 6);

    let without_usage = reply_to(&given, [Step::text("alder001"), Step::Finish("stop"), Step::Done]).await;
    assert_eq!(without_usage.response["usage"], Value::Null, "null when none came");
}

#[tokio::test]
async fn the_last_usage_of_one_attempt_counts_and_their_output_is_summed() {
    let given = Given::new().await;
    let usage = |output: u64| {
        Step::Chunk(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": null}],
        "usage": {"prompt_tokens": 5, "completion_tokens": output, "total_tokens": 5 + output}}))
    };
    let first = [Step::text("alder001"), usage(1), Step::text(" birch002"), usage(2), Step::Break(Break::Closed)];
    let second = [Step::text(" cedar003"), usage(1), Step::Finish("stop"), Step::Done];
    given.upstream.on_each("summed", [Behaviour::script(first), Behaviour::script(second)]);
    let reply = given.reply(streamed("summed")).await;
    assert_eq!(reply.text, "alder001 birch002 cedar003");
    let usage = &reply.response["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(5), &json!(3)));
}

#[tokio::test]
async fn logprobs_reach_requests_that_ask_for_them() {
    let given = Given::new().await;
    let logprob = json!({"token": "alder001", "logprob": -0.5, "bytes": [97], "top_logprobs": []});
    let chunk = Step::Chunk(json!({"choices": [{"index": 0, "delta": {"content": "alder001"}, "finish_reason": null,
        "logprobs": {"content": [logprob], "refusal": null}}]}));
    given.upstream.on("dialect", Behaviour::script([chunk, Step::Finish("stop"), Step::Done]));
    let request = with(streamed("a dialect"), json!({"top_logprobs": 2, "include": ["message.output_text.logprobs"]}));
    let events = given.events(request).await;
    let delta = events.iter().find(|event| event.delta().is_some()).expect("a delta");
    assert_eq!(delta.body["logprobs"][0]["token"], "alder001");
    let logprob = &check_reply(&events).output[0]["content"][0]["logprobs"][0];
    assert_eq!((&logprob["token"], &logprob["logprob"]), (&json!("alder001"), &json!(-0.5)));
    let heard = given.upstream.heard_once("dialect").body;
    assert_eq!((&heard["logprobs"], &heard["top_logprobs"]), (&json!(true), &json!(2)));
}
