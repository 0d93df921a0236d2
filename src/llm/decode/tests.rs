//! What servers in the wild send, and what is made of it. The numbers are those of the list of quirks.

use serde_json::json;

use super::*;
use crate::domain::event::ErrorCode;
use crate::llm::delta::{ToolCallDelta, UpstreamErrorKind as Kind};

/// Reads events, each a line of data, to the end of the stream.
fn read(events: &[&str]) -> (Vec<Delta>, Result<(), UpstreamError>) {
    let (mut decoder, mut deltas) = (Decoder::default(), Deltas::new());
    let mut result = events.iter().try_for_each(|data| decoder.event("", data, &mut deltas));
    if result.is_ok() {
        result = decoder.end(&mut deltas);
    }
    (deltas.into(), result)
}

/// The same, where it has to end well.
fn decoded(events: &[&str]) -> Vec<Delta> {
    let (deltas, result) = read(events);
    result.expect("a proper end");
    folded(deltas)
}

/// With all of a call in the delta that opened it.
fn folded(deltas: Vec<Delta>) -> Vec<Delta> {
    let mut folded: Vec<Delta> = Vec::new();
    for delta in deltas {
        let Delta::ToolCall(ToolCallDelta { call, name: None, arguments, provider_state, .. }) = delta else {
            folded.push(delta);
            continue;
        };
        let opened = folded.iter_mut().find_map(|delta| match delta {
            Delta::ToolCall(opened) if opened.call == call => Some(opened),
            _ => None,
        });
        let opened = opened.expect("a call is opened first");
        opened.arguments += &arguments;
        opened.provider_state = opened.provider_state.take().or(provider_state);
    }
    folded
}

fn failed(events: &[&str]) -> UpstreamError {
    read(events).1.expect_err("a failure")
}

fn text(text: &str) -> Delta {
    Delta::Content { text: text.to_owned(), logprobs: Vec::new() }
}

fn thought(text: &str) -> Delta {
    Delta::Reasoning(text.to_owned())
}

fn opens(call: usize, id: &str, name: &str, arguments: &str) -> Delta {
    Delta::ToolCall(ToolCallDelta {
        call,
        id: (!id.is_empty()).then(|| id.to_owned()),
        name: Some(name.to_owned()),
        arguments: arguments.to_owned(),
        provider_state: None,
    })
}

fn usage(input: u64, cached: u64, output: u64, reasoning: u64) -> Delta {
    Delta::Usage(Usage { input, cached, output, reasoning, total: input + output })
}

const STOP: Delta = Delta::Finish(FinishReason::Stop);

#[test]
fn quirk_1_ollama_thinks_and_calls_in_one_piece() {
    let deltas = decoded(&[
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"Hm"},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","tool_calls":[{"id":"call_a","index":0,"type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","tool_calls":[{"id":"call_b","index":0,"type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"tool_calls"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        "[DONE]",
    ]);
    let calls = [opens(0, "call_a", "f", r#"{"a":1}"#), opens(1, "call_b", "f", "{}")];
    assert_eq!(deltas, [&[thought("Hm")], &calls[..], &[usage(9, 0, 2, 0), STOP]].concat());
}

#[test]
fn quirk_2_vllm_repeats_ids_and_writes_nulls() {
    let deltas = decoded(&[
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"a"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning":"b","reasoning_content":"b"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":null,"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":null,"arguments":"{\"a\""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":null,"function":{"name":"","arguments":":1}"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":null}}]}}]}"#,
        "[DONE]",
    ]);
    let call = opens(0, "c1", "f", "{\"a\":1}");
    assert_eq!(deltas, [thought("a"), thought("b"), call, STOP]);
}

