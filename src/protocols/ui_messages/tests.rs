//! The two directions against each other: what a reply says in chunks comes back as parts, and tells the reply.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::domain::caller::Owner;
use crate::domain::event::{End, Event, Opening, Outcome, PartKind, ReplyError};
use crate::domain::ids::{InstanceId, ThreadId};
use crate::domain::items::{InputItem, Item};
use crate::domain::params::Params;
use crate::domain::reply::Reply;
use crate::replies::feed::Protocol as _;

const CHAT: [u8; 16] = [1; 16];

fn chat() -> ThreadId {
    ThreadId::from_bytes(CHAT)
}

fn reply(number: u8) -> ReplyId {
    ReplyId::from_bytes(chat(), [number; 16])
}

/// The chunks of a reply of these events after its opening, each with its number.
fn chunks(goes_on: Option<&str>, events: &[Event]) -> Vec<(Option<u64>, Value)> {
    let accepted = Accepted {
        reply: reply(2),
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
        params: Arc::new(Params { goes_on: goes_on.map(str::to_owned), ..Params::default() }),
    };
    let (mut reply, mut encoder, mut out) = (Reply::new(accepted.reply), UiStream.encoder(&accepted), Vec::new());
    for event in Event::opening(false).iter().chain(events) {
        let sequence = reply.next_sequence();
        reply.apply(event).expect("it can follow");
        encoder.encode(&mut out, &reply, event, sequence);
    }
    let text = String::from_utf8(out).expect("UTF-8");
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty()).map(|frame| {
        let (id, data) = frame.split_once("data: ").expect("data");
        let number = id.strip_prefix("id: ").map(|id| id.trim().parse().expect("a number"));
        (number, serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {frame}")))
    });
    frames.collect()
}

fn bodies(events: &[Event]) -> Vec<Value> {
    chunks(None, events).into_iter().map(|(_, chunk)| chunk).collect()
}

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

fn called(item: u32, arguments: &str) -> Vec<Event> {
    vec![
        Event::ItemAdded(Opening::FunctionCall { call_id: "call_1".to_owned(), name: "weather".to_owned() }),
        Event::Delta { item, text: arguments.to_owned(), logprobs: Vec::new() },
        Event::TextDone(item),
        Event::ItemDone { item, incomplete: false, provider_state: None },
    ]
}

fn ended(outcome: Outcome) -> Event {
    Event::End(End { outcome, usage: None })
}

#[test]
fn a_reply_is_a_message_of_one_step_with_its_parts() {
    let mut events = said(0, PartKind::Reasoning, "hm");
    events.extend(said(1, PartKind::Text, "It is …"));
    events.extend(called(2, "{\"city\": \"Rome\"}"));
    events.push(ended(Outcome::Completed));
    let (thought, text, call) =
        (reply(2).output_item("rs", 0), reply(2).output_item("msg", 1), reply(2).output_item("fc", 2));
    let ours = |item: &str| json!({"rejoinder": {"itemId": item}});
    assert_eq!(
        bodies(&events),
        [
            json!({"type": "start", "messageId": reply(2).to_string()}),
            json!({"type": "start-step"}),
            json!({"type": "reasoning-start", "id": thought, "providerMetadata": ours(&thought)}),
            json!({"type": "reasoning-delta", "id": thought, "delta": "hm"}),
            json!({"type": "reasoning-end", "id": thought}),
            json!({"type": "text-start", "id": text, "providerMetadata": ours(&text)}),
            json!({"type": "text-delta", "id": text, "delta": "It is …"}),
            json!({"type": "text-end", "id": text}),
            json!({"type": "tool-input-start", "toolCallId": "call_1", "toolName": "weather", "providerMetadata": ours(&call)}),
            json!({"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": "{\"city\": \"Rome\"}"}),
            json!({"type": "tool-input-available", "toolCallId": "call_1", "toolName": "weather", "input": {"city": "Rome"}, "providerMetadata": ours(&call)}),
            json!({"type": "finish-step"}),
            json!({"type": "finish", "finishReason": "tool-calls"}),
        ]
    );
}

#[test]
fn the_last_chunk_of_an_event_has_its_number() {
    let mut events = said(0, PartKind::Text, "a");
    events.push(ended(Outcome::MaxOutputTokens));
    let numbers: Vec<_> = chunks(Some("m7"), &events).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [None, Some(0), Some(3), Some(4), Some(6), None, Some(8)]);
    assert_eq!(chunks(Some("m7"), &events)[0].1["messageId"], "m7");
}

