//! What model servers in the wild send, kind by kind, through the real server. The rows are data: `tests/it/upstreams/`
//! holds a file for each kind, and `cases/` whole answers as they were reported.
//!
//! A row lists the upstream's answers (one for each call in turn; the last answer stays), the resulting reply, and how
//! often the upstream was called. In a stream, an object with `delta` or `finish` stands for a chunk, any other object
//! is data as it is, and so is a text, unless it begins with `raw:`: then it is the bytes themselves.

use std::{collections::BTreeMap, path::Path};

use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde::Deserialize;

use crate::support::{upstream::Step, *};

/// Variables of a server's environment: the rows that have the same share a server.
type Settings = Vec<(String, String)>;

/// Rows at once.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    /// Where it was reported.
    #[serde(default)]
    #[allow(dead_code, reason = "for readers of the table")]
    source: String,
    #[serde(default)]
    request: BTreeMap<String, Value>,
    /// Variables of the server's environment.
    #[serde(default)]
    set: BTreeMap<String, String>,
    answers: Vec<Sent>,
    reply: Reply,
    #[serde(default = "one")]
    asked: usize,
    /// Fields of the last request that the upstream got; null: it is not there.
    #[serde(default)]
    sent: BTreeMap<String, Value>,
}

/// What the upstream answers.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sent {
    Stream(Vec<Value>),
    /// A body under 200 that is no stream.
    Body(Value),
    /// A status and a body.
    Status(u16, Value),
    /// A file in `cases/`.
    Case(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    #[serde(default = "completed")]
    status: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    thoughts: String,
    /// Name, id (null: any) and arguments.
    #[serde(default)]
    calls: Vec<(String, Option<String>, Value)>,
    /// The code of the error.
    error: Option<String>,
    /// A part of its message.
    says: Option<String>,
    /// Why it is incomplete.
    reason: Option<String>,
    /// Fields of its usage, by their paths.
    #[serde(default)]
    usage: BTreeMap<String, Value>,
    /// Items of the output, if they are not just these.
    items: Option<usize>,
}

fn one() -> usize {
    1
}

fn completed() -> String {
    "completed".to_owned()
}

