//! The door of the AI SDK: turns of a chat as UI message streams, resumed, stopped, given again. What the SDK itself makes
//! of them is tried in `clients/`.

use hyper::Method;

use crate::support::{
    check::text_of,
    sse::{End, Events, Frame},
    upstream::{Manner, Step},
    *,
};

const PATH: &str = "/api/chat";

fn message(id: &str, text: &str) -> Value {
    json!({"id": id, "role": "user", "parts": [{"type": "text", "text": text}]})
}

fn turn(chat: &str, messages: &[Value]) -> Value {
    json!({"id": chat, "messages": messages, "trigger": "submit-message"})
}

async fn open(api: &Api, body: Value) -> Events {
    let events = api.try_open(Method::POST, PATH, body.to_string()).await.expect("a server");
    assert_eq!(events.status, 200);
    events
}

fn chunk(frame: &Frame) -> Value {
    serde_json::from_str(&frame.data).unwrap_or_else(|error| panic!("{error} in {}", frame.data))
}

/// What a stream says to its end, which is a clean one.
async fn chunks(events: Events) -> Vec<Value> {
    let mut collected = events.collect().await;
    assert_eq!(collected.end, End::Clean, "after {:#?}", collected.frames);
    assert_eq!(collected.frames.pop().expect("a stream says something").data, "[DONE]");
    collected.frames.iter().map(chunk).collect()
}

fn of_kind<'a>(chunks: &'a [Value], kind: &str) -> Vec<&'a Value> {
    chunks.iter().filter(|chunk| chunk["type"] == kind).collect()
}

fn text(chunks: &[Value]) -> String {
    of_kind(chunks, "text-delta").iter().map(|chunk| chunk["delta"].as_str().expect("text")).collect()
}

/// The message that a client makes of a turn of text.
fn answer(chunks: &[Value]) -> Value {
    let start = of_kind(chunks, "text-start")[0];
    let part = json!({"type": "text", "text": text(chunks), "providerMetadata": start["providerMetadata"]});
    json!({"id": chunks[0]["messageId"], "role": "assistant", "parts": [{"type": "step-start"}, part]})
}

/// Reads on until so many words have come; gives what was said, and the number of the last event.
async fn read_words(events: &mut Events, words: usize) -> (Vec<Value>, u64) {
    let (mut seen, mut last) = (Vec::new(), None);
    while text(&seen).split_whitespace().count() < words {
        let frame = events.next().await.expect("more chunks");
        last = frame.id.as_ref().map(|id| id.parse().expect("a number")).or(last);
        seen.push(chunk(&frame));
    }
    (seen, last.expect("a number"))
}

/// The stream of what runs in a chat. `None`: nothing does.
async fn resumed(api: &Api, chat: &str) -> Option<Events> {
    let path = format!("{PATH}/{chat}/stream");
    let events = api.try_open(Method::GET, &path, String::new()).await.expect("a server");
    match events.status.as_u16() {
        204 => None,
        status => {
            assert_eq!(status, 200);
            Some(events)
        }
    }
}

/// What a model was asked with, of the call whose last prompt is about this.
fn asked(given: &Given, about: &str) -> Vec<Value> {
    let heard = given.upstream.heard(about).pop().expect("a call");
    heard.body["messages"].as_array().expect("messages").iter().map(|message| message["content"].clone()).collect()
}

