//! Every event, letter by letter.

use serde_json::{Value, json};

use super::*;
use crate::domain::event::{End, ErrorCode, Opening, Outcome, PartKind, ReplyError, Usage};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::params::{Params, Tool, ToolChoice};
use crate::protocols::seal;

/// What the ids of these tests hold; taken out of what is compared, so that `msg_0` is the first message.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000";

fn reply_id() -> ReplyId {
    ReplyId::from_bytes(ThreadId::from_bytes([0; 16]), [0; 16])
}

fn params() -> Params {
    Params { model: "echo".to_owned(), store: true, ..Params::default() }
}

fn envelope(params: &Params) -> Envelope {
    Envelope::new(&Facts { id: reply_id(), created_at: 7, params, previous: None, conversation: None })
}

/// The events as they are sent.
fn sent(params: &Params, events: &[Event]) -> Vec<String> {
    let (envelope, mut reply) = (envelope(params), Reply::new(reply_id()));
    let mut lines = Vec::new();
    for (sequence, event) in (0..).zip(events) {
        reply.apply(event).expect("in order");
        if event.is_terminal() {
            reply.set_ended_at(9);
        }
        let mut out = Vec::new();
        let kind = envelope.write_event(&mut out, &reply, event, sequence).expect("it is told");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["type"], kind);
        lines.push(text.replace(ZEROS, ""));
    }
    lines
}

fn delta(item: u32, text: &str) -> Event {
    Event::Delta { item, text: text.to_owned(), logprobs: Vec::new() }
}

fn done(item: u32) -> Event {
    Event::ItemDone { item, incomplete: false, provider_state: None }
}

fn end(outcome: Outcome) -> Event {
    Event::End(End { outcome, usage: None })
}

#[test]
fn a_message_is_opened_said_and_closed() {
    let part = Event::PartAdded { item: 0, kind: PartKind::Text };
    let events = [
        Event::ItemAdded(Opening::Message),
        part,
        delta(0, "a \"b\"\n"),
        Event::TextDone(0),
        Event::PartDone(0),
        done(0),
    ];
    assert_eq!(
        sent(&params(), &events),
        [
            r#"{"type":"response.output_item.added","sequence_number":0,"output_index":0,"item":{"type":"message","id":"msg_0","status":"in_progress","role":"assistant","content":[]}}"#,
            r#"{"type":"response.content_part.added","sequence_number":1,"item_id":"msg_0","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}"#,
            r#"{"type":"response.output_text.delta","sequence_number":2,"item_id":"msg_0","output_index":0,"content_index":0,"delta":"a \"b\"\n","logprobs":[]}"#,
            r#"{"type":"response.output_text.done","sequence_number":3,"item_id":"msg_0","output_index":0,"content_index":0,"text":"a \"b\"\n","logprobs":[]}"#,
            r#"{"type":"response.content_part.done","sequence_number":4,"item_id":"msg_0","output_index":0,"content_index":0,"part":{"type":"output_text","text":"a \"b\"\n","annotations":[],"logprobs":[]}}"#,
            r#"{"type":"response.output_item.done","sequence_number":5,"output_index":0,"item":{"type":"message","id":"msg_0","status":"completed","role":"assistant","content":[{"type":"output_text","text":"a \"b\"\n","annotations":[],"logprobs":[]}]}}"#,
        ]
    );
}

#[test]
fn a_refusal_is_a_part_of_its_own_after_the_text() {
    let events = [
        Event::ItemAdded(Opening::Message),
        Event::PartAdded { item: 0, kind: PartKind::Text },
        Event::TextDone(0),
        Event::PartDone(0),
        Event::PartAdded { item: 0, kind: PartKind::Refusal },
        delta(0, "No."),
        Event::TextDone(0),
        Event::PartDone(0),
    ];
    assert_eq!(
        sent(&params(), &events)[4..],
        [
            r#"{"type":"response.content_part.added","sequence_number":4,"item_id":"msg_0","output_index":0,"content_index":1,"part":{"type":"refusal","refusal":""}}"#,
            r#"{"type":"response.refusal.delta","sequence_number":5,"item_id":"msg_0","output_index":0,"content_index":1,"delta":"No."}"#,
            r#"{"type":"response.refusal.done","sequence_number":6,"item_id":"msg_0","output_index":0,"content_index":1,"refusal":"No."}"#,
            r#"{"type":"response.content_part.done","sequence_number":7,"item_id":"msg_0","output_index":0,"content_index":1,"part":{"type":"refusal","refusal":"No."}}"#,
        ]
    );
}

