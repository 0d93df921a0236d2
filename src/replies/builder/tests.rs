//! The mapping, row by row.

use serde_json::json;

use super::*;
use crate::domain::event::{End, Opening, Outcome, ReplyError};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::params::{Params, ReasoningParams};
use FinishReason::{Length, Stop};

fn opened() -> Reply {
    Reply::opened(ReplyId::from_bytes(ThreadId::from_bytes([1; 16]), [2; 16]), false)
}

/// A reply with this output that was broken off.
fn broken_off(deltas: impl IntoIterator<Item = Delta>) -> Reply {
    let mut reply = opened();
    let (events, _) = attempt(Options::default(), &reply, deltas, None);
    apply(&mut reply, &events);
    reply
}

fn apply(reply: &mut Reply, events: &[Event]) {
    for event in events {
        reply.apply(event).expect("it can follow");
    }
}

/// What an attempt adds to a reply, and what became of it; `done` if the upstream's stream ended.
fn attempt(
    options: Options,
    reply: &Reply,
    deltas: impl IntoIterator<Item = Delta>,
    done: Option<bool>,
) -> (Vec<Event>, Option<Finished>) {
    let continuation = if reply.text().is_empty() { Continuation::Fresh } else { Continuation::Prefill };
    let mut builder = EventBuilder::new(options, reply, continuation);
    let mut events = Vec::new();
    deltas.into_iter().for_each(|delta| builder.push(delta, &mut events));
    let finished = done.map(|done| builder.finish(done, &mut events));
    (events, finished)
}

/// The events of a reply that is generated in one attempt.
fn whole(options: Options, deltas: impl IntoIterator<Item = Delta>) -> Vec<Event> {
    let (events, finished) = attempt(options, &opened(), deltas, Some(true));
    assert_eq!(finished, Some(Finished::Ended));
    events
}

fn writes(text: &str) -> Delta {
    Delta::Content { text: text.to_owned(), logprobs: Vec::new() }
}

fn thinks(text: &str) -> Delta {
    Delta::Reasoning(text.to_owned())
}

fn refuses(text: &str) -> Delta {
    Delta::Refusal(text.to_owned())
}

fn calls(call: usize, name: &str, arguments: &str) -> Delta {
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    let arguments = arguments.to_owned();
    Delta::ToolCall(ToolCallDelta {
        call,
        id: name.as_ref().map(|_| format!("id{call}")),
        name,
        arguments,
        provider_state: None,
    })
}

fn stops(reason: FinishReason) -> Delta {
    Delta::Finish(reason)
}

fn used(output: u64) -> Delta {
    Delta::Usage(Usage { input: 1, output, total: 1 + output, ..Usage::default() })
}

fn message() -> Event {
    Event::ItemAdded(Opening::Message)
}

fn reasoning() -> Event {
    Event::ItemAdded(Opening::Reasoning)
}

fn function(call_id: &str, name: &str) -> Event {
    Event::ItemAdded(Opening::FunctionCall { call_id: call_id.to_owned(), name: name.to_owned() })
}

fn part(item: u32, kind: PartKind) -> Event {
    Event::PartAdded { item, kind }
}

fn text(item: u32, text: &str) -> Event {
    Event::Delta { item, text: text.to_owned(), logprobs: Vec::new() }
}

fn part_done(item: u32) -> [Event; 2] {
    [Event::TextDone(item), Event::PartDone(item)]
}

fn item_done(item: u32, incomplete: bool) -> Event {
    Event::ItemDone { item, incomplete, provider_state: None }
}

fn end(outcome: Outcome) -> Event {
    Event::End(End { outcome, usage: None })
}

/// A list of events, some of them in groups.
macro_rules! events {
    ($($event:expr),* $(,)?) => {{
        let groups: Vec<Vec<Event>> = vec![$(Vec::from(Group::from($event).0)),*];
        groups.concat()
    }};
}

struct Group(Vec<Event>);

impl From<Event> for Group {
    fn from(event: Event) -> Self {
        Self(vec![event])
    }
}

impl<const N: usize> From<[Event; N]> for Group {
    fn from(events: [Event; N]) -> Self {
        Self(events.into())
    }
}

mod compacting;
mod endings;
mod takeover;

#[test]
fn e2_e3_thoughts_and_then_text_are_two_items() {
    let events = whole(Options::default(), [thinks("hm"), thinks("m"), writes("He"), writes("llo"), stops(Stop)]);
    let wanted = events! {
        reasoning(), part(0, PartKind::Reasoning), text(0, "hm"), text(0, "m"), part_done(0), item_done(0, false),
        message(), part(1, PartKind::Text), text(1, "He"), text(1, "llo"), part_done(1), item_done(1, false),
        end(Outcome::Completed),
    };
    assert_eq!(events, wanted);
}