fn rows(kind: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/upstreams").join(kind).with_extension("json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Sent {
    fn behaviour(&self) -> Behaviour {
        let text = |body: &Value| body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        match self {
            Self::Stream(events) => Behaviour::script([Step::Raw(events.iter().map(event).collect())]),
            Self::Body(body) => Behaviour::Status { status: 200, headers: Vec::new(), body: text(body) },
            Self::Status(status, body) => Behaviour::Status { status: *status, headers: Vec::new(), body: text(body) },
            Self::Case(name) => {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/upstreams/cases").join(name);
                let raw = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let (head, body) = raw.split_once("\r\n\r\n").expect("a head and a body");
                match head.split(' ').nth(1).and_then(|status| status.parse().ok()) {
                    Some(200) => Behaviour::script([Step::Raw(body.to_owned())]),
                    status => {
                        let status = status.expect("a status");
                        Behaviour::Status { status, headers: Vec::new(), body: body.to_owned() }
                    }
                }
            }
        }
    }
}

/// The bytes of one entry of a stream.
fn event(entry: &Value) -> String {
    let chunk = |choice: Value| {
        let mut choice = choice;
        choice["index"] = 0.into();
        format!("data: {}\n\n", json!({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}))
    };
    match entry {
        Value::String(text) => text.strip_prefix("raw:").map_or_else(|| format!("data: {text}\n\n"), str::to_owned),
        entry if entry.get("delta").is_some() => chunk(json!({"delta": entry["delta"], "finish_reason": null})),
        entry if entry.get("finish").is_some() => chunk(json!({"delta": {}, "finish_reason": entry["finish"]})),
        // So many characters in one piece of text.
        entry if entry.get("long").is_some() => {
            let length = usize::try_from(entry["long"].as_u64().expect("a length")).expect("a length");
            chunk(json!({"delta": {"content": "x".repeat(length)}, "finish_reason": null}))
        }
        entry => format!("data: {entry}\n\n"),
    }
}

/// What is wrong with the reply to a row; empty: nothing.
async fn try_out(given: &Given, kind: &str, number: usize, row: &Row) -> Vec<String> {
    let about = format!("<{kind}-{number}>");
    given.upstream.on_each(&about, row.answers.iter().map(Sent::behaviour));
    let mut request = streamed(&about);
    request.as_object_mut().expect("an object").extend(row.request.clone());
    let reply = check_reply(&given.events(request).await);
    let stored = given.api.get(&format!("/v1/responses/{}", reply.id)).await.ok();
    let heard = given.upstream.heard(&about);
    let mut wrong = Vec::new();
    let mut same = |what: &str, found: Value, wanted: Value| {
        if found != wanted {
            wrong.push(format!("{kind}: {}: {what} is {found}, not {wanted}", row.name));
        }
    };
    let items = |kind: &str| reply.output.iter().filter(|item| item["type"] == kind).cloned().collect::<Vec<_>>();
    let parts = |item: &Value| {
        let parts = [item["content"].as_array(), item["summary"].as_array()].into_iter().flatten().flatten();
        parts.filter_map(|part| part["text"].as_str().or(part["refusal"].as_str())).collect::<String>()
    };
    let text: String = items("message").iter().map(parts).collect();
    let thoughts: String = items("reasoning").iter().map(parts).collect();
    let wanted_text = row
        .reply
        .text
        .strip_prefix("x*")
        .map_or_else(|| row.reply.text.clone(), |length| "x".repeat(length.parse().expect("a length")));
    same("its status", reply.status.clone().into(), row.reply.status.clone().into());
    same("its text", text.into(), wanted_text.into());
    same("its thoughts", thoughts.into(), row.reply.thoughts.clone().into());
    let read = |arguments: &str| serde_json::from_str(arguments).unwrap_or_else(|_| Value::from(arguments));
    let calls = items("function_call");
    let found: Vec<Value> = calls
        .iter()
        .zip(row.reply.calls.iter().map(Some).chain(std::iter::repeat(None)))
        .map(|(call, wanted)| {
            let id =
                if wanted.is_some_and(|wanted| wanted.1.is_none()) { Value::Null } else { call["call_id"].clone() };
            json!([call["name"], id, read(call["arguments"].as_str().expect("text"))])
        })
        .collect();
    same("its calls", found.into(), json!(row.reply.calls));
    same("how often it was asked", heard.len().into(), row.asked.into());
    if let Some(code) = &row.reply.error {
        same("its error", reply.response["error"]["code"].clone(), code.clone().into());
    }
    if let Some(part) = &row.reply.says {
        let message = reply.response["error"]["message"].as_str().unwrap_or_default();
        same(&format!("{message:?} says {part:?}"), message.contains(part.as_str()).into(), true.into());
    }
    if let Some(reason) = &row.reply.reason {
        same("its reason", reply.response["incomplete_details"]["reason"].clone(), reason.clone().into());
    }
    if let Some(items) = row.reply.items {
        same("the number of its items", reply.output.len().into(), items.into());
    }
    for (field, wanted) in &row.reply.usage {
        let usage = &reply.response["usage"];
        same(field, usage.pointer(&format!("/{field}")).cloned().unwrap_or_default(), wanted.clone());
    }
    for (field, wanted) in &row.sent {
        let last = heard.last().map_or(Value::Null, |heard| heard.body.clone());
        same(field, last.pointer(&format!("/{field}")).cloned().unwrap_or_default(), wanted.clone());
    }
    same("what is stored", stored, reply.response.clone());
    wrong
}

async fn every_row_of(kind: &str) {
    let mut servers: BTreeMap<Settings, Vec<(usize, Row)>> = BTreeMap::new();
    for (number, row) in rows(kind).into_iter().enumerate() {
        servers.entry(row.set.clone().into_iter().collect()).or_default().push((number, row));
    }
    let mut wrong = Vec::new();
    for (set, rows) in servers {
        let given =
            Given::with(|config| set.iter().fold(config, |config, (name, value)| config.env(name, value))).await;
        let tries = rows.iter().map(|(number, row)| try_out(&given, kind, *number, row));
        wrong.extend(Box::pin(stream::iter(tries).buffered(AT_ONCE).collect::<Vec<_>>()).await.concat());
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! kinds {
    ($($test:ident: $kind:literal),* $(,)?) => {
        $(#[tokio::test]
        async fn $test() {
            every_row_of($kind).await;
        })*
    };
}

kinds! {
    fields_of_another_type_end_no_reply: "types",
    pieces_of_calls_come_in_any_order: "calls",
    arguments_are_heard_once: "arguments",
    a_message_after_its_deltas_is_heard_once: "message",
    data_that_is_no_chunk_is_no_failure: "data",
    streams_are_parted_as_servers_part_them: "separators",
    halves_of_characters_are_joined: "halves",
    ends_are_recognised_by_their_words: "ends",
    errors_under_200_are_failures: "errors",
    thoughts_are_separated: "thoughts",
    json_comes_without_its_fence: "fences",
    the_limit_is_sent_by_the_name_that_is_taken: "limit",
    calls_in_the_text_are_calls: "written",
    usage_is_counted_in_all_its_words: "usage",
    refusals_are_sorted_by_cause: "refusals",
}

/// The whole cases, as they were reported.
#[tokio::test]
async fn every_case_as_it_was_reported() {
    every_row_of("cases").await;
}

#[tokio::test]
async fn arguments_that_are_no_json_do_not_end_a_conversation() {
    let given = Given::new().await;
    let broken = "{\"city\": \"He said \"hi\" there\"}";
    given.upstream.on_each(
        "poison",
        [
            Sent::Case("04-broken-arguments-poison-1-upstream.raw".to_owned()).behaviour(),
            Sent::Stream(vec![json!({"delta": {"content": "So be it."}}), json!({"finish": "stop"}), json!("[DONE]")])
                .behaviour(),
        ],
    );
    let conversation = given.conversation().await;
    let tools = json!([{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}]);
    let first = given.reply(with(streamed("poison"), json!({"conversation": conversation, "tools": tools}))).await;
    assert_eq!(
        (first.status.as_str(), &first.output[0]["arguments"]),
        ("completed", &json!(broken)),
        "it stays as it is"
    );
    for _ in 0..2 {
        let output = json!([{"type": "function_call_output", "call_id": "call_1", "output": "no valid JSON"}]);
        let more = if given.upstream.heard("poison").len() == 1 { output } else { json!("and poison now?") };
        let again =
            given.reply(json!({"model": "truth", "stream": true, "conversation": conversation, "input": more})).await;
        assert_eq!((again.status.as_str(), again.text.as_str()), ("completed", "So be it."));
        let asked = given.upstream.heard("poison");
        let sent = &asked.last().expect("it was asked").messages()[1]["tool_calls"][0]["function"];
        assert_eq!(sent["arguments"], "{}");
    }
}

#[tokio::test]
async fn a_request_with_half_a_character_is_taken() {
    let given = Given::new().await;
    given.upstream.on("hi", Behaviour::script([Step::text("Hello"), Step::Finish("stop"), Step::Done]));
    let body = r#"{"model":"truth","input":"hi \ud83d there"}"#;
    let answer = given.api.call(Method::POST, "/v1/responses", body.to_owned()).await.ok();
    assert_eq!(answer["status"], "completed");
    assert_eq!(given.upstream.heard("hi")[0].messages()[0]["content"], "hi \u{fffd} there");
}

#[tokio::test]
async fn what_is_not_understood_is_counted_and_its_text_is_not_logged() {
    let given = Given::new().await;
    let events = vec![
        json!("7"),
        json!({"delta": {"tool_calls": ["secret words"], "content": "Hi"}}),
        json!({"finish": "bananas"}),
    ];
    given.upstream.on("odd", Sent::Stream(events).behaviour());
    let reply = given.reply(streamed("odd")).await;
    assert_eq!((reply.status.as_str(), reply.text.as_str()), ("completed", "Hi"));
    let answer = given.api.get("/metrics").await;
    let metrics = answer.text();
    for piece in ["event", "call", "reason"] {
        let line = format!("rejoinder_upstream_unread_total{{service=\"llm\",piece=\"{piece}\"}} 1");
        assert!(metrics.lines().any(|other| other == line), "{line}\nis not in\n{metrics}");
    }
}
