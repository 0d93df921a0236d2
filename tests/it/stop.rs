//! A reply is stopped from anywhere, at any time, and keeps what was said.

use crate::support::{
    follower::{Place, follow},
    upstream::{Break, Fate, Manner},
    *,
};

async fn cancel(given: &Given, id: &str) -> Answer {
    given.api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await
}

fn assert_cancelled(response: &Value) {
    assert_eq!(response["status"], "cancelled", "{response}");
    // The API knows no such reason: SDKs whose types are checked would refuse the object.
    assert_eq!(response["incomplete_details"], Value::Null, "{response}");
}

/// The id of a reply that an error message names.
fn id_in(message: &str) -> String {
    let at = message.find("resp_").unwrap_or_else(|| panic!("no id in {message}"));
    message[at..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// The upstream notices that nobody listens any more.
async fn left(given: &Given, about: &str) {
    until("the upstream to be left", async || {
        given.upstream.heard(about).iter().all(|heard| heard.fate == Fate::HungUp).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reply_is_stopped_before_its_first_token() {
    let given = Given::new().await;
    for (about, behaviour) in [("mute", Behaviour::Hang), ("slow", Behaviour::script([upstream::Step::Hang]))] {
        given.upstream.on(about, behaviour);
        let stream = given.api.stream(streamed(about)).await;
        let cancelled = cancel(&given, &stream.response_id()).await.ok();
        assert_cancelled(&cancelled);
        assert_eq!(cancelled["output"], json!([]));
        let events = stream.collect().await.into_events();
        assert_eq!(check_reply(&events).response, cancelled);
        left(&given, about).await;
    }
}

#[tokio::test]
async fn a_reply_is_stopped_in_the_middle_and_keeps_what_was_said() {
    let given = Given::new().await;
    given.upstream.on("stopped", Manner::paced(20));
    let prompt = prompt(200, "stopped");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    let mut events = stream.read_words(5).await;
    let cancelled = cancel(&given, &id).await.ok();
    events.extend(stream.collect().await.into_events());
    let reply = check_reply(&events);
    assert_cancelled(&reply.response);
    assert_eq!(reply.response, cancelled);
    assert_eq!(reply.output[0]["status"], "incomplete");
    assert!(reply.text.len() > 30 && truth(&prompt).starts_with(&reply.text), "{}", reply.text);
    assert_eq!(given.api.get(&format!("/v1/responses/{id}")).await.ok(), cancelled);
    assert_eq!(bodies(&given.replay(&id).await), bodies(&events));
    left(&given, "stopped").await;
}

#[tokio::test]
async fn a_reply_is_stopped_while_its_upstream_is_silent() {
    let given = Given::new().await;
    given.upstream.on("silent", Manner::polite().breaking(3, Break::Silent));
    let mut stream = given.api.stream(streamed("silent")).await;
    let mut events = stream.read_words(3).await;
    assert_cancelled(&cancel(&given, &stream.response_id()).await.ok());
    events.extend(stream.collect().await.into_events());
    assert_cancelled(&check_reply(&events).response);
    left(&given, "silent").await;
}

#[tokio::test]
async fn stopping_twice_returns_the_same() {
    let given = Given::new().await;
    given.upstream.on("stopped", Manner::paced(20));
    let mut stream = given.api.stream(streamed(&prompt(200, "stopped"))).await;
    let id = stream.response_id();
    stream.read_words(2).await;
    let first = cancel(&given, &id).await.ok();
    assert_eq!(cancel(&given, &id).await.ok(), first);
    let given = given.restarted().await;
    assert_eq!(cancel(&given, &id).await.ok(), first);
}

#[tokio::test]
async fn many_who_stop_at_once_are_told_the_same() {
    let given = Given::new().await;
    given.upstream.on("stopped", Manner::paced(10));
    let mut stream = given.api.stream(streamed(&prompt(300, "stopped"))).await;
    let id = stream.response_id();
    stream.read_words(2).await;
    let path = format!("/v1/responses/{id}/cancel");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (api, path) = (given.api.clone(), path.clone());
            tokio::spawn(async move { api.post(&path, json!({})).await.ok() })
        })
        .collect();
    let mut told = Vec::new();
    for task in tasks {
        told.push(task.await.expect("no panic"));
    }
    assert_cancelled(&told[0]);
    assert!(told.iter().all(|response| *response == told[0]), "{told:#?}");
}

#[tokio::test]
async fn stopping_what_has_ended_returns_it() {
    let given = Given::new().await;
    let reply = given.reply(streamed("hello")).await;
    assert_eq!(cancel(&given, &reply.id).await.ok(), reply.response);
    assert_eq!(reply.status, "completed");
}

#[tokio::test]
async fn a_background_reply_is_stopped() {
    let given = Given::new().await;
    given.upstream.on("stopped", Manner::paced(20));
    let request = with(whole(&prompt(200, "stopped")), json!({"background": true}));
    let id = given.api.post("/v1/responses", request).await.ok()["id"].as_str().expect("an id").to_owned();
    let cancelled = cancel(&given, &id).await.ok();
    assert_cancelled(&cancelled);
    assert_eq!(check_reply(&given.replay(&id).await).response, cancelled);
}

#[tokio::test]
async fn a_reply_that_is_not_streamed_returns_cancelled_when_it_is_stopped() {
    let given = Given::new().await;
    given.upstream.on("stopped", Manner::paced(20));
    let conversation = given.conversation().await;
    let request = with(whole(&prompt(200, "stopped")), json!({"conversation": conversation}));
    let (api, posted) = (given.api.clone(), request.clone());
    let waiting = tokio::spawn(async move { api.post("/v1/responses", posted).await.ok() });
    until("the reply to be asked for", async || given.upstream.heard("stopped").first().map(|_| ())).await;
    let refused = given.api.post("/v1/responses", request).await;
    let error = refused.refused(400, "conversation_locked", "conversation");
    let id = id_in(error["message"].as_str().expect("a message"));
    let cancelled = cancel(&given, &id).await.ok();
    assert_eq!(waiting.await.expect("no panic"), cancelled);
}

#[tokio::test]
async fn a_stop_survives_a_kill() {
    let given = Given::new().await;
    given.upstream.on("stopped", Manner::paced(20));
    let mut stream = given.api.stream(streamed(&prompt(200, "stopped"))).await;
    let id = stream.response_id();
    let events = stream.read_words(3).await;
    let cancelled = cancel(&given, &id).await.ok();
    let given = given.restarted().await;
    let reply = check_reply(&follow(&given.api, &id, Place::Responses, events).await);
    assert_eq!(reply.response, cancelled, "what was acknowledged is so");
    assert_eq!(given.upstream.heard("stopped").len(), 1, "it is not taken up again");
}

#[tokio::test]
async fn a_reply_taken_over_after_a_kill_is_stopped_like_any_other() {
    let given = Given::new().await;
    given.upstream.on("stopped", Manner::paced(20));
    let prompt = prompt(300, "stopped");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    let events = stream.read_words(3).await;
    let given = given.restarted().await;
    let cancelled = cancel(&given, &id).await.ok();
    assert_cancelled(&cancelled);
    let reply = check_reply(&follow(&given.api, &id, Place::Responses, events).await);
    assert_eq!(reply.response, cancelled);
    assert!(truth(&prompt).starts_with(&reply.text));
    left(&given, "stopped").await;
}
