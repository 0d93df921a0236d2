//! A reply whose context is longer than its client wants it to be begins with a summary of it, and goes on from there.

use super::*;
use crate::support::{
    chat,
    follower::{Place, read_on},
    sse::Event,
};

/// More than a thousand tokens.
fn long(about: &str) -> String {
    format!("{about}: {}", "all of it matters. ".repeat(300))
}

fn managed(more: Value) -> Value {
    let management = json!([{"type": "compaction", "compact_threshold": 1000}]);
    with(json!({"model": "truth", "context_management": management}), more)
}

fn streamed_after(previous: &str, input: &str) -> Value {
    managed(json!({"stream": true, "previous_response_id": previous, "input": input}))
}

/// How often a model was asked for a summary.
fn summaries(given: &Given) -> usize {
    given.upstream.heard(ASKED).len()
}

/// What a client makes of a reply: its id, its text, and the types of its items.
async fn ask(given: &Given, body: Value) -> (String, String, Vec<String>) {
    let events = given.events(body).await;
    let response = &events.last().expect("events").body["response"];
    let types = response["output"].as_array().expect("a list").iter().map(|item| word(&item["type"])).collect();
    (word(&response["id"]), text_of(&events), types)
}

fn word(value: &Value) -> String {
    value.as_str().expect("a word").to_owned()
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

/// What a model is told of what came before: the summary, and the question word for word.
#[track_caller]
fn assert_told(asked: &[String], rest: &[&str]) {
    assert!(asked[0].ends_with(SUMMARY) && asked[0].contains("Summary of the conversation so far"), "{asked:?}");
    assert_eq!(asked[1..], rest.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), "{asked:?}");
}

#[tokio::test]
async fn a_long_context_is_summed_up_in_the_same_reply_and_later_turns_begin_there() {
    let given = given().await;
    let first = given.reply(streamed(&long("long ago"))).await.id;
    let question = prompt(3, "and now");
    let tools = json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]});
    let events = given.events(with(streamed_after(&first, &question), tools)).await;
    let told = kinds(&events);
    assert_eq!(
        told[2..6],
        [
            "response.output_item.added",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
        ]
    );
    let item = &events[3].body["item"];
    assert_eq!((&item["type"], &events[2].body["item"]["encrypted_content"]), (&json!("compaction"), &json!("")));
    assert!(item["id"].as_str().is_some_and(|id| id.starts_with("cmp_")), "{item}");
    let response = &events.last().expect("events").body["response"];
    assert_eq!((&response["output"][0], &response["output"][1]["type"]), (item, &json!("message")));
    assert_eq!(text_of(&events), truth(&question));
    assert!(!response.to_string().contains("Tuesday"), "it is encrypted: {response}");
    // The call for the summary counts.
    assert!(response["usage"]["input_tokens"].as_u64() > Some(30), "{response}");
    let heard = given.upstream.heard(ASKED).pop().expect("a call");
    assert!(heard.body.get("tools").is_none_or(Value::is_null), "there is nothing to call");
    assert_told(&asked(&given, "and now"), &[&format!("user: {question}")]);
    assert!(given.upstream.heard("and now").last().expect("a call").body["tools"].is_array());
    // Whoever comes back is told the same, and after a restart, too.
    let id = response["id"].as_str().expect("an id");
    assert_eq!(bodies(&given.replay(id).await), bodies(&events));
    let given = given.restarted().await;
    assert_eq!(bodies(&given.replay(id).await), bodies(&events));
    // What follows is short enough.
    let (_, _, types) = ask(&given, streamed_after(id, "and then")).await;
    let answer = format!("assistant: {}", truth(&question));
    assert_told(&asked(&given, "and then"), &[&answer, "user: and then"]);
    assert_eq!((summaries(&given), types), (1, vec!["message".to_owned()]));
}

#[tokio::test]
async fn a_short_context_is_left_as_it_is() {
    let given = given().await;
    let (_, text, types) = ask(&given, managed(json!({"stream": true, "input": prompt(4, "brief")}))).await;
    assert_eq!((text, types, summaries(&given)), (truth(&prompt(4, "brief")), vec!["message".to_owned()], 0));
}

