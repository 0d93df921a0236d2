//! The invariants of a reply's events, checked on what a client has seen of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sse::Event;

/// A whole reply, put together from its deltas alone.
#[derive(Debug)]
pub struct Reply {
    pub id: String,
    /// The final response object.
    pub response: Value,
    pub output: Vec<Value>,
    /// The text of all its messages.
    pub text: String,
    pub status: String,
}

/// The events that clients know, and so the only ones that may be sent.
const KNOWN: [&str; 29] = [
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.output_item.added",
    "response.output_item.done",
    "response.content_part.added",
    "response.content_part.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.output_text.annotation.added",
    "response.refusal.delta",
    "response.refusal.done",
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_part.done",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.audio.delta",
    "response.audio.done",
    "response.audio.transcript.delta",
    "response.audio.transcript.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
    "error",
];

/// Checks all events of a reply, from its first on.
///
/// # Panics
/// Where they break an invariant, with the events.
#[track_caller]
pub fn check_reply(events: &[Event]) -> Reply {
    let mut fold = Fold::default();
    for (place, event) in events.iter().enumerate() {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fold.take(place, event)));
        if found.is_err() {
            let told: Vec<_> = events.iter().map(|event| format!("{} {}", event.number, event.body)).collect();
            panic!("event {place} breaks an invariant, in:\n{}", told.join("\n"));
        }
    }
    fold.finish()
}

/// Checks that `events` are numbered without a gap from `first` on.
#[track_caller]
pub fn check_numbers(events: &[Event], first: u64) {
    for (expected, event) in (first..).zip(events) {
        assert_eq!(event.number, expected, "in {:?}", events.iter().map(|event| event.number).collect::<Vec<_>>());
    }
}

/// The text deltas among `events`, joined.
pub fn text_of(events: &[Event]) -> String {
    events.iter().filter_map(Event::delta).collect()
}

#[derive(Debug)]
struct Item {
    opened: Value,
    parts: Vec<Part>,
    arguments: String,
    arguments_done: Option<Value>,
    done: Option<Value>,
}

#[derive(Debug)]
struct Part {
    kind: &'static str,
    text: String,
    text_done: bool,
    done: Option<Value>,
}

#[derive(Debug, Default)]
struct Speech {
    begun: bool,
    audio_done: bool,
    done: bool,
    degraded: Option<Value>,
}

#[derive(Debug, Default)]
struct Fold {
    id: Option<String>,
    background: bool,
    opening: Vec<String>,
    items: BTreeMap<u64, Item>,
    speech: Speech,
    error: Option<Value>,
    terminal: Option<Value>,
}

impl Fold {
    fn take(&mut self, place: usize, event: &Event) {
        assert_eq!(event.number, place as u64, "numbers count from 0 without a gap");
        assert!(KNOWN.contains(&event.kind.as_str()), "no client knows {}", event.kind);
        assert!(self.terminal.is_none(), "nothing comes after the terminal event");
        assert!(self.error.is_none() || event.kind == "response.failed", "only `response.failed` comes after `error`");
        let body = &event.body;
        match event.kind.as_str() {
            "response.created" | "response.queued" | "response.in_progress" => self.open(&event.kind, body),
            "response.completed" | "response.incomplete" | "response.failed" => self.end(&event.kind, body),
            "error" => self.fail(body),
            "response.output_item.added" => self.item_added(body),
            "response.output_item.done" => self.item_done(body),
            kind if kind.starts_with("response.audio.") => self.speech(kind, body),
            kind => self.within_item(kind, body),
        }
    }

    fn open(&mut self, kind: &str, body: &Value) {
        let response = &body["response"];
        if kind == "response.created" {
            self.id = Some(response["id"].as_str().expect("a reply has an id").to_owned());
            self.background = response["background"] == true;
        }
        self.check_id(response);
        self.opening.push(kind.to_owned());
        let expected: &[&str] = if self.background {
            &["response.created", "response.queued", "response.in_progress"]
        } else {
            &["response.created", "response.in_progress"]
        };
        assert_eq!(self.opening[..], expected[..self.opening.len().min(expected.len())], "the opening");
        let waits = self.background && kind != "response.in_progress";
        assert_eq!(response["status"], if waits { "queued" } else { "in_progress" }, "status in {kind}");
        assert_eq!(response["output"], json!([]), "nothing is said yet");
    }

    fn check_id(&self, response: &Value) {
        assert_eq!(response["id"].as_str(), self.id.as_deref(), "it is the same reply");
        assert_eq!(response["object"], "response");
    }