#[tokio::test]
async fn a_second_turn_follows_the_first_and_sends_only_what_is_new() {
    let given = Given::new().await;
    let (first, second) = (prompt(20, "one"), prompt(8, "two"));
    let events = open(&given.api, turn("c", &[message("u1", &first)])).await;
    assert_eq!(events.headers["x-vercel-ai-ui-message-stream"], "v1");
    assert_eq!(events.headers["content-type"], "text/event-stream; charset=utf-8");
    let reply = events.response_id();
    let said = chunks(events).await;
    assert_eq!(text(&said), truth(&first));
    assert_eq!((&said[0]["type"], &said[0]["messageId"]), (&json!("start"), &json!(reply)));
    assert_eq!(said.last().expect("a chunk"), &json!({"type": "finish", "finishReason": "stop"}));
    // What the client changed of it does not count: the reply is in the log.
    let mut known = answer(&said);
    known["parts"][1]["text"] = "changed".into();
    let next = open(&given.api, turn("c", &[message("u1", "changed, too"), known, message("u2", &second)])).await;
    let next_reply = next.response_id();
    assert_eq!(text(&chunks(next).await), truth(&second));
    assert_eq!(asked(&given, "two"), [first.clone(), truth(&first), second.clone()]);
    let stored = given.api.get(&format!("/v1/responses/{next_reply}")).await.ok();
    assert_eq!(stored["previous_response_id"], reply.as_str());
    let input = given.api.get(&format!("/v1/responses/{next_reply}/input_items")).await.ok();
    assert_eq!(input["data"].as_array().map(Vec::len), Some(1), "{input}");
}

#[tokio::test]
async fn outputs_of_calls_go_on_with_the_message() {
    let given = Given::new().await;
    given.upstream.on(
        "calling",
        Behaviour::script([
            Step::call(0, Some("call_1"), Some("look"), Some("{\"at\":\"sky\"}")),
            Step::Finish("tool_calls"),
            Step::Done,
        ]),
    );
    let tools = json!([{"type": "function", "name": "look", "parameters": {"type": "object"}}]);
    let first = message("u1", &prompt(5, "calling"));
    let said =
        chunks(open(&given.api, with(turn("c", std::slice::from_ref(&first)), json!({"tools": tools}))).await).await;
    let call = of_kind(&said, "tool-input-available")[0];
    assert_eq!((&call["toolCallId"], &call["input"]), (&json!("call_1"), &json!({"at": "sky"})));
    assert_eq!(said.last().expect("a chunk")["finishReason"], "tool-calls");
    let part = json!({
        "type": "tool-look", "toolCallId": "call_1", "state": "output-available", "input": call["input"],
        "output": {"colour": "blue"}, "callProviderMetadata": call["providerMetadata"],
    });
    let known = json!({"id": said[0]["messageId"], "role": "assistant", "parts": [{"type": "step-start"}, part]});
    given.upstream.on("calling", Behaviour::script([Step::text("Blue."), Step::Finish("stop"), Step::Done]));
    let events = open(&given.api, with(turn("c", &[first, known]), json!({"tools": tools}))).await;
    let reply = events.response_id();
    let next = chunks(events).await;
    assert_eq!((text(&next), &next[0]["messageId"]), ("Blue.".to_owned(), &said[0]["messageId"]));
    assert_ne!(next[0]["messageId"], reply.as_str(), "the message is the client's, the reply another");
    let heard = given.upstream.heard("calling").pop().expect("a call");
    let last = heard.body["messages"].as_array().and_then(|messages| messages.last()).expect("a message").clone();
    assert_eq!((&last["role"], &last["content"]), (&json!("tool"), &json!("{\"colour\":\"blue\"}")));
}

#[tokio::test]
async fn a_turn_is_given_again_without_the_answer_before() {
    let given = Given::new().await;
    let (first, second) = (prompt(6, "one"), prompt(7, "again"));
    let said = chunks(open(&given.api, turn("c", &[message("u1", &first)])).await).await;
    let messages = [message("u1", &first), answer(&said), message("u2", &second)];
    chunks(open(&given.api, turn("c", &messages)).await).await;
    let again = with(turn("c", &messages), json!({"trigger": "regenerate-message"}));
    chunks(open(&given.api, again).await).await;
    assert_eq!(asked(&given, "again"), [first.clone(), truth(&first), second.clone()]);
    // The same of a client that sends the last message alone.
    let alone = json!({"id": "c", "message": message("u2", &second), "trigger": "regenerate-message"});
    chunks(open(&given.api, alone).await).await;
    assert_eq!(asked(&given, "again"), [first.clone(), truth(&first), second.clone()]);
    let third = prompt(4, "third");
    let alone = json!({"id": "c", "message": message("u3", &third)});
    chunks(open(&given.api, alone).await).await;
    assert_eq!(asked(&given, "third"), [first.clone(), truth(&first), second.clone(), truth(&second), third]);
}