fn thoughts(kind: PartKind) -> Vec<String> {
    let opened = [Event::ItemAdded(Opening::Reasoning), Event::PartAdded { item: 0, kind }];
    let said = [delta(0, "Hm"), Event::TextDone(0), Event::PartDone(0), done(0)];
    sent(&params(), &[opened.as_slice(), said.as_slice()].concat())
}

#[test]
fn thoughts_are_told_as_they_came() {
    assert_eq!(
        thoughts(PartKind::Reasoning),
        [
            r#"{"type":"response.output_item.added","sequence_number":0,"output_index":0,"item":{"type":"reasoning","id":"rs_0","status":"in_progress","summary":[],"content":[]}}"#,
            r#"{"type":"response.content_part.added","sequence_number":1,"item_id":"rs_0","output_index":0,"content_index":0,"part":{"type":"reasoning_text","text":""}}"#,
            r#"{"type":"response.reasoning_text.delta","sequence_number":2,"item_id":"rs_0","output_index":0,"content_index":0,"delta":"Hm"}"#,
            r#"{"type":"response.reasoning_text.done","sequence_number":3,"item_id":"rs_0","output_index":0,"content_index":0,"text":"Hm"}"#,
            r#"{"type":"response.content_part.done","sequence_number":4,"item_id":"rs_0","output_index":0,"content_index":0,"part":{"type":"reasoning_text","text":"Hm"}}"#,
            r#"{"type":"response.output_item.done","sequence_number":5,"output_index":0,"item":{"type":"reasoning","id":"rs_0","status":"completed","summary":[],"content":[{"type":"reasoning_text","text":"Hm"}]}}"#,
        ]
    );
}

#[test]
fn thoughts_are_told_as_a_summary() {
    assert_eq!(
        thoughts(PartKind::Summary)[1..],
        [
            r#"{"type":"response.reasoning_summary_part.added","sequence_number":1,"item_id":"rs_0","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}"#,
            r#"{"type":"response.reasoning_summary_text.delta","sequence_number":2,"item_id":"rs_0","output_index":0,"summary_index":0,"delta":"Hm"}"#,
            r#"{"type":"response.reasoning_summary_text.done","sequence_number":3,"item_id":"rs_0","output_index":0,"summary_index":0,"text":"Hm"}"#,
            r#"{"type":"response.reasoning_summary_part.done","sequence_number":4,"item_id":"rs_0","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":"Hm"}}"#,
            r#"{"type":"response.output_item.done","sequence_number":5,"output_index":0,"item":{"type":"reasoning","id":"rs_0","status":"completed","summary":[{"type":"summary_text","text":"Hm"}],"content":[]}}"#,
        ]
    );
}

#[test]
fn a_function_call_is_told_with_its_arguments_whole() {
    let opening = Opening::FunctionCall { call_id: "call_\"1".to_owned(), name: "tea".to_owned() };
    let events = [Event::ItemAdded(opening), delta(0, "{\"c\":1}"), Event::TextDone(0), done(0)];
    assert_eq!(
        sent(&params(), &events),
        [
            r#"{"type":"response.output_item.added","sequence_number":0,"output_index":0,"item":{"type":"function_call","id":"fc_0","status":"in_progress","call_id":"call_\"1","name":"tea","arguments":""}}"#,
            r#"{"type":"response.function_call_arguments.delta","sequence_number":1,"item_id":"fc_0","output_index":0,"delta":"{\"c\":1}"}"#,
            r#"{"type":"response.function_call_arguments.done","sequence_number":2,"item_id":"fc_0","output_index":0,"name":"tea","arguments":"{\"c\":1}"}"#,
            r#"{"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":{"type":"function_call","id":"fc_0","status":"completed","call_id":"call_\"1","name":"tea","arguments":"{\"c\":1}"}}"#,
        ]
    );
}