#[test]
fn quirk_2_done_with_text_but_no_reason_is_an_end() {
    assert_eq!(decoded(&[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#, "[DONE]"]), [text("Hi"), STOP]);
}

#[test]
fn quirk_2_an_older_error_is_the_chunk_itself() {
    let error =
        failed(&[r#"{"object":"error","message":"boom","type":"InternalServerError","param":null,"code":500}"#]);
    assert_eq!(error.kind, Kind::Retry { after: None });
}

#[test]
fn quirk_3_llama_cpp_fails_under_200_and_sends_done() {
    let (mut decoder, mut deltas) = (Decoder::default(), Deltas::new());
    let failure = r#"{"code":500,"message":"context shift failed","type":"server_error"}"#;
    let error = decoder.event("error", failure, &mut deltas).unwrap_err();
    assert_eq!((error.kind, error.error.code), (Kind::Retry { after: None }, ErrorCode::ServerError));
    let overflow = r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":4}}"#;
    assert_eq!(failed(&[overflow]).kind, Kind::ContextLength);
}

#[test]
fn quirk_3_timings_are_passed_over() {
    let last = r#"{"choices":[{"finish_reason":"length","index":0,"delta":{}}],"timings":{"prompt_n":1,"predicted_ms":2.5},"usage":{"completion_tokens":3,"prompt_tokens":4,"total_tokens":7}}"#;
    assert_eq!(decoded(&[last, "[DONE]"]), [usage(4, 0, 3, 0), Delta::Finish(FinishReason::Length)]);
}

#[test]
fn quirk_4_a_stream_without_a_word_is_a_failure() {
    for events in [&[][..], &["[DONE]"], &[r#"{"choices":[]}"#], &[r#"{"choices":[{"delta":{"content":""}}]}"#]] {
        let error = failed(events);
        assert_eq!(error.kind, Kind::Retry { after: None }, "{events:?}");
        assert!(error.error.message.contains("nothing"), "{error:?}");
    }
}

#[test]
fn quirk_4_an_error_event_is_a_failure_in_any_form() {
    for data in [r#"{"error":{"message":"boom"}}"#, r#"{"message":"boom"}"#, r#""boom""#, "boom"] {
        let error = Decoder::default().event("error", data, &mut Deltas::new()).unwrap_err();
        assert_eq!(error.kind, Kind::Retry { after: None });
        assert!(error.cause.contains("boom"), "{data}: {error:?}");
    }
}

#[test]
fn quirk_5_azure_opens_with_filter_results_and_openai_closes_with_usage() {
    let deltas = decoded(&[
        r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}}"#,
        "[DONE]",
    ]);
    assert_eq!(deltas, [text("Hi"), usage(10, 4, 5, 3), STOP]);
}

#[test]
fn quirk_5_an_error_in_the_middle_keeps_the_output_so_far() {
    let events = [
        r#"{"choices":[{"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#,
    ];
    let (deltas, result) = read(&events);
    assert_eq!(deltas, [text("Hi"), usage(1, 0, 1, 0)]);
    assert_eq!(result.unwrap_err().kind, Kind::Retry { after: None });
}

#[test]
fn a_refusal_and_token_probabilities_are_read() {
    let deltas = decoded(&[
        r#"{"choices":[{"delta":{"content":""},"logprobs":{"content":[{"token":"a","logprob":-1,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-2,"bytes":null}]}],"refusal":null}}]}"#,
        r#"{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"c","logprob":-0.5}]}}]}"#,
        r#"{"choices":[{"delta":{"refusal":"No."},"finish_reason":"stop"}]}"#,
    ]);
    let logprobs = vec![
        json!({"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2.0, "bytes": []}]}),
        json!({"token": "c", "logprob": -0.5, "bytes": [], "top_logprobs": []}),
    ];
    let content = Delta::Content { text: "a".to_owned(), logprobs };
    assert_eq!(deltas, [content, Delta::Refusal("No.".to_owned()), STOP]);
}

#[test]
fn quirk_7_openrouter_keeps_details_and_counts_its_errors() {
    let deltas = decoded(&[
        r#"{"choices":[{"delta":{"content":"","reasoning":"Le","reasoning_details":[{"type":"reasoning.text","text":"Le","index":0}]}}]}"#,
        r#"{"choices":[{"delta":{"content":"","reasoning":"t","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s","index":0}]}}]}"#,
        r#"{"choices":[{"delta":{"content":"Hi","reasoning_details":[]},"finish_reason":"stop"}]}"#,
        "[DONE]",
    ]);
    let provider_state =
        json!({"reasoning_details": [{"type": "reasoning.text", "text": "Let", "signature": "s", "index": 0}]});
    assert_eq!(deltas, [thought("Le"), thought("t"), Delta::ProviderState(provider_state), text("Hi"), STOP]);

    let error = failed(&[
        r#"{"choices":[{"delta":{"content":"Hi"}}]}"#,
        r#"{"id":"x","error":{"code":502,"message":"Provider disconnected"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
    ]);
    assert_eq!(error.kind, Kind::Retry { after: None });
    let limited = failed(&[r#"{"error":{"code":429,"message":"Rate limited","metadata":{"raw":"slow down"}}}"#]);
    assert_eq!(limited.error.code, ErrorCode::RateLimitExceeded);
}

#[test]
fn quirk_8_deepseek_counts_its_cache_in_its_own_word() {
    let deltas = decoded(&[
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":"Hm"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Hi","reasoning_content":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10,"prompt_cache_hit_tokens":6,"prompt_cache_miss_tokens":2}}"#,
        "[DONE]",
    ]);
    assert_eq!(deltas, [thought("Hm"), text("Hi"), usage(8, 6, 2, 0), STOP]);
}

#[test]
fn quirk_9_gemini_gives_no_index_and_a_reason_with_every_chunk() {
    let deltas = decoded(&[
        r#"{"choices":[{"delta":{"role":"assistant","tool_calls":[{"extra_content":{"google":{"thought_signature":"s"}},"function":{"arguments":"{}","name":"f"},"id":"a","type":"function"},{"function":{"arguments":"{}","name":"g"},"id":"b","type":"function"}]},"finish_reason":"stop","index":0}]}"#,
        r#"{"choices":[{"delta":{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"f"},"id":"c","type":"function"}]},"finish_reason":"stop","index":0}]}"#,
        r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop","index":0}]}"#,
    ]);
    let provider_state = Some(json!({"extra_content": {"google": {"thought_signature": "s"}}}));
    let Delta::ToolCall(first) = opens(0, "a", "f", "{}") else { unreachable!() };
    let first = Delta::ToolCall(ToolCallDelta { provider_state, ..first });
    assert_eq!(deltas, [first, opens(1, "b", "g", "{}"), opens(2, "c", "f", "{}"), text("Hi"), STOP]);
}

#[test]
fn quirk_9_calls_without_index_and_id_are_separated_by_their_content() {
    let piece = |call: &str| format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}"#);
    let deltas = decoded(&[
        &piece(r#"{"id":"","function":{"name":"f","arguments":{"a":1}}}"#),
        &piece(r#"{"id":"","function":{"name":"f","arguments":"{\"b\""}}"#),
        &piece(r#"{"function":{"arguments":":2}"}}"#),
        &piece(r#"{"function":{"name":"g"}}"#),
        "[DONE]",
    ]);
    let calls = [opens(0, "", "f", r#"{"a":1}"#), opens(1, "", "f", "{\"b\":2}"), opens(2, "", "g", "{}")];
    assert_eq!(deltas, [&calls[..], &[STOP]].concat());
}

#[test]
fn quirk_9_a_reason_with_every_chunk_is_no_end_when_the_connection_breaks() {
    let chunk = r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    let cut = |mut decoder: Decoder, chunks: usize| {
        let mut deltas = Deltas::new();
        for _ in 0..chunks {
            decoder.event("", chunk, &mut deltas).unwrap();
        }
        decoder.cut(failure::unreachable("gone", "gone"), &mut deltas)
    };
    assert!(cut(Decoder::default(), 1).is_ok(), "elsewhere a reason is one");
    assert!(cut(Decoder::default(), 2).is_err(), "once it was followed by more, it is none");
    assert!(cut(Decoder::new(&Asked { repeats_reasons: true, ..Asked::default() }), 1).is_err());
    assert!(cut(Decoder::default(), 0).is_err());
}

#[test]
fn quirk_9_errors_come_as_a_list() {
    let list = r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]"#;
    assert_eq!(failed(&[list]).kind, Kind::Request);
    let error = Decoder::default().body(list, &mut Deltas::new()).unwrap_err();
    assert_eq!(error.kind, Kind::Request);
}

#[test]
fn quirk_10_mistral_sends_lists_of_parts_and_thinks_in_them() {
    let deltas = decoded(&[
        r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"H"},{"type":"text","text":"i"}]},"finish_reason":"model_length"}]}"#,
    ]);
    assert_eq!(deltas, [thought("Hm"), text("Hi"), Delta::Finish(FinishReason::Length)]);
}

#[test]
fn quirk_11_thoughts_between_tags_are_thoughts() {
    let deltas = decoded(&[
        r#"{"choices":[{"delta":{"content":"<th"}}]}"#,
        r#"{"choices":[{"delta":{"content":"ink>\nHm"}}]}"#,
        r#"{"choices":[{"delta":{"content":"m</think>\n\nHi"},"finish_reason":"stop"}]}"#,
    ]);
    assert_eq!(deltas, [thought("Hm"), thought("m"), text("Hi"), STOP]);
}

#[test]
fn quirk_11_what_was_held_comes_before_whatever_follows() {
    let deltas = decoded(&[
        r#"{"choices":[{"delta":{"content":"<thi"}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}"#,
        "[DONE]",
    ]);
    assert_eq!(deltas, [text("<thi"), opens(0, "a", "f", "{}"), STOP]);
}

#[test]
fn quirk_12_blank_data_usage_with_every_chunk_and_numbers_as_they_come() {
    let deltas = decoded(&[
        "",
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
        "  ",
        r#"{"choices":[{"delta":{"content":"b"}}],"usage":{"prompt_tokens":1.0,"completion_tokens":"2","total_tokens":null}}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"eos_token"}]}"#,
        " [DONE] ",
        r#"{"choices":[{"delta":{"content":"too late"}}]}"#,
    ]);
    assert_eq!(deltas, [text("a"), text("b"), usage(1, 0, 2, 0), STOP]);
}

#[test]
fn quirk_12_a_body_is_one_chunk_with_a_message() {
    let (mut decoder, mut deltas) = (Decoder::default(), Deltas::new());
    let body = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":null,"reasoning":"Hm","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;
    decoder.body(body, &mut deltas).unwrap();
    decoder.end(&mut deltas).unwrap();
    let deltas = folded(deltas.into());
    assert_eq!(deltas, [thought("Hm"), opens(0, "a", "f", "{}"), opens(1, "b", "f", "{}"), STOP]);
}

#[test]
fn a_function_call_in_the_old_form_is_a_call() {
    let deltas = decoded(&[
        r#"{"choices":[{"delta":{"function_call":{"name":"f","arguments":""}}}]}"#,
        r#"{"choices":[{"delta":{"function_call":{"arguments":"{}"}},"finish_reason":"function_call"}]}"#,
    ]);
    assert_eq!(deltas, [opens(0, "", "f", "{}"), STOP]);
}

#[test]
fn parallel_calls_are_separated_by_index_and_emitted_only_once_they_have_a_name() {
    let piece = |call: &str| format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}"#);
    let deltas = decoded(&[
        &piece(r#"{"index":1,"id":"b","function":{"arguments":"{"}}"#),
        &piece(r#"{"index":0,"id":"a","function":{"name":"f","arguments":""}}"#),
        &piece(r#"{"index":1,"function":{"name":"g","arguments":"}"}}"#),
        &piece(r#"{"index":0,"function":{"arguments":"{}"}},{"index":7,"id":"never named"}"#),
        "[DONE]",
    ]);
    assert_eq!(deltas, [opens(0, "b", "g", "{}"), opens(1, "a", "f", "{}"), STOP]);
}

#[test]
fn every_reason_to_stop_is_sorted() {
    for (words, reason) in [
        (&["stop", "tool_calls", "function_call", "end_turn", "STOP"][..], FinishReason::Stop),
        (&["length", "max_tokens", "model_length", "MAX_TOKENS"], FinishReason::Length),
        (&["content_filter", "safety", "sensitive", "SAFETY"], FinishReason::ContentFilter),
        (&["network_error", "insufficient_system_resource", "error"], FinishReason::Broken),
    ] {
        for word in words {
            let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"Hi"}},"finish_reason":"{word}"}}]}}"#);
            assert_eq!(decoded(&[&chunk]), [text("Hi"), Delta::Finish(reason)], "{word}");
        }
    }
    let unfinished = r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":""}]}"#;
    assert_eq!(failed(&[unfinished]).kind, Kind::Retry { after: None });
}

#[test]
fn an_end_without_reason_or_done_is_a_failure_whatever_the_output() {
    let (deltas, result) = read(&[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#]);
    assert_eq!(deltas, [text("Hi")]);
    assert!(result.unwrap_err().error.message.contains("broke off"));
}

#[test]
fn empty_text_with_a_reason_is_left_to_others_to_judge() {
    let chunk = r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":0}}"#;
    assert_eq!(decoded(&[chunk]), [usage(3, 0, 0, 0), STOP]);
}

#[test]
fn only_the_first_choice_is_heard_and_what_is_no_chunk_is_a_failure() {
    let two = r#"{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"yes"},"finish_reason":"stop"}]}"#;
    assert_eq!(decoded(&[two]), [text("yes"), STOP]);
    for data in ["hello", "{", r#"{"choices":3}"#, "<html>"] {
        assert_eq!(failed(&[data]).kind, Kind::Retry { after: None }, "{data}");
    }
}
