//! A log and a store that an older build wrote are read: what ended is the same event by event, what was running when that
//! build was killed goes on, what was deleted stays deleted.
//!
//! `tests/it/older_build/` holds what was written, and what that build told its clients of it. To write it anew with
//! another build: `REJOINDER_BIN=… cargo test --test it -- --ignored an_older_build_writes`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Map;

use crate::support::{
    nats::Nats,
    server::{Config, Server},
    sse::as_event,
    upstream::{Break, Manner},
    *,
};

/// As long as a log can keep its records: they are old when this is tested.
const FOR_EVER: &str = "36500d";

/// Words of the reply that was running, and those of them that clients had seen: enough for a snapshot.
const RUNNING: (usize, usize) = (120, 90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embedded,
    JetStream,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::JetStream => "jetstream",
        }
    }

    fn fixture(self, extension: &str) -> PathBuf {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/older_build");
        directory.join(format!("{}.{extension}", self.name()))
    }

    fn running(self) -> String {
        prompt(RUNNING.0, &format!("what runs on {}", self.name()))
    }
}

/// The configuration of a server that keeps for ever what is in the log.
fn config(upstream: &Upstream, nats: Option<&Nats>) -> Config {
    let config = ["LOG_RETENTION", "REPLAY_WINDOW"]
        .iter()
        .fold(Server::before(upstream), |config, name| config.env(name, FOR_EVER));
    let config = config.env("REPLY_DEADLINE", "36499d").env("LLM_TOTAL_TIMEOUT", FOR_EVER);
    match nats {
        Some(nats) => config.env("NATS_URL", &nats.url),
        None => config,
    }
}

fn tar(arguments: &[&str], archive: &Path, directory: &Path) {
    let ran = Command::new("tar").args(arguments).arg("-f").arg(archive).arg("-C").arg(directory).arg(".").status();
    assert!(ran.expect("tar").success());
}

/// The events of a stored reply, as JSON.
async fn events(api: &Api, id: &str) -> Vec<Value> {
    let collected = api.follow(&format!("/v1/responses/{id}?stream=true")).await.collect().await;
    collected.into_events().into_iter().map(|event| event.body).collect()
}

/// What clients are told of what has ended.
async fn told(api: &Api, replies: &[String], conversation: &str) -> Value {
    let mut told = Map::new();
    for id in replies {
        let response = api.get(&format!("/v1/responses/{id}")).await.ok();
        let input = api.get(&format!("/v1/responses/{id}/input_items")).await.ok();
        told.insert(id.clone(), json!({"response": response, "input": input, "events": events(api, id).await}));
    }
    let items = conversation_items(api, conversation).await;
    let metadata = api.get(&format!("/v1/conversations/{conversation}")).await.ok();
    json!({"replies": told, "conversation": metadata, "items": items})
}

fn id(made: &Value) -> String {
    made["id"].as_str().expect("an id").to_owned()
}

