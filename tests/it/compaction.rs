//! A conversation as one sealed item: by an address of its own, by an item that asks for it, and what follows it.

mod managed;

use crate::support::{Api, Value, check::text_of, json, server::Server, upstream::Manner, websocket::Socket, *};

/// What a request for a summary ends with.
const ASKED: &str = "no remark on this request";

const SUMMARY: &str = "They launch on Tuesday.";

fn history() -> Value {
    json!([
        {"role": "user", "content": "We launch on Tuesday: compacting."},
        {"role": "assistant", "content": "Understood."},
    ])
}

/// A summary of some history, as a client gets it.
async fn compacted(api: &Api) -> Value {
    let answer = api.post("/v1/responses/compact", json!({"model": "truth", "input": history()})).await.ok();
    assert_eq!(answer["object"], "response.compaction", "{answer}");
    assert!(answer["usage"]["total_tokens"].as_u64().is_some_and(|total| total > 0), "{answer}");
    let [item] = answer["output"].as_array().expect("a list").as_slice() else { panic!("{answer}") };
    assert_eq!(item["type"], "compaction");
    assert!(item["id"].as_str().is_some_and(|id| id.starts_with("cmp_")), "{item}");
    assert!(!item.to_string().contains("Tuesday"), "it is encrypted: {item}");
    item.clone()
}

async fn given() -> Given {
    let given = Given::new().await;
    let script = [
        upstream::Step::text(SUMMARY),
        upstream::Step::usage(30, 6),
        upstream::Step::Finish("stop"),
        upstream::Step::Done,
    ];
    given.upstream.on(ASKED, Behaviour::script(script));
    given
}

/// What a model was asked with last about this: its roles, and what they say.
fn asked(given: &Given, about: &str) -> Vec<String> {
    let heard = given.upstream.heard(about).pop().expect("a call");
    let said = |message: &Value| {
        format!("{}: {}", message["role"].as_str().unwrap_or_default(), message["content"].as_str().unwrap_or_default())
    };
    heard.messages().iter().map(said).collect()
}

#[tokio::test]
async fn a_summary_is_made_by_the_model_and_goes_on_as_input_also_after_a_restart() {
    let given = given().await;
    let item = compacted(&given.api).await;
    let asked_for = asked(&given, "compacting");
    assert_eq!(asked_for.len(), 3, "{asked_for:?}");
    assert!(asked_for[2].contains("summary of this conversation"), "{asked_for:?}");
    let given = given.restarted().await;
    let input = json!([item, {"role": "user", "content": "Go on: after the summary."}]);
    given.api.post("/v1/responses", json!({"model": "truth", "input": input})).await.ok();
    let asked = asked(&given, "after the summary");
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].ends_with(SUMMARY) && asked[0].contains("Summary of the conversation so far"), "{asked:?}");
    // The same over a WebSocket.
    let mut socket = Socket::open(given.server.address()).await;
    let input = json!([item, {"role": "user", "content": prompt(4, "new line")}]);
    socket.create(json!({"input": input, "store": false, "tools": []})).await;
    assert_eq!(text_of(&socket.reply().await.expect("a reply")), truth(&prompt(4, "new line")));
}

#[tokio::test]
async fn a_summary_is_opened_for_whom_it_was_made_and_as_it_was() {
    let given = given().await;
    let item = compacted(&given.api).await;
    let refused = async |api: &Api, item: Value| {
        let input = json!([{"role": "user", "content": "x"}, item]);
        let answer = api.post("/v1/responses", json!({"model": "truth", "input": input})).await;
        answer.refused(400, "invalid_value", "input[1].encrypted_content");
    };
    let mut changed = item["encrypted_content"].as_str().expect("text").to_owned();
    let last = changed.pop().expect("text");
    changed.push(if last == 'A' { 'B' } else { 'A' });
    refused(&given.api, json!({"type": "compaction", "encrypted_content": changed})).await;
    refused(&given.api, json!({"type": "compaction", "encrypted_content": "gAAAAABfromElsewhere"})).await;
    // Another server has another secret.
    let other = Server::before(&given.upstream).start().await;
    refused(&other.api(), item).await;
    given.api.post("/v1/responses/compact", json!({"input": "x"})).await.refused(
        400,
        "missing_required_parameter",
        "model",
    );
}

#[tokio::test]
async fn an_item_that_asks_for_a_summary_gets_it_in_the_stream_and_the_thread_goes_on_from_there() {
    let given = given().await;
    let first = given.reply(streamed(&prompt(5, "long ago"))).await.id;
    let input = json!([{"role": "user", "content": "compacting"}, {"type": "compaction_trigger"}]);
    let request = json!({"model": "truth", "stream": true, "input": input, "previous_response_id": first, "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}},
    ]});
    let events = given.api.stream(request).await.collect().await.into_events();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let item = &events[3].body["item"];
    assert_eq!((&item["type"], &events[2].body["item"]["encrypted_content"]), (&json!("compaction"), &json!("")));
    let response = &events[4].body["response"];
    assert_eq!(&response["output"][0], item);
    assert!(!response.to_string().contains("Tuesday"), "{response}");
    let heard = given.upstream.heard("compacting").pop().expect("a call");
    assert!(heard.body.get("tools").is_none_or(Value::is_null), "there is nothing to call");
    let id = response["id"].as_str().expect("an id");
    // Whoever comes back is told the same, sealed in the same way.
    let again = given.replay(id).await;
    assert_eq!(bodies(&again), bodies(&events));
    // What was before is not told any more.
    given.api.post("/v1/responses", with(whole("from there"), json!({"previous_response_id": id}))).await.ok();
    let asked = asked(&given, "from there");
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].ends_with(SUMMARY), "{asked:?}");
    // One that is not last is a mistake.
    let input = json!([{"type": "compaction_trigger"}, {"role": "user", "content": "x"}]);
    given.api.post("/v1/responses", json!({"model": "truth", "input": input})).await.refused(
        400,
        "invalid_value",
        "input[0]",
    );
}

#[tokio::test]
async fn a_conversation_goes_on_from_its_summary_and_keeps_its_items() {
    let given = given().await;
    let conversation = given.conversation().await;
    let say = async |input: Value| {
        given
            .api
            .post("/v1/responses", json!({"model": "truth", "input": input, "conversation": conversation}))
            .await
            .ok()
    };
    say(json!("first of all")).await;
    say(json!([{"role": "user", "content": "compacting"}, {"type": "compaction_trigger"}])).await;
    say(json!("in the same conversation")).await;
    let asked = asked(&given, "in the same conversation");
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].ends_with(SUMMARY));
    let items = given.api.get(&format!("/v1/conversations/{conversation}/items?order=asc")).await.ok();
    assert!(items.to_string().contains("first of all"), "{items}");
}

#[tokio::test]
async fn a_summary_that_was_killed_is_made_to_its_end() {
    let mut given = Given::new().await;
    given.upstream.on(ASKED, Manner::paced(30));
    let input = json!([{"role": "user", "content": prompt(40, "killed")}, {"type": "compaction_trigger"}]);
    let mut stream = given.api.stream(json!({"model": "truth", "stream": true, "input": input})).await;
    let id = stream.response_id();
    stream.read_until(|event| event.kind == "response.output_item.added").await;
    given.server.kill();
    given = given.restarted().await;
    let events = given.replay(&id).await;
    let response = &events.last().expect("events").body["response"];
    assert_eq!((&response["status"], &response["output"][0]["type"]), (&json!("completed"), &json!("compaction")));
}