#[test]
fn e2_thoughts_are_a_summary_where_one_was_asked_for() {
    let reasoning = ReasoningParams { summary: Some("auto".to_owned()), ..ReasoningParams::default() };
    let options = Options::of(&Params { reasoning: Some(reasoning), ..Params::default() });
    let events = whole(options, [thinks("hm"), writes("Hi"), stops(Stop)]);
    assert_eq!(events[1], part(0, PartKind::Summary));
}

#[test]
fn e3_probabilities_go_with_their_text() {
    let logprobs = vec![json!({ "token": "Hi", "logprob": -0.5 })];
    let events = whole(Options::default(), [Delta::Content { text: "Hi".to_owned(), logprobs: logprobs.clone() }]);
    assert_eq!(events[2], Event::Delta { item: 0, text: "Hi".to_owned(), logprobs });
}

#[test]
fn e4_a_refusal_is_the_next_part_of_the_message() {
    let events = whole(Options::default(), [writes("Well"), refuses("No"), refuses("."), stops(Stop)]);
    let wanted = events! {
        message(), part(0, PartKind::Text), text(0, "Well"), part_done(0), part(0, PartKind::Refusal), text(0, "No"),
        text(0, "."), part_done(0), item_done(0, false), end(Outcome::Completed),
    };
    assert_eq!(events, wanted);
}

#[test]
fn e5_a_call_is_opened_with_its_name_and_emits_its_arguments_at_once() {
    let deltas = [writes("Look"), calls(0, "f", "{\"a\""), calls(0, "", ":1"), calls(0, "", "}"), stops(Stop)];
    let (before, _) = attempt(Options::default(), &opened(), deltas[..4].to_vec(), None);
    assert_eq!(before.last(), Some(&function("id0", "f")), "arguments are held");
    let wanted = events! {
        message(), part(0, PartKind::Text), text(0, "Look"), part_done(0), item_done(0, false), function("id0", "f"),
        text(1, "{\"a\":1}"), Event::TextDone(1), item_done(1, false), end(Outcome::Completed),
    };
    assert_eq!(whole(Options::default(), deltas), wanted);
}

#[test]
fn e5_a_call_is_complete_when_the_next_begins_unless_its_arguments_are_not() {
    let events =
        whole(Options::default(), [calls(0, "f", "{}"), calls(1, "g", "{"), calls(2, "h", ""), calls(1, "", "}")]);
    let wanted = events! {
        function("id0", "f"), text(0, "{}"), Event::TextDone(0), item_done(0, false), function("id1", "g"),
        function("id2", "h"), text(1, "{}"), Event::TextDone(1), item_done(1, false), text(2, "{}"), Event::TextDone(2),
        item_done(2, false), end(Outcome::Completed),
    };
    assert_eq!(events, wanted);
}

#[test]
fn e5_a_call_without_an_id_or_with_one_that_is_taken_gets_its_own() {
    let call = |call, id: Option<&str>| {
        let (id, name) = (id.map(str::to_owned), Some("f".to_owned()));
        Delta::ToolCall(ToolCallDelta { call, id, name, arguments: "{}".to_owned(), provider_state: None })
    };
    let events = whole(Options::default(), [call(0, None), call(1, Some("x")), call(2, Some("x")), call(3, Some(""))]);
    let ids = events.iter().filter_map(|event| match event {
        Event::ItemAdded(Opening::FunctionCall { call_id, .. }) => Some(call_id.as_str()),
        _ => None,
    });
    let made = |index: usize| opened().id().output_item("call", index);
    assert_eq!(ids.collect::<Vec<_>>(), [made(0).as_str(), "x", &made(2), &made(3)]);
}

#[test]
fn e5_what_the_upstream_wants_back_goes_with_the_item() {
    let call = ToolCallDelta {
        name: Some("f".to_owned()),
        provider_state: Some(json!({ "sig": 1 })),
        ..ToolCallDelta::default()
    };
    let state = |details| Delta::ProviderState(json!({ "details": [details], "last": details }));
    let events = whole(Options::default(), [thinks("hm"), state(1), state(2), Delta::ToolCall(call), state(3)]);
    let states = events.iter().filter_map(|event| match event {
        Event::ItemDone { provider_state, .. } => provider_state.clone(),
        _ => None,
    });
    assert_eq!(
        states.collect::<Vec<_>>(),
        [json!({ "details": [1, 2], "last": 2 }), json!({ "sig": 1, "details": [3], "last": 3 })]
    );
}

#[test]
fn e6_text_after_a_call_and_thoughts_after_text_are_new_items() {
    let events = whole(Options::default(), [writes("a"), thinks("b"), calls(0, "f", "{}"), writes("c")]);
    let added = events.iter().filter(|event| matches!(event, Event::ItemAdded(_)));
    assert_eq!(added.cloned().collect::<Vec<_>>(), [message(), reasoning(), function("id0", "f"), message()]);
}
