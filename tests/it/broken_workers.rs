//! The task of a reply may break, by a fault of ours: the reply is gone on with, and its followers come back.

use crate::support::{
    check::output_text,
    follower::{Place, follow, read_on},
    upstream::Manner,
    wait::until,
    *,
};

/// A server in which the task of the first reply panics after it has stored a few events.
async fn panicking() -> Given {
    let given = Given::with(|config| config.env("REJOINDER_TEST_PANIC_AT", 3)).await;
    given.upstream.on("panic", Manner::paced(5));
    given
}

#[tokio::test]
async fn a_reply_whose_task_panics_is_gone_on_with_without_any_client() {
    let given = panicking().await;
    let prompt = prompt(12, "panic in the background");
    let made = given.api.post("/v1/responses", with(whole(&prompt), json!({"background": true}))).await.ok();
    let path = format!("/v1/responses/{}", made["id"].as_str().expect("an id"));
    let ended = until("the reply to end", async || {
        let reply = given.api.get(&path).await.ok();
        (reply["status"] != "in_progress" && reply["status"] != "queued").then_some(reply)
    });
    assert_eq!(output_text(&ended.await), truth(&prompt));
}

#[tokio::test]
async fn whoever_follows_a_reply_whose_task_panics_is_cut_off_and_comes_back() {
    let given = panicking().await;
    let prompt = prompt(12, "panic before a follower");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let (id, mut seen) = (stream.response_id(), Vec::new());
    read_on(&mut stream, Place::Responses, &mut seen).await;
    assert!(!seen.last().is_some_and(Event::is_terminal), "the task panicked in the middle");
    let events = follow(&given.api, &id, Place::Responses, seen).await;
    assert_eq!(check_reply(&events).text, truth(&prompt));
    let stopped = given.api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    assert_eq!(stopped["status"], "completed");
    assert_eq!(given.api.gauge("rejoinder_replies_running").await, 0);
}