#[test]
fn each_end_has_a_word_of_its_own() {
    let last = |outcome| bodies(&[ended(outcome)]).pop().expect("a chunk");
    assert_eq!(last(Outcome::Completed), json!({"type": "finish", "finishReason": "stop"}));
    assert_eq!(last(Outcome::MaxOutputTokens)["finishReason"], "length");
    assert_eq!(last(Outcome::ContentFilter)["finishReason"], "content-filter");
    assert_eq!(last(Outcome::Cancelled)["type"], "abort");
    let error = ReplyError::server("It broke.");
    let failed = bodies(&[Event::Error(error.clone()), ended(Outcome::Failed(error))]);
    assert!(failed.contains(&json!({"type": "error", "errorText": "It broke."})), "{failed:?}");
}

#[test]
fn arguments_that_are_no_json_are_told_as_they_are() {
    let chunk = |arguments| bodies(&called(0, arguments)).pop().expect("a chunk");
    assert_eq!(chunk("")["input"], json!({}));
    let broken = chunk("{\"city\": ");
    assert_eq!((&broken["type"], &broken["input"]), (&json!("tool-input-error"), &json!("{\"city\": ")));
}

fn user(id: &str, text: &str) -> Value {
    json!({"id": id, "role": "user", "parts": [{"type": "text", "text": text}]})
}

/// A part as the client keeps it.
fn part(kind: &str, item: &str, more: &Value) -> Value {
    let mut part = json!({"type": kind, "providerMetadata": {"rejoinder": {"itemId": item}}});
    part.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    part
}

fn answer(number: u8, parts: Vec<Value>) -> Value {
    let mut all = vec![json!({"type": "step-start"})];
    all.extend(parts);
    json!({"id": reply(number).to_string(), "role": "assistant", "parts": all})
}

fn text(number: u8) -> Value {
    part("text", &reply(number).output_item("msg", 0), &json!({"text": "said", "state": "done"}))
}

fn call(number: u8, more: &Value) -> Value {
    let mut part = json!({
        "type": "tool-weather", "toolCallId": "call_1", "state": "output-available", "input": {"city": "Rome"},
        "output": {"sky": "blue"}, "callProviderMetadata": {"rejoinder": {"itemId": reply(number).output_item("fc", 0)}},
    });
    part.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    part
}

fn parsed(body: &Value) -> SendMessages {
    SendMessages::parse(body.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error:?} for {body}"))
}

fn input(messages: &Value) -> Input {
    parsed(&json!({"id": "c", "messages": messages})).input(chat())
}

fn kinds(input: &Input) -> Vec<&str> {
    let kind = |item: &InputItem| match item {
        InputItem::Item(item, _) => item.prefix(),
        InputItem::Reference { .. } => "reference",
    };
    input.items.iter().map(kind).collect()
}

#[test]
fn only_what_comes_after_the_last_reply_is_new() {
    let first = input(&json!([user("u1", "a")]));
    assert_eq!((first.after, kinds(&first), &first.goes_on), (After::Nothing, vec!["msg"], &None));
    let second = input(&json!([user("u1", "a"), answer(2, vec![text(2)]), user("u2", "b")]));
    assert_eq!((second.after, kinds(&second), &second.places[..]), (After::Reply(reply(2)), vec!["msg"], &[2][..]));
    assert_eq!(second.goes_on, None);
    // Of an answer of several steps the last one counts; one that says nothing yet has its id.
    let steps = input(&json!([user("u1", "a"), answer(2, vec![call(2, &json!({})), text(3)]), user("u2", "b")]));
    assert_eq!((steps.after, kinds(&steps)), (After::Reply(reply(3)), vec!["msg"]));
    let empty = input(&json!([user("u1", "a"), answer(2, vec![]), user("u2", "b")]));
    assert_eq!(empty.after, After::Reply(reply(2)));
}

#[test]
fn outputs_of_the_last_replys_calls_go_on_with_its_message() {
    let outputs = |call: Value| {
        let input = input(&json!([user("u1", "a"), answer(2, vec![call])]));
        assert_eq!((input.after, &input.goes_on), (After::Reply(reply(2)), &Some(reply(2).to_string())));
        let output = |item: &InputItem| match item {
            InputItem::Item(Item::FunctionCallOutput(item), None) => item.output.clone(),
            other => panic!("{other:?}"),
        };
        input.items.iter().map(output).collect::<Vec<_>>()
    };
    assert_eq!(outputs(call(2, &json!({}))), [json!("{\"sky\":\"blue\"}")]);
    assert_eq!(outputs(call(2, &json!({"state": "output-error", "errorText": "no"}))), [json!("no")]);
    let denied =
        call(2, &json!({"state": "output-denied", "approval": {"id": "1", "approved": false, "reason": "never"}}));
    assert_eq!(outputs(denied), [json!("never")]);
    assert_eq!(outputs(call(2, &json!({"state": "input-available"}))), [] as [Value; 0]);
    // An earlier step's was given with that.
    let later = input(&json!([user("u1", "a"), answer(2, vec![call(2, &json!({})), text(3)])]));
    assert_eq!((later.after, kinds(&later)), (After::Reply(reply(3)), vec![]));
}