    fn item_added(&mut self, body: &Value) {
        assert!(self.opening.last().is_some_and(|kind| kind == "response.in_progress"), "it has to begin first");
        let index = body["output_index"].as_u64().expect("an output_index");
        let item = &body["item"];
        assert_eq!(index, self.items.len() as u64, "output_index grows by one");
        let id = item["id"].as_str().expect("an item has an id");
        assert!(self.items.values().all(|other| other.opened["id"] != id), "an item is opened once");
        assert_eq!(item["status"], "in_progress", "an item is opened in progress");
        let prefix = match item["type"].as_str().expect("a type") {
            "message" => {
                assert_eq!((&item["role"], &item["content"]), (&json!("assistant"), &json!([])));
                "msg_"
            }
            "reasoning" => {
                assert_eq!(item["summary"], json!([]));
                "rs_"
            }
            "function_call" => {
                assert_eq!(item["arguments"], "");
                assert!(item["call_id"].as_str().is_some_and(|id| !id.is_empty()), "a call_id in {item}");
                assert!(item["name"].as_str().is_some_and(|name| !name.is_empty()), "a name in {item}");
                "fc_"
            }
            other => panic!("an item of type {other}"),
        };
        assert!(id.starts_with(prefix), "the id of {item}");
        let open = self.items.values().filter(|item| item.done.is_none());
        let calls_only = open.clone().all(|open| open.opened["type"] == "function_call");
        assert!(open.count() == 0 || calls_only, "one item is open at a time, function calls excepted");
        let parts = Vec::new();
        let item = Item { opened: item.clone(), parts, arguments: String::new(), arguments_done: None, done: None };
        self.items.insert(index, item);
    }

    fn item_done(&mut self, body: &Value) {
        let item = self.items.get_mut(&body["output_index"].as_u64().expect("an index")).expect("an item that is open");
        assert!(item.done.is_none(), "an item is closed once");
        let done = &body["item"];
        for kept in ["id", "type", "role", "call_id", "name"] {
            assert_eq!(done[kept], item.opened[kept], "{kept} stays");
        }
        assert!(["completed", "incomplete"].iter().any(|status| done["status"] == *status), "closed: {done}");
        for part in &item.parts {
            assert!(part.done.is_some(), "a part is closed before its item");
        }
        let parts: Vec<_> = item.parts.iter().filter_map(|part| part.done.clone()).collect();
        match done["type"].as_str() {
            Some("message") => assert_eq!(done["content"], json!(parts), "the parts are the content"),
            Some("reasoning") => {
                let (summary, content): (Vec<_>, Vec<_>) =
                    parts.into_iter().partition(|part| part["type"] == "summary_text");
                assert_eq!(done["summary"], json!(summary));
                assert!(done["content"] == json!(content) || (content.is_empty() && done["content"].is_null()));
            }
            _ => assert_eq!(done["arguments"], item.arguments.as_str(), "the arguments are the deltas"),
        }
        item.done = Some(done.clone());
    }

    fn within_item(&mut self, kind: &str, body: &Value) {
        let item = self.items.get_mut(&body["output_index"].as_u64().expect("an index")).expect("an item that is open");
        assert!(item.done.is_none(), "{kind} in a closed item");
        assert_eq!(body["item_id"], item.opened["id"], "item_id of {kind}");
        let (name, what) = kind.rsplit_once('.').expect("a name and a verb");
        match name {
            "response.function_call_arguments" if what == "delta" => {
                assert!(item.arguments.is_empty() && item.arguments_done.is_none(), "arguments come in one piece");
                item.arguments.push_str(body["delta"].as_str().expect("text"));
            }
            "response.function_call_arguments" => {
                assert_eq!(body["arguments"], item.arguments.as_str(), "the arguments are the deltas");
                assert_eq!(body["name"], item.opened["name"], "name of the call");
                item.arguments_done = Some(body["arguments"].clone());
            }
            "response.content_part" | "response.reasoning_summary_part" => item.part(what, body),
            _ => item.text(name, what, body),
        }
    }

    /// Speech goes on beside the items; it ends before the reply does.
    fn speech(&mut self, kind: &str, body: &Value) {
        let speech = &mut self.speech;
        speech.begun = true;
        assert!(!speech.done, "{kind} after the end of the speech");
        match kind {
            "response.audio.transcript.done" => {
                assert!(speech.audio_done, "the audio ends first");
                speech.done = true;
            }
            "response.audio.done" => {
                assert!(!speech.audio_done, "the audio ends once");
                speech.audio_done = true;
                speech.degraded = body.get("rejoinder").map(|ours| ours["degraded"].clone());
            }
            _ => {
                assert!(!speech.audio_done, "{kind} after the end of the audio");
                assert!(body["delta"].is_string(), "a delta in {body}");
            }
        }
    }

    fn fail(&mut self, body: &Value) {
        for key in ["code", "message", "param"] {
            assert!(body.get(key).is_some(), "`{key}` is flat in {body}");
            assert_eq!(body["error"][key], body[key], "`{key}` is nested, too");
        }
        self.error = Some(body.clone());
    }

