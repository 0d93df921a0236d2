//! Chats of `useChat` are conversations: they are in the list, are read and named there, and go on at either door.

use hyper::Method;

use crate::support::{
    nats::Nats,
    server::{Config, Server},
    upstream::Manner,
    *,
};

fn turn(chat: &str, messages: &[Value]) -> Value {
    json!({"id": chat, "messages": messages, "trigger": "submit-message", "model": "truth"})
}

fn message(text: &str) -> Value {
    json!({"id": text, "role": "user", "parts": [{"type": "text", "text": text}]})
}

/// Has a turn; gives the message that a client makes of the answer.
async fn say(api: &Api, chat: &str, messages: &[Value]) -> Value {
    let stream = api.try_open(Method::POST, "/api/chat", turn(chat, messages).to_string()).await.expect("a server");
    assert_eq!(stream.status, 200);
    let frames = stream.collect().await.frames;
    let chunks: Vec<Value> = frames.iter().filter_map(|frame| serde_json::from_str(&frame.data).ok()).collect();
    let is = |chunk: &Value, kind: &str| chunk["type"] == kind;
    let deltas = chunks.iter().filter(|chunk| is(chunk, "text-delta"));
    let text: String = deltas.filter_map(|chunk| chunk["delta"].as_str()).collect();
    let metadata = &chunks.iter().find(|chunk| is(chunk, "text-start")).expect("a part")["providerMetadata"];
    let part = json!({"type": "text", "text": text, "providerMetadata": metadata});
    json!({"id": chunks[0]["messageId"], "role": "assistant", "parts": [part]})
}

async fn list(api: &Api) -> Vec<Value> {
    api.get("/v1/conversations").await.ok()["data"].as_array().expect("a list").clone()
}

fn titles(list: &[Value]) -> Vec<&str> {
    list.iter().map(|one| one["title"].as_str().unwrap_or_default()).collect()
}

async fn projected(api: &Api) {
    let caught_up = async || (api.get("/healthz").await.ok()["store"]["lag_records"] == 0).then_some(());
    until("the store to catch up", caught_up).await;
}

fn texts(items: &Value) -> Vec<&str> {
    items["data"].as_array().expect("a list").iter().filter_map(|item| item["content"][0]["text"].as_str()).collect()
}

/// Whatever stands in the log and whatever in the store.
async fn tells_of_chats(api: &Api, elsewhere: &Api) {
    let first = message("What is the best tea?");
    let answer = say(api, "tea", std::slice::from_ref(&first)).await;
    say(api, "rain", &[message("Will it rain?")]).await;
    let second = message("And the second best?");
    say(api, "tea", &[first.clone(), answer, second]).await;
    let all = list(elsewhere).await;
    assert_eq!(titles(&all), ["What is the best tea?", "Will it rain?"]);
    assert_eq!(all[0]["metadata"], json!({"chat": "tea"}), "by this name useChat opens it");
    let id = all[0]["id"].as_str().expect("an id").to_owned();
    projected(api).await;
    projected(elsewhere).await;
    assert_eq!(list(elsewhere).await, all);
    // What is newer than the store makes it the first of the list.
    say(api, "rain", &[message("Really?")]).await;
    assert_eq!(titles(&list(elsewhere).await), ["Will it rain?", "What is the best tea?"]);

    // Its items are those on the way to the newest reply: a turn that was given again leaves none behind.
    let path = format!("/v1/conversations/{id}/items?order=asc");
    let items = elsewhere.get(&path).await.ok();
    let told = [&first, &message("And the second best?")]
        .map(|one| one["parts"][0]["text"].as_str().expect("text").to_owned());
    assert_eq!(texts(&items), [&*told[0], &truth(&told[0]), &*told[1], &truth(&told[1])]);
    say(api, "tea", &[message("What is the best coffee?")]).await;
    let items = elsewhere.get(&path).await.ok();
    assert_eq!(texts(&items), ["What is the best coffee?", &truth("What is the best coffee?")]);

    // It goes on at the other door, and back.
    let request = json!({"model": "truth", "input": "From elsewhere.", "conversation": id});
    elsewhere.post("/v1/responses", request).await.ok();
    let items = api.get(&path).await.ok();
    assert_eq!(texts(&items)[2..], ["From elsewhere.", &truth("From elsewhere.")]);
    let last = json!({"id": "tea", "message": message("And now?"), "model": "truth"});
    let stream = api.try_open(Method::POST, "/api/chat", last.to_string()).await.expect("a server");
    stream.collect().await;
    assert_eq!(texts(&elsewhere.get(&path).await.ok()).len(), 6);

    // It is named and deleted as every conversation is.
    let renamed = json!({"metadata": {"chat": "tea", "title": "Drinks"}});
    api.post(&format!("/v1/conversations/{id}"), renamed).await.ok();
    assert_eq!(titles(&list(elsewhere).await)[0], "Drinks");
    api.delete(&format!("/v1/conversations/{id}")).await.ok();
    say(api, "tea", &[message("Still here?")]).await;
    assert_eq!(titles(&list(elsewhere).await), ["Will it rain?"], "what was deleted stays out of the list");
}

#[tokio::test]
async fn chats_are_in_the_list_of_conversations() {
    let given = Given::new().await;
    tells_of_chats(&given.api, &given.api).await;
    // After a restart, too.
    let before = list(&given.api).await;
    let given = given.restarted().await;
    assert_eq!(list(&given.api).await, before);
}

#[tokio::test]
async fn chats_are_in_the_list_of_every_instance() {
    let (nats, upstream) = (Nats::start().await, Upstream::start().await);
    let with = |config: Config| config.env("NATS_URL", &nats.url);
    let (one, other) = (with(Server::before(&upstream)).start().await, with(Server::before(&upstream)).start().await);
    tells_of_chats(&one.api(), &other.api()).await;
}

#[tokio::test]
async fn a_chat_is_listed_for_its_caller_while_its_first_reply_runs() {
    let given = Given::new().await;
    given.upstream.on("slowly", Manner::paced(50));
    let body = turn("slow", &[message(&prompt(40, "slowly"))]);
    let mut stream = given.api.try_open(Method::POST, "/api/chat", body.to_string()).await.expect("a server");
    stream.next().await.expect("a beginning");
    let all = list(&given.api).await;
    assert_eq!(titles(&all), [prompt(40, "slowly")]);
}
