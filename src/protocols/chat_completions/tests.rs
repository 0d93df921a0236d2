//! The two directions against each other: what a reply says adds up to the same in chunks and in one piece.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::domain::caller::Owner;
use crate::domain::event::{End, Event, Opening, PartKind, Usage};
use crate::domain::ids::{InstanceId, ThreadId};
use crate::domain::items::InputItem;
use crate::domain::params::{AudioFormat, AudioParams, Params};
use crate::domain::record::Accepted;
use crate::protocols::error::ApiError;
use crate::replies::feed::Protocol as _;

fn accepted(params: Params) -> Accepted {
    Accepted {
        reply: ReplyId::from_bytes(ThreadId::from_bytes([1; 16]), [2; 16]),
        in_conversation: false,
        chat: false,
        previous: None,
        created_at: 7,
        owner: Owner::anonymous(),
        instance: InstanceId::random(),
        nonce: 1,
        digest: None,
        trace: None,
        input: Vec::new(),
        provider_state: BTreeMap::new(),
        params: Arc::new(params),
    }
}

/// The chunks of a reply of these events after its opening, and the reply.
fn told(params: Params, format: Chunks, events: Vec<Event>) -> (Vec<Value>, Reply, Accepted) {
    let accepted = accepted(params);
    let (mut reply, mut encoder, mut out) = (Reply::new(accepted.reply), format.encoder(&accepted), Vec::new());
    for event in Event::opening(false).iter().cloned().chain(events) {
        let sequence = reply.next_sequence();
        reply.apply(&event).expect("it can follow");
        encoder.encode(&mut out, &reply, &event, sequence);
    }
    let text = String::from_utf8(out).expect("UTF-8");
    let chunks = text.split("\n\n").filter(|frame| !frame.is_empty()).map(|frame| {
        serde_json::from_str(frame.strip_prefix("data: ").expect("data"))
            .unwrap_or_else(|error| panic!("{error}: {frame}"))
    });
    (chunks.collect(), reply, accepted)
}

const PLAIN: Chunks = Chunks { lines: false, usage: false };

fn said(item: u32, kind: PartKind, text: &str) -> Vec<Event> {
    let opening = if kind == PartKind::Reasoning { Opening::Reasoning } else { Opening::Message };
    vec![
        Event::ItemAdded(opening),
        Event::PartAdded { item, kind },
        Event::Delta { item, text: text.to_owned(), logprobs: Vec::new() },
        Event::TextDone(item),
        Event::PartDone(item),
        Event::ItemDone { item, incomplete: false, provider_state: None },
    ]
}

fn end(outcome: Outcome) -> Event {
    let usage = Usage { input: 3, cached: 1, output: 4, reasoning: 2, total: 7 };
    Event::End(End { outcome, usage: Some(usage) })
}

#[test]
fn an_id_is_that_of_the_response_in_other_words() {
    let reply = ReplyId::random(ThreadId::random());
    assert_eq!(parse_id(&completion_id(reply)), Some(reply));
    assert_eq!(parse_id(&reply.to_string()), Some(reply));
    assert_eq!(parse_id("chatcmpl-x"), None);
}

#[test]
fn numbers_are_those_of_the_events_and_only_the_last_of_two_chunks_has_one() {
    let events = [said(0, PartKind::Text, "Hi"), vec![end(Outcome::Completed)]].concat();
    let format = Chunks { lines: false, usage: true };
    let (chunks, ..) = told(Params::default(), format, events);
    let numbers: Vec<_> = chunks.iter().map(|chunk| chunk.get("sequence_number").cloned()).collect();
    assert_eq!(numbers, [Some(json!(0)), Some(json!(4)), None, Some(json!(8))]);
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    let usage = &chunks[3]["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(3), &json!(4), &json!(7))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 1);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 2);
}

#[test]
fn a_reply_of_several_messages_is_one_text_in_either_form() {
    let events = [
        said(0, PartKind::Reasoning, "hm"),
        said(1, PartKind::Text, "one "),
        said(2, PartKind::Refusal, "no"),
        said(3, PartKind::Text, "two"),
        vec![end(Outcome::MaxOutputTokens)],
    ];
    let (chunks, reply, accepted) = told(Params::default(), PLAIN, events.concat());
    let whole = serde_json::to_value(Completion::of(&accepted, &reply, None)).expect("JSON");
    let message = &whole["choices"][0]["message"];
    for (key, text) in [("content", "one two"), ("refusal", "no"), ("reasoning_content", "hm")] {
        let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][key].as_str());
        assert_eq!((pieces.collect::<String>().as_str(), &message[key]), (text, &json!(text)), "{key}");
    }
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks.last().expect("chunks")["choices"][0]["finish_reason"], "length");
}

#[test]
fn speech_comes_as_audio_and_its_transcript_under_one_id() {
    let params = Params { audio: Some(AudioParams { voice: None, format: AudioFormat::Wav }), ..Params::default() };
    let speech = vec![
        Event::Transcript("Hi.".into()),
        Event::Audio("UklGRg==".into()),
        Event::AudioDone(None),
        Event::TranscriptDone,
        end(Outcome::Completed),
    ];
    let (chunks, reply, accepted) = told(params, PLAIN, [said(0, PartKind::Text, "Hi."), speech].concat());
    let deltas: Vec<_> =
        chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["audio"]).filter(|it| !it.is_null()).collect();
    let audio = Audio { data: "UklGRg==".to_owned(), transcript: "Hi.".to_owned() };
    let whole = serde_json::to_value(Completion::of(&accepted, &reply, Some(&audio))).expect("JSON");
    let spoken = &whole["choices"][0]["message"]["audio"];
    assert_eq!(*deltas[0], json!({"id": spoken["id"], "transcript": "Hi."}));
    assert_eq!(*deltas[1], json!({"id": spoken["id"], "data": "UklGRg=="}));
    assert_eq!((&spoken["data"], &spoken["transcript"]), (&json!("UklGRg=="), &json!("Hi.")));
}

#[test]
fn errors_are_about_messages() {
    let error = |param: &str| ApiError::client(400, "'text.format'").with_param(param);
    let param = |param: &str| renamed(error(param), &[0, 1, 1, 2]).param;
    assert_eq!(param("input").as_deref(), Some("messages"));
    assert_eq!(param("input[2].content[1].image_url").as_deref(), Some("messages[1].content[1].image_url"));
    assert_eq!(param("input[9].content").as_deref(), Some("messages"));
    assert_eq!(param("model").as_deref(), Some("model"));
    assert_eq!(renamed(error("model"), &[]).message, "'response_format'");
}

#[test]
fn a_message_becomes_one_item_or_several_and_each_knows_its_place() {
    let body = json!({"model": "m", "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "reasoning_content": "hm", "content": "well", "refusal": null, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "x"}]},
    ]});
    let request = CreateChatCompletion::parse(body.to_string().as_bytes()).expect("a request");
    let kinds = request.input.iter().map(|item| match item {
        InputItem::Item(item, None) => item.prefix(),
        _ => panic!("{item:?}"),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["msg", "rs", "msg", "fc", "fco"]);
    assert_eq!(request.places, [0, 1, 1, 1, 2]);
    assert_eq!((request.store, request.stream, request.include_usage), (None, false, false));
}