#[tokio::test]
async fn a_conversation_is_summed_up_where_it_stands() {
    let given = given().await;
    let conversation = given.conversation().await;
    let say = async |input: &str| {
        let answer = given.api.post("/v1/responses", managed(json!({"input": input, "conversation": conversation})));
        answer.await.ok()
    };
    say("first of all").await;
    let long = long("the second");
    let answer = say(&long).await;
    assert_eq!((&answer["output"][0]["type"], summaries(&given)), (&json!("compaction"), 1), "{answer}");
    given.reply(json!({"model": "truth", "stream": true, "input": "third", "conversation": conversation})).await;
    let told = asked(&given, "third");
    assert_eq!((told.len(), &*told[2]), (3, "user: third"), "{told:?}");
    assert_told(&told[..1], &[]);
    let items = given.api.get(&format!("/v1/conversations/{conversation}/items?order=asc")).await.ok();
    assert!(items.to_string().contains("first of all"), "what was said before stays: {items}");
}

#[tokio::test]
async fn a_client_that_keeps_the_items_itself_may_drop_those_before_the_summary_or_send_them_all() {
    let given = given().await;
    let question = json!({"role": "user", "content": long("by itself")});
    let ask = async |input: Value| {
        given.api.post("/v1/responses", managed(json!({"input": input, "store": false}))).await.ok()
    };
    let answer = ask(json!([question])).await;
    let output = answer["output"].as_array().expect("a list").clone();
    assert_eq!((output.len(), &output[0]["type"]), (2, &json!("compaction")));
    let next = json!({"role": "user", "content": "next"});
    let all = [vec![question], output.clone(), vec![next.clone()]].concat();
    ask(all.into()).await;
    let told = asked(&given, "next");
    assert_told(&told[..1], &[]);
    ask([output, vec![next]].concat().into()).await;
    assert_eq!((asked(&given, "next"), told.len(), summaries(&given)), (told.clone(), 3, 1), "{told:?}");
}

#[tokio::test]
async fn the_calls_of_an_agent_go_into_the_summary_with_their_outputs() {
    let given = given().await;
    let call = [
        upstream::Step::call(0, Some("call_1"), Some("f"), Some("{}")),
        upstream::Step::Finish("tool_calls"),
        upstream::Step::Done,
    ];
    let done = [upstream::Step::text("Done."), upstream::Step::Finish("stop"), upstream::Step::Done];
    given.upstream.on_each("do it", [Behaviour::script(call), Behaviour::script(done)]);
    let tools = json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]});
    let first = given.reply(with(streamed("do it"), tools.clone())).await.id;
    let output = json!([{"type": "function_call_output", "call_id": "call_1", "output": long("found")}]);
    let request = with(streamed_after(&first, ""), json!({"input": output}));
    let (id, text, types) = ask(&given, with(request, tools)).await;
    assert_eq!((text.as_str(), types[0].as_str()), ("Done.", "compaction"));
    assert_told(&asked(&given, "do it"), &["user: do it"]);
    given.api.post("/v1/responses", with(whole("proceed"), json!({"previous_response_id": id}))).await.ok();
    assert_told(&asked(&given, "proceed"), &["assistant: Done.", "user: proceed"]);
}

#[tokio::test]
async fn a_reply_that_is_killed_in_its_summary_or_after_it_takes_nothing_back() {
    let mut given = Given::new().await;
    for (about, manner) in [("in the middle", Manner::paced(20)), ("right after", Manner::polite())] {
        given.upstream.on(about, manner.clone());
        given.upstream.on(ASKED, Manner::paced(20));
        let question = prompt(30, about);
        let first = given.reply(streamed(&long("first"))).await.id;
        let mut stream = given.api.stream(streamed_after(&first, &question)).await;
        let id = stream.response_id();
        let mut events = if manner.pace.is_zero() {
            stream.read_words(5).await
        } else {
            stream.read_until(|event| event.kind == "response.output_item.added").await
        };
        given.server.kill();
        read_on(&mut stream, Place::Responses, &mut events).await;
        given = given.restarted().await;
        // The pieces of a summary are not told: numbers are missing where they were.
        let last = events.last().expect("events").number;
        let path = format!("/v1/responses/{id}?stream=true&starting_after={last}");
        events.extend(given.api.follow(&path).await.collect().await.into_events());
        let output = events.last().expect("events").body["response"]["output"].as_array().expect("a list").clone();
        let types: Vec<_> = output.iter().map(|item| &item["type"]).collect();
        assert_eq!(types, ["compaction", "message"], "{about}");
        assert_eq!(text_of(&events), truth(&question), "{about}");
        assert_eq!(bodies(&given.replay(&id).await), bodies(&events), "{about}");
        // One summary was made, of what was there before.
        given
            .api
            .post("/v1/responses", with(whole(&format!("after {about}")), json!({"previous_response_id": id})))
            .await
            .ok();
        let told = asked(&given, &format!("after {about}"));
        assert!(told.len() == 3 && told[0].contains("Summary of the conversation so far"), "{told:?}");
        let summary = told[0].rsplit("\n\n").next().expect("a summary").split_whitespace();
        let numbers: Vec<_> = summary.map(|word| word[word.len() - 3..].parse::<usize>().expect("a number")).collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>(), "the summary is whole: {told:?}");
    }
}