#[tokio::test]
async fn a_chat_is_resumed_from_the_start_while_its_reply_runs_also_after_a_kill() {
    let mut given = Given::new().await;
    given.upstream.on("resuming", Manner::paced(10));
    assert!(resumed(&given.api, "c").await.is_none(), "there is no chat yet");
    let prompt = prompt(40, "resuming");
    let mut events = open(&given.api, turn("c", &[message("u1", &prompt)])).await;
    let reply = events.response_id();
    read_words(&mut events, 5).await;
    drop(events);
    let mut again = resumed(&given.api, "c").await.expect("it runs");
    assert_eq!(again.response_id(), reply);
    let (seen, _) = read_words(&mut again, 7).await;
    assert_eq!(seen[0], json!({"type": "start", "messageId": reply}));
    assert!(truth(&prompt).starts_with(&text(&seen)));
    given.server.kill();
    given = given.restarted().await;
    let whole = chunks(resumed(&given.api, "c").await.expect("it goes on")).await;
    assert_eq!((text(&whole), &whole[0]["messageId"]), (truth(&prompt), &json!(reply)));
    assert!(resumed(&given.api, "c").await.is_none(), "nothing runs any more");
}

#[tokio::test]
async fn a_chat_is_stopped_by_a_request_of_its_own_and_keeps_what_was_said() {
    let given = Given::new().await;
    given.upstream.on("stopping", Manner::paced(20));
    let first = message("u1", &prompt(200, "stopping"));
    let mut events = open(&given.api, turn("c", std::slice::from_ref(&first))).await;
    let (mut seen, _) = read_words(&mut events, 3).await;
    let stopped = given.api.post(&format!("{PATH}/c/stop"), json!({"assistantMessage": null})).await.ok();
    assert_eq!(stopped, json!({"success": true}));
    seen.extend(chunks(events).await);
    assert_eq!(seen.last().expect("a chunk")["type"], "abort");
    assert!(resumed(&given.api, "c").await.is_none());
    given.api.post(&format!("{PATH}/c/stop"), json!({})).await.ok();
    let second = prompt(4, "after");
    chunks(open(&given.api, turn("c", &[first.clone(), answer(&seen), message("u2", &second)])).await).await;
    assert_eq!(asked(&given, "after")[1], text(&seen), "the model is told what was said");
}

#[tokio::test]
async fn a_new_turn_stops_the_one_that_still_runs() {
    let given = Given::new().await;
    given.upstream.on("running", Manner::paced(20));
    let first = message("u1", &prompt(200, "running"));
    let mut events = open(&given.api, turn("c", std::slice::from_ref(&first))).await;
    let reply = events.response_id();
    let (seen, _) = read_words(&mut events, 3).await;
    drop(events);
    let second = prompt(4, "next");
    let next = open(&given.api, turn("c", &[first, answer(&seen), message("u2", &second)])).await;
    assert_eq!(text(&chunks(next).await), truth(&second));
    let stopped = given.api.get(&format!("/v1/responses/{reply}")).await.ok();
    assert_eq!(stopped["status"], "cancelled");
}