#[test]
fn token_probabilities_travel_with_the_text() {
    let logprob = json!({"logprob": -0.5, "token": "a"});
    let delta = Event::Delta { item: 0, text: "a".to_owned(), logprobs: vec![logprob] };
    let part = Event::PartAdded { item: 0, kind: PartKind::Text };
    let lines = sent(&params(), &[Event::ItemAdded(Opening::Message), part, delta, Event::TextDone(0)]);
    assert!(lines[2].ends_with(r#""delta":"a","logprobs":[{"logprob":-0.5,"token":"a"}]}"#), "{}", lines[2]);
    assert!(lines[3].ends_with(r#""text":"a","logprobs":[{"logprob":-0.5,"token":"a"}]}"#), "{}", lines[3]);
}

/// The tail of the response object of a request that asks for nothing.
const PLAIN: &str = r#""background":false,"conversation":null,"frequency_penalty":0.0,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"model":"echo","parallel_tool_calls":true,"presence_penalty":0.0,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},"safety_identifier":null,"service_tier":"default","store":true,"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","user":null,"metadata":{},"access_programs":null,"rejoinder":{"events":"/v1/responses/resp_/events"}}"#;

fn state(kind: &str, sequence: u64, status: &str) -> String {
    let open = format!(
        r#"{{"type":"{kind}","sequence_number":{sequence},"response":{{"id":"resp_","object":"response","created_at":7,"status":"{status}","#
    );
    format!(r#"{open}"completed_at":null,"error":null,"incomplete_details":null,"output":[],"usage":null,{PLAIN}}}"#)
}

#[test]
fn a_reply_is_opened() {
    assert_eq!(
        sent(&params(), Event::opening(false)),
        [state("response.created", 0, "in_progress"), state("response.in_progress", 1, "in_progress")]
    );
}

#[test]
fn a_reply_in_the_background_is_queued_first() {
    let lines = sent(&Params { background: true, ..params() }, Event::opening(true));
    let lines: Vec<String> =
        lines.iter().map(|line| line.replace("\"background\":true", "\"background\":false")).collect();
    let kinds =
        [("response.created", "queued"), ("response.queued", "queued"), ("response.in_progress", "in_progress")];
    let expected: Vec<String> = (0..).zip(kinds).map(|(number, (kind, status))| state(kind, number, status)).collect();
    assert_eq!(lines, expected);
}

/// The last event of a reply that ended so, parsed.
fn last(outcome: Outcome) -> Value {
    let lines = sent(&params(), &[Event::Created, Event::InProgress, end(outcome)]);
    serde_json::from_str(&lines[2]).expect("JSON")
}

#[test]
fn a_completed_reply_tells_when_and_what_it_used() {
    let usage = Some(Usage { input: 10, cached: 4, output: 5, reasoning: 2, total: 15 });
    let lines = sent(&params(), &[Event::Created, Event::End(End { outcome: Outcome::Completed, usage })]);
    let expected = state("response.completed", 1, "completed").replace("\"completed_at\":null", "\"completed_at\":9").replace(
        "\"usage\":null",
        r#""usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":0},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":15}"#,
    );
    assert_eq!(lines[1], expected);
}

#[test]
fn a_reply_that_was_stopped_tells_why() {
    let cases = [
        (Outcome::MaxOutputTokens, "incomplete", "max_output_tokens"),
        (Outcome::ContentFilter, "incomplete", "content_filter"),
        (Outcome::Cancelled, "cancelled", "cancelled"),
    ];
    for (outcome, status, reason) in cases {
        let event = last(outcome);
        assert_eq!(event["type"], "response.incomplete");
        assert_eq!(event["response"]["status"], status);
        assert_eq!(event["response"]["incomplete_details"], json!({"reason": reason}));
        assert_eq!(event["response"]["completed_at"], Value::Null);
    }
}

#[test]
fn a_failed_reply_tells_its_error_twice() {
    let error = ReplyError { code: ErrorCode::RateLimitExceeded, message: "Slow \"down\".".to_owned() };
    let lines = sent(&params(), &[Event::Created, Event::Error(error.clone()), end(Outcome::Failed(error))]);
    assert_eq!(
        lines[1],
        r#"{"type":"error","sequence_number":1,"code":"rate_limit_exceeded","message":"Slow \"down\".","param":null,"error":{"message":"Slow \"down\".","type":"rate_limit_exceeded","param":null,"code":"rate_limit_exceeded"}}"#
    );
    let failed: Value = serde_json::from_str(&lines[2]).expect("JSON");
    assert_eq!(failed["type"], "response.failed");
    assert_eq!(failed["response"]["status"], "failed");
    assert_eq!(failed["response"]["error"], json!({"code": "rate_limit_exceeded", "message": "Slow \"down\"."}));
}

#[test]
fn a_response_says_its_request_back() {
    let tool = Tool {
        name: "tea".to_owned(),
        description: Some("Makes tea".to_owned()),
        parameters: None,
        strict: Some(true),
        given: None,
    };
    let asked = Params {
        tools: vec![tool],
        tool_choice: Some(ToolChoice::Allowed { required: true, names: vec!["tea".to_owned()] }),
        temperature: Some(0.5),
        ..params()
    };
    let (previous, conversation) = (Some(reply_id()), Some(ThreadId::from_bytes([0; 16])));
    let facts = Facts { id: reply_id(), created_at: 7, params: &asked, previous, conversation };
    let mut out = Vec::new();
    Envelope::new(&facts).write_response(&mut out, &Reply::opened(reply_id(), false));
    let response: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(
        response["tools"][0],
        json!({"type": "function", "name": "tea", "description": "Makes tea", "parameters": null, "strict": true})
    );
    assert_eq!(
        response["tool_choice"],
        json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "tea"}]})
    );
    assert_eq!(response["temperature"], 0.5);
    assert_eq!(response["previous_response_id"], reply_id().to_string());
    assert_eq!(response["conversation"], json!({"id": reply_id().thread().conversation()}));
}

#[test]
fn what_an_upstream_wants_back_is_shown_only_sealed_and_only_when_it_is_asked_for() {
    let kept = json!({"signature": "s"});
    let closed = Event::ItemDone { item: 0, incomplete: false, provider_state: Some(kept.clone()) };
    let events = [Event::ItemAdded(Opening::Reasoning), closed, end(Outcome::Completed)];
    let include = vec!["reasoning.encrypted_content".to_owned()];
    for asked in [params(), Params { store: false, ..params() }] {
        assert!(!sent(&asked, &events).concat().contains("encrypted_content"));
    }
    let stored = sent(&Params { include: include.clone(), ..params() }, &events);
    let lines = sent(&Params { store: false, include, ..params() }, &events);
    assert_eq!(stored[0], lines[0], "an item that has only begun has none");
    let places = [(&lines[1], "/item"), (&lines[2], "/response/output/0"), (&stored[1], "/item")];
    for (line, path) in places {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let mut item: Item = serde_json::from_value(event.pointer(path).expect("an item").clone()).expect("an item");
        assert_eq!(seal::open(&mut item), Some(kept.clone()));
    }
}

#[test]
fn plain_text_is_what_a_person_reads() {
    let mut reply = Reply::new(reply_id());
    for event in [Event::ItemAdded(Opening::Message), done(0), Event::ItemAdded(Opening::Reasoning)] {
        reply.apply(&event).expect("in order");
    }
    assert_eq!(plain_text(&reply, &delta(0, "Hi")), Some("Hi"));
    assert_eq!(plain_text(&reply, &delta(1, "Hm")), None);
    assert_eq!(plain_text(&reply, &Event::TextDone(0)), None);
}