    fn end(&mut self, kind: &str, body: &Value) {
        let response = &body["response"];
        self.check_id(response);
        let status = response["status"].as_str().expect("a status");
        match kind {
            "response.completed" => assert_eq!(status, "completed"),
            "response.failed" => {
                assert_eq!(status, "failed");
                let error = self.error.as_ref().expect("an `error` comes before `response.failed`");
                for key in ["code", "message"] {
                    assert_eq!(response["error"][key], error[key], "the same error");
                }
            }
            _ => {
                let reason = response["incomplete_details"]["reason"].as_str().expect("a reason");
                assert_eq!(status == "cancelled", reason == "cancelled", "{response}");
                assert!(["incomplete", "cancelled"].contains(&status), "{response}");
            }
        }
        assert_eq!(response["error"].is_null(), kind != "response.failed", "error of {response}");
        assert_eq!(response["incomplete_details"].is_null(), kind != "response.incomplete", "{response}");
        assert!(self.speech.done || !self.speech.begun, "the speech ends before the reply");
        let degraded = response["rejoinder"].get("degraded").cloned();
        assert_eq!(degraded, self.speech.degraded, "what was switched off is told at once, and at the end");
        let output: Vec<_> =
            self.items.values().map(|item| item.done.clone().expect("every item is closed before the end")).collect();
        assert_eq!(response["output"], json!(output), "the output is the items");
        if kind == "response.completed" {
            // Thoughts that were broken off are thought anew, in an item of their own.
            let is_whole = |item: &Value| item["status"] == "completed" || item["type"] == "reasoning";
            assert!(output.iter().all(is_whole), "completed, and so are its items");
        }
        self.terminal = Some(response.clone());
    }

    fn finish(self) -> Reply {
        let mut response = self.terminal.expect("a reply ends with a terminal event");
        // The last event of a stream says why there is no more; the object by itself says it by its status.
        if response["status"] == "cancelled" {
            response["incomplete_details"] = Value::Null;
        }
        let output = response["output"].as_array().expect("an output").clone();
        let text = output_text(&response);
        let status = response["status"].as_str().expect("a status").to_owned();
        Reply { id: self.id.expect("a reply opens with `response.created`"), response, output, text, status }
    }
}

impl Item {
    /// A part is opened or closed.
    fn part(&mut self, what: &str, body: &Value) {
        let index = part_index(body);
        let part = &body["part"];
        let (kind, field) = match part["type"].as_str().expect("a part has a type") {
            "output_text" => ("output_text", "text"),
            "refusal" => ("refusal", "refusal"),
            "reasoning_text" => ("reasoning_text", "text"),
            "summary_text" => ("summary_text", "text"),
            other => panic!("a part of type {other}"),
        };
        if kind == "output_text" {
            assert_eq!(part["annotations"], json!([]));
            assert!(part["logprobs"].is_array());
        }
        if what == "added" {
            assert_eq!(index, self.parts.len(), "content_index grows by one");
            assert!(self.parts.iter().all(|part| part.done.is_some()), "one part is open at a time");
            assert_eq!(part[field], "", "a part is opened empty");
            self.parts.push(Part { kind, text: String::new(), text_done: false, done: None });
        } else {
            let open = self.parts.get_mut(index).expect("a part that is open");
            assert!(open.text_done && open.done.is_none(), "the text is done, and then once the part");
            assert_eq!((open.kind, &part[field]), (kind, &json!(open.text)), "the part is the deltas");
            open.done = Some(part.clone());
        }
    }

    /// Text is added to a part, or complete.
    fn text(&mut self, name: &str, what: &str, body: &Value) {
        let kind = match name {
            "response.output_text" => "output_text",
            "response.refusal" => "refusal",
            "response.reasoning_text" => "reasoning_text",
            "response.reasoning_summary_text" => "summary_text",
            other => panic!("{other} inside an item"),
        };
        let part = self.parts.get_mut(part_index(body)).expect("a part that is open");
        assert_eq!(part.kind, kind, "text of the part's own kind");
        assert!(!part.text_done, "{name}.{what} after the text was done");
        if kind == "output_text" {
            assert!(body["logprobs"].is_array(), "logprobs in {body}");
        }
        if what == "delta" {
            let delta = body["delta"].as_str().expect("text");
            assert!(!delta.is_empty(), "an empty delta says nothing");
            part.text.push_str(delta);
        } else {
            let field = if kind == "refusal" { "refusal" } else { "text" };
            assert_eq!(body[field], part.text.as_str(), "the text is the deltas");
            part.text_done = true;
        }
    }
}

fn part_index(body: &Value) -> usize {
    let index = body.get("content_index").or(body.get("summary_index")).and_then(Value::as_u64);
    usize::try_from(index.expect("an index")).expect("a small one")
}

/// The text of all messages of a response object, as the SDKs put `output_text` together.
pub fn output_text(response: &Value) -> String {
    let items = response["output"].as_array().expect("an output");
    let parts = items.iter().filter(|item| item["type"] == "message").filter_map(|item| item["content"].as_array());
    parts.flatten().filter_map(|part| part["text"].as_str()).collect()
}