/// Writes what the tests read, and stops in the middle of a reply.
async fn write(kind: Kind) {
    let upstream = Upstream::start().await;
    upstream.on("what runs", Manner::paced(10).breaking(RUNNING.1, Break::Silent));
    upstream.on("what is cancelled", Manner::polite().breaking(8, Break::Silent));
    let mut nats = match kind {
        Kind::Embedded => None,
        Kind::JetStream => Some(Nats::start().await),
    };
    let server = config(&upstream, nats.as_ref()).start().await;
    let api = server.api();

    let alone = id(&api.post("/v1/responses", whole(&prompt(30, "a reply alone"))).await.ok());
    let next = with(whole("And then?"), json!({"previous_response_id": alone, "background": true}));
    let next = id(&api.post("/v1/responses", next).await.ok());
    server.poll(&format!("/v1/responses/{next}"), |answer| answer.json()["status"] == "completed").await;

    let image = format!("data:image/png;base64,{}", "aW1hZ2U".repeat(12_000));
    let input = json!([{"role": "user", "content": [
        {"type": "input_text", "text": prompt(9, "a blob")}, {"type": "input_image", "image_url": image, "detail": "auto"},
    ]}]);
    let blob = id(&api.post("/v1/responses", json!({"model": "truth", "input": input})).await.ok());

    let item = json!({"role": "user", "content": "An item of its own."});
    let made = json!({"items": [item, item], "metadata": {"kind": kind.name()}});
    let conversation = id(&api.post("/v1/conversations", made).await.ok());
    let within = |prompt: &str| with(whole(prompt), json!({"conversation": conversation, "metadata": {"n": "1"}}));
    let turn = id(&api.post("/v1/responses", within(&prompt(20, "a turn"))).await.ok());
    let item = id(&conversation_items(&api, &conversation).await[1]);
    api.delete(&format!("/v1/conversations/{conversation}/items/{item}")).await.ok();

    let mut stream = api.stream(streamed(&prompt(40, "what is cancelled"))).await;
    let cancelled = stream.response_id();
    stream.read_words(6).await;
    api.post(&format!("/v1/responses/{cancelled}/cancel"), json!({})).await.ok();

    let deleted = id(&api.post("/v1/responses", whole(&prompt(12, "what is deleted"))).await.ok());
    api.delete(&format!("/v1/responses/{deleted}")).await.ok();
    let gone = id(&api.post("/v1/conversations", json!({"items": [{"role": "user", "content": "Gone."}]})).await.ok());
    api.delete(&format!("/v1/conversations/{gone}")).await.ok();

    let replies = [alone, next, blob, turn, cancelled];
    let ended = told(&api, &replies, &conversation).await;
    server.poll("/healthz", |answer| answer.json()["store"]["lag_records"] == 0).await;

    let mut stream = api.stream(with(streamed(&kind.running()), json!({"conversation": conversation}))).await;
    let running = stream.response_id();
    let seen: Vec<_> = stream.read_words(RUNNING.1 - 1).await.into_iter().map(|event| event.body).collect();
    let stopped = server.stop();
    if let Some(nats) = &mut nats {
        nats.kill();
        tar(&["-cz", "--exclude=*.ports"], &kind.fixture("nats.tar.gz"), nats.directory());
    }
    tar(&["-cz"], &kind.fixture("tar.gz"), stopped.data_dir());
    let told = json!({
        "ended": ended, "deleted": deleted, "gone": gone, "running": running, "seen": seen, "conversation": conversation,
    });
    std::fs::write(kind.fixture("json"), serde_json::to_string(&told).expect("JSON")).expect("written");
}

#[tokio::test]
#[ignore = "writes the files that the other tests here read, with the build that REJOINDER_BIN names"]
async fn an_older_build_writes() {
    std::fs::create_dir_all(Kind::Embedded.fixture("json").parent().expect("a directory")).expect("made");
    write(Kind::Embedded).await;
    write(Kind::JetStream).await;
}

/// What the older build told its clients.
fn expected(kind: Kind) -> Value {
    serde_json::from_slice(&std::fs::read(kind.fixture("json")).expect("what was told")).expect("JSON")
}

fn field(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// Fields of a response that the older build did not have yet.
const NEWER: [&str; 2] = ["frequency_penalty", "presence_penalty"];

/// An answer as the older build would have given it: a client of it does not miss what is new.
fn as_before(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !NEWER.contains(&name.as_str()));
            // It gave a reason that the SDKs' types do not know.
            if fields.get("status").is_some_and(|status| status == "cancelled")
                && let Some(details @ Value::Null) = fields.get_mut("incomplete_details")
            {
                *details = json!({"reason": "cancelled"});
            }
            fields.values_mut().for_each(|field| *field = as_before(field.take()));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = as_before(value.take())),
        _ => {}
    }
    value
}

/// That clients are told the same of what has ended, and nothing of what was deleted.
async fn the_same(api: &Api, expected: &Value) {
    let ended = &expected["ended"];
    let replies: Vec<_> = ended["replies"].as_object().expect("replies").keys().cloned().collect();
    let conversation = field(expected, "conversation");
    let told = as_before(told(api, &replies, &conversation).await);
    for id in &replies {
        for what in ["response", "input", "events"] {
            assert_eq!(told["replies"][id][what], ended["replies"][id][what], "{what} of {id}");
        }
    }
    assert_eq!(told["conversation"], ended["conversation"]);
    // The reply that was running added to it.
    let items = ended["items"].as_array().expect("items");
    assert_eq!(told["items"].as_array().expect("items")[..items.len()], items[..]);
    api.get(&format!("/v1/responses/{}", field(expected, "deleted"))).await.unknown("response_id");
    api.get(&format!("/v1/conversations/{}", field(expected, "gone"))).await.unknown("conversation_id");
}