#[tokio::test]
async fn a_summary_that_was_stopped_stands_for_nothing() {
    let given = Given::new().await;
    given.upstream.on(ASKED, Manner::paced(30));
    let first = given.reply(streamed(&long("kept"))).await.id;
    let mut stream = given.api.stream(streamed_after(&first, &prompt(60, "stopped"))).await;
    let id = stream.response_id();
    stream.read_until(|event| event.kind == "response.output_item.added").await;
    given.api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    let stopped = stream.collect().await.into_events();
    let response = &stopped.last().expect("events").body["response"];
    assert_eq!(response["output"][0]["type"], "compaction", "{response}");
    given.api.post("/v1/responses", with(whole("whatever"), json!({"previous_response_id": id}))).await.ok();
    let told = asked(&given, "whatever");
    assert!(told[0].starts_with("user: kept") && !told[told.len() - 2].contains("Summary"), "{told:?}");
    // Nor does it for whoever sends it back.
    let input =
        json!([{"role": "user", "content": "hello"}, response["output"][0], {"role": "user", "content": "again"}]);
    given.api.post("/v1/responses", managed(json!({"input": input}))).await.ok();
    assert_eq!(asked(&given, "again"), ["user: hello\n\nagain"]);
}

#[tokio::test]
async fn at_every_door_the_text_is_that_of_the_message() {
    let given = given().await;
    let first = given.reply(streamed(&long("first"))).await.id;
    let question = prompt(12, "every door");
    let (id, ..) = ask(&given, streamed_after(&first, &question)).await;
    let completion = id.replace("resp_", "chatcmpl-");
    let path = format!("/v1/chat/completions/{completion}");
    let whole = given.api.get(&path).await.ok();
    assert_eq!(whole["choices"][0]["message"]["content"], truth(&question));
    let chunks = chat::ended(given.api.follow(&format!("{path}?stream=true")).await.collect().await);
    assert_eq!(chunks.iter().map(chat::Chunk::content).collect::<String>(), truth(&question));
    let plain = given.api.clone().header("accept", "text/plain");
    let plain = plain.get(&format!("/v1/responses/{id}?stream=true")).await;
    assert_eq!(String::from_utf8_lossy(&plain.body), truth(&question));
    // Over a WebSocket also where nothing is stored, and in a chat.
    let mut socket = Socket::open(given.server.address()).await;
    let mut say = async |more: Value| {
        socket.create(managed(with(json!({"store": false}), more))).await;
        socket.reply().await.expect("a reply")
    };
    let events = say(json!({"input": long("held")})).await;
    let held = events[0].body["response"]["id"].clone();
    assert_eq!(events.last().expect("events").body["response"]["output"][0]["type"], "compaction");
    say(json!({"input": "on the same socket", "previous_response_id": held})).await;
    let told = asked(&given, "on the same socket");
    assert_eq!((told.len(), &*told[2]), (3, "user: on the same socket"), "{told:?}");
    assert_told(&told[..1], &[]);
    let question = long("in a chat");
    let message = json!({"id": "m", "role": "user", "parts": [{"type": "text", "text": question}]});
    let turn = managed(json!({"id": "chat", "messages": [message], "trigger": "submit-message"}));
    let summaries_before = summaries(&given);
    let stream = given.api.try_open(hyper::Method::POST, "/api/chat", turn.to_string()).await.expect("a server");
    let frames = stream.collect().await.frames;
    let deltas: Vec<Value> = frames.iter().filter_map(|frame| serde_json::from_str(&frame.data).ok()).collect();
    let text: String = deltas.iter().filter_map(|chunk| chunk["delta"].as_str()).collect();
    assert!(!text.contains(SUMMARY) && !text.is_empty(), "{text}");
    assert_eq!(summaries(&given), summaries_before + 1);
}