#[tokio::test]
async fn a_turn_goes_on_as_a_response_after_each_of_its_chunks() {
    let given = Given::new().await;
    given.upstream.on("crossing", Manner::paced(8));
    let prompt = prompt(25, "crossing");
    let mut events = open(&given.api, turn("c", &[message("u1", &prompt)])).await;
    let response = events.response_id();
    let (mut seen, mut rests) = (Vec::new(), Vec::new());
    loop {
        let frame = events.next().await.expect("more");
        if frame.data == "[DONE]" {
            break;
        }
        seen.push(chunk(&frame));
        let Some(number) = frame.id else { continue };
        let path = format!("/v1/responses/{response}?stream=true&starting_after={number}");
        let (api, before) = (given.api.clone(), text(&seen));
        rests.push(tokio::spawn(
            async move { before + &text_of(&api.follow(&path).await.collect().await.into_events()) },
        ));
    }
    assert!(rests.len() > 25);
    for rest in rests {
        assert_eq!(rest.await.expect("a rest"), truth(&prompt));
    }
    assert_eq!(given.upstream.heard("crossing").len(), 1);
}

#[tokio::test]
async fn a_response_that_follows_a_turn_is_resumed_as_its_chat() {
    let given = Given::new().await;
    let first = open(&given.api, turn("c", &[message("u1", &prompt(4, "first"))])).await;
    let parent = first.response_id();
    chunks(first).await;
    given.upstream.on("following", Manner::paced(10));
    let prompt = prompt(30, "following");
    let mut stream = given.api.stream(with(streamed(&prompt), json!({"previous_response_id": parent}))).await;
    stream.read_words(4).await;
    let whole = chunks(resumed(&given.api, "c").await.expect("it runs")).await;
    assert_eq!(text(&whole), truth(&prompt));
}

#[tokio::test]
async fn a_chat_whose_replies_were_deleted_goes_on_with_what_its_client_has() {
    let given = Given::new().await;
    let (first, second) = (prompt(4, "one"), prompt(5, "gone"));
    let events = open(&given.api, turn("c", &[message("u1", &first)])).await;
    let reply = events.response_id();
    let said = chunks(events).await;
    given.api.delete(&format!("/v1/responses/{reply}")).await.ok();
    let messages = [message("u1", &first), answer(&said), message("u2", &second)];
    chunks(open(&given.api, turn("c", &messages)).await).await;
    assert_eq!(asked(&given, "gone"), [first.clone(), truth(&first), second]);
}

#[tokio::test]
async fn a_retried_turn_joins_the_first_by_its_key() {
    let given = Given::new().await;
    given.upstream.on("retrying", Manner::paced(15));
    let api = given.api.clone().header("idempotency-key", "k-1");
    for body in [
        turn("c", &[message("u1", &prompt(25, "retrying"))]),
        json!({"id": "d", "message": message("u1", &prompt(25, "retrying"))}),
    ] {
        let api = api.clone().header("idempotency-key", body["id"].as_str().expect("an id"));
        let mut first = open(&api, body.clone()).await;
        let reply = first.response_id();
        read_words(&mut first, 3).await;
        drop(first);
        let joined = open(&api, body).await;
        assert_eq!(joined.response_id(), reply);
        assert_eq!(text(&chunks(joined).await), truth(&prompt(25, "retrying")));
    }
    assert_eq!(given.upstream.heard("retrying").len(), 2);
}

#[tokio::test]
async fn a_reply_that_fails_says_why() {
    let given = Given::new().await;
    given.upstream.on("failing", Behaviour::script([Step::text("a "), Step::Finish("content_filter"), Step::Done]));
    let filtered = chunks(open(&given.api, turn("c", &[message("u1", "failing")])).await).await;
    assert_eq!(filtered.last().expect("a chunk")["finishReason"], "content-filter");
    given.api.post(PATH, json!({"id": "c", "messages": []})).await.refused(400, Value::Null, "messages");
    let unknown = with(turn("c", &[message("u1", "x")]), json!({"model": "nobody"}));
    given.api.post(PATH, unknown).await.refused(400, "model_not_found", "model");
    let unanswered = json!({"id": "a1", "role": "assistant", "parts": [
        {"type": "tool-look", "toolCallId": "call_9", "state": "input-available", "input": {}},
    ]});
    let answer = given.api.post(PATH, turn("c", &[message("u1", "x"), unanswered, message("u2", "y")])).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["param"]), (400, &json!("messages")));
}