/// That the reply that was running goes on from what its client has seen, and the conversation with it.
async fn goes_on(kind: Kind, api: &Api, expected: &Value) {
    let (running, conversation) = (field(expected, "running"), field(expected, "conversation"));
    let seen = expected["seen"].as_array().expect("events");
    let number = seen.last().and_then(|event| event["sequence_number"].as_u64()).expect("a number");
    let rest = until("the reply to be rejoined", async || {
        let path = format!("/v1/responses/{running}?stream=true&starting_after={number}");
        let events = api.try_open(hyper::Method::GET, &path, String::new()).await.ok()?;
        (events.status == 200).then_some(events)
    });
    let rest = rest.await.collect().await.into_events();
    assert_eq!(rest.first().map(|event| event.number), Some(number + 1), "from where it left off");
    let all = events(api, &running).await;
    let again: Vec<_> = all[..seen.len()].iter().cloned().map(as_before).collect();
    assert_eq!(again[..], seen[..], "what was seen is not taken back");
    assert_eq!(all[seen.len()..], rest.into_iter().map(|event| event.body).collect::<Vec<_>>());
    let frames = api.follow(&format!("/v1/responses/{running}/events")).await.collect().await.frames;
    let reply = check_reply(&frames.iter().map(as_event).collect::<Vec<_>>());
    assert_eq!((reply.status.as_str(), reply.text), ("completed", truth(&kind.running())));
    let next = with(whole("And now?"), json!({"conversation": conversation}));
    assert_eq!(api.post("/v1/responses", next).await.ok()["status"], "completed");
}

/// Runs this build on what the older one left.
async fn reads(kind: Kind) {
    let expected = expected(kind);
    let upstream = Upstream::start().await;
    let nats = match kind {
        Kind::Embedded => None,
        Kind::JetStream => Some(Nats::on(|directory| tar(&["-xz"], &kind.fixture("nats.tar.gz"), directory)).await),
    };
    let config = config(&upstream, nats.as_ref());
    tar(&["-xz"], &kind.fixture("tar.gz"), config.data_dir());
    let server = config.start().await;
    goes_on(kind, &server.api(), &expected).await;
    the_same(&server.api(), &expected).await;
    // Also from what this build made of it.
    let server = server.restart().await;
    the_same(&server.api(), &expected).await;
}

#[tokio::test]
async fn what_an_older_build_wrote_into_its_own_log_is_rejoined() {
    reads(Kind::Embedded).await;
}

#[tokio::test]
async fn what_an_older_build_wrote_into_nats_is_rejoined() {
    reads(Kind::JetStream).await;
}

/// Runs this build on what the older one left, without its log or without its store.
async fn reads_without(remove: impl FnOnce(&Path)) {
    let upstream = Upstream::start().await;
    let config = config(&upstream, None);
    tar(&["-xz"], &Kind::Embedded.fixture("tar.gz"), config.data_dir());
    remove(&config.data_dir().join("data"));
    let server = config.start().await;
    the_same(&server.api(), &expected(Kind::Embedded)).await;
}

#[tokio::test]
async fn what_an_older_build_wrote_into_its_store_is_read_without_the_log() {
    reads_without(|data| std::fs::remove_dir_all(data.join("log")).expect("the log")).await;
}

#[tokio::test]
async fn what_an_older_build_wrote_into_its_own_log_is_read_without_the_store() {
    let is_store = |path: &PathBuf| path.to_string_lossy().contains("rejoinder.db");
    reads_without(|data| {
        let files = std::fs::read_dir(data).expect("a directory").flatten().map(|entry| entry.path());
        files.filter(is_store).for_each(|path| std::fs::remove_file(path).expect("a file of the store"));
    })
    .await;
}