#[test]
fn what_the_server_does_not_have_is_taken_as_the_client_tells_it() {
    let foreign = json!({"id": "x", "role": "assistant", "parts": [
        {"type": "step-start"}, {"type": "reasoning", "text": "hm"}, {"type": "text", "text": "I look."},
        {"type": "tool-weather", "toolCallId": "1", "state": "output-available", "input": {}, "output": "sun"},
        {"type": "dynamic-tool", "toolName": "look", "toolCallId": "2", "state": "output-available", "input": {}, "output": ""},
        {"type": "tool-weather", "toolCallId": "3", "state": "input-streaming", "input": {}},
        {"type": "step-start"}, {"type": "data-mood", "data": 1}, {"type": "text", "text": "Sun."},
    ]});
    let told = input(&json!([user("u1", "a"), foreign, user("u2", "b")]));
    assert_eq!(told.after, After::Nothing);
    assert_eq!(kinds(&told), ["msg", "rs", "msg", "fc", "fc", "fco", "fco", "msg", "msg"]);
    assert_eq!(told.places, [0, 1, 1, 1, 1, 1, 1, 1, 2]);
    // A reply of another chat is none of this one.
    let request = parsed(&json!({"id": "c", "messages": [answer(2, vec![text(2)]), user("u2", "b")]}));
    assert_eq!(request.input(ThreadId::from_bytes([9; 16])).after, After::Nothing);
    assert_eq!(request.all().map(|all| all.items.len()), Some(2));
}

#[test]
fn the_last_message_alone_follows_what_the_chat_has() {
    let alone = parsed(&json!({"id": "c", "message": user("u1", "a")}));
    assert_eq!((alone.input(chat()).after, alone.all()), (After::Newest, None));
    let again = parsed(&json!({"id": "c", "message": user("u1", "a"), "trigger": "regenerate-message"}));
    assert_eq!(again.input(chat()).after, After::BeforeNewest);
    let outputs = parsed(&json!({"id": "c", "message": answer(2, vec![call(2, &json!({}))])}));
    assert_eq!(outputs.input(chat()).after, After::Reply(reply(2)));
}

#[test]
fn images_and_files_of_text_are_read_and_others_refused_by_name() {
    let file = |more: Value| {
        let mut part = json!({"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="});
        part.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let body = json!({"id": "c", "messages": [{"id": "u", "role": "user", "parts": [part]}]});
        SendMessages::parse(body.to_string().as_bytes()).map_err(|error| error.param.unwrap_or_default())
    };
    assert!(file(json!({})).is_ok() && file(json!({"mediaType": "image", "url": "https://a.example/x"})).is_ok());
    assert!(file(json!({"mediaType": "text/plain", "url": "data:text/plain,hello", "filename": "a.txt"})).is_ok());
    for (more, param) in [
        (
            json!({"mediaType": "application/pdf", "url": "data:application/pdf;base64,AA=="}),
            "messages[0].parts[0].url",
        ),
        (json!({"mediaType": "text/plain", "url": "https://a.example/x.txt"}), "messages[0].parts[0].url"),
        (json!({"url": "blob:x"}), "messages[0].parts[0].url"),
        (json!({"mediaType": null}), "messages[0].parts[0].mediaType"),
        (json!({"providerReference": {"openai": "file_1"}}), "messages[0].parts[0].providerReference"),
    ] {
        assert_eq!(file(more.clone()), Err(param.to_owned()), "{more}");
    }
}

#[test]
fn what_this_door_does_not_have_is_refused_by_its_name() {
    let param = |more: Value| {
        let mut body = json!({"id": "c", "messages": [user("u1", "a")]});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        SendMessages::parse(body.to_string().as_bytes()).map(drop).map_err(|error| error.param.unwrap_or_default())
    };
    assert_eq!(
        param(json!({"store": true, "webSearch": true, "trigger": "submit-message", "messageId": "u1"})),
        Ok(())
    );
    for (more, wrong) in [
        (json!({"store": false}), "store"),
        (json!({"background": true}), "background"),
        (json!({"conversation": "conv_x"}), "conversation"),
        (json!({"max_tokens": 1}), "max_tokens"),
        (json!({"id": null}), "id"),
        (json!({"id": ""}), "id"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "tool", "parts": []}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].parts"),
        (json!({"messages": [{"role": "assistant", "parts": [{"type": "file"}]}]}), "messages[0].parts[0].type"),
        (
            json!({"messages": [{"role": "assistant", "parts": [{"type": "tool-x", "toolCallId": "1", "state": "x"}]}]}),
            "messages[0].parts[0].state",
        ),
    ] {
        assert_eq!(param(more.clone()), Err(wrong.to_owned()), "{more}");
    }
}
