//! Bounds: of replies at once, of time, of the disk, of bodies, of the age of streams and of the log's memory.

use crate::support::{
    follower::{Place, follow, read_on},
    sse::End,
    upstream::{Break, Fate, Manner},
    *,
};

#[tokio::test]
async fn more_replies_than_may_run_at_once_are_told_to_come_again() {
    let given = Given::with(|config| config.env("MAX_RUNNING_REPLIES", 2)).await;
    given.upstream.on("long", Manner::paced(20));
    let first = given.api.stream(streamed(&prompt(200, "long talk"))).await;
    let second = given.api.stream(streamed(&prompt(200, "long talk"))).await;
    let refused = given.api.post("/v1/responses", whole("one too many")).await;
    refused.refused(503, Value::Null, Value::Null);
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok()), "{refused:?}");
    assert!(given.upstream.heard("too many").is_empty());
    given.api.post(&format!("/v1/responses/{}/cancel", first.response_id()), json!({})).await.ok();
    until("a place to be free", async || {
        (given.api.post("/v1/responses", whole("in its place")).await.status == 200).then_some(())
    })
    .await;
    drop(second);
}

#[tokio::test]
async fn a_disk_without_space_takes_no_new_reply_and_tells_the_old_ones() {
    let given = Given::new().await;
    let events = given.events(streamed("before")).await;
    let id = check_reply(&events).id;
    let server = given.server.restart_with(|config| config.env("MIN_FREE_DISK", "1048576GiB")).await;
    let given = Given { api: server.api(), server, upstream: given.upstream };
    let refused = given.api.post("/v1/responses", whole("no space")).await;
    refused.refused(503, Value::Null, Value::Null);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert!(given.upstream.heard("no space").is_empty(), "nothing is asked in vain");
    assert_eq!(bodies(&given.replay(&id).await), bodies(&events));
    assert_eq!(given.api.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_body_over_a_limit_of_ones_own_is_refused() {
    let given = Given::with(|config| config.env("MAX_BODY_BYTES", "2KiB")).await;
    given.api.post("/v1/responses", whole("hello")).await.ok();
    let answer = given.api.post("/v1/responses", whole(&"tree ".repeat(500))).await;
    answer.refused(413, "request_too_large", Value::Null);
}

#[tokio::test]
async fn a_reply_past_its_deadline_fails_with_what_was_said() {
    let given = Given::with(|config| config.env("REPLY_DEADLINE", "2s")).await;
    given.upstream.on("slow", Manner::paced(50));
    let prompt = prompt(500, "slow talk");
    let reply = given.reply(streamed(&prompt)).await;
    assert_eq!(reply.status, "failed");
    assert!(!reply.text.is_empty() && truth(&prompt).starts_with(&reply.text), "{}", reply.text);
    assert_eq!(given.upstream.heard_once("slow").fate, Fate::HungUp);
}

#[tokio::test]
async fn a_reply_whose_deadline_passed_while_nobody_ran_is_ended_and_not_started_again() {
    let given = Given::with(|config| config.env("REPLY_DEADLINE", "1s")).await;
    given.upstream.on("slow", Manner::polite().breaking(5, Break::Silent));
    let prompt = prompt(9, "slow talk");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    let mut seen = stream.read_words(5).await;
    let config = given.server.stop();
    read_on(&mut stream, Place::Responses, &mut seen).await;
    // As long as the deadline, which counts from the next whole second: a reply of another server takes that time.
    let clock = Given::new().await;
    clock.upstream.on("tick", Manner::paced(100));
    clock.reply(streamed(&crate::support::prompt(23, "tick"))).await;
    let server = config.start().await;
    let reply = check_reply(&follow(&server.api(), &id, Place::Responses, seen).await);
    assert_eq!(reply.status, "failed");
    assert!(truth(&prompt).starts_with(&reply.text) && !reply.text.is_empty());
    assert_eq!(given.upstream.heard("slow").len(), 1, "it is not asked again");
}

#[tokio::test]
async fn a_reply_is_rejoined_at_any_event_after_the_log_has_forgotten_how_it_was_said() {
    let short = |config: server::Config| {
        config.env("REPLY_DEADLINE", "1s").env("REPLAY_WINDOW", "2s").env("LOG_RETENTION", "3s")
    };
    let given = Given::with(short).await;
    given.upstream.on("tick", Manner::paced(50));
    let conversation = given.conversation().await;
    let request = with(streamed(&prompt(10, "tick")), json!({"conversation": conversation}));
    let events = given.events(request).await;
    let id = check_reply(&events).id;
    // Replies of another server pass the time.
    let clock = Given::new().await;
    clock.upstream.on("tick", Manner::paced(100));
    for _ in 0..2 {
        clock.reply(streamed(&prompt(25, "tick"))).await;
        assert_eq!(bodies(&given.replay(&id).await), bodies(&events));
    }
    let given = given.restarted().await;
    for seen in [0, 3, events.len() - 2] {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={seen}");
        let rest = given.api.follow(&path).await.collect().await.into_events();
        assert_eq!(bodies(&rest), bodies(&events[seen + 1..]), "after {seen}");
    }
    let items = conversation_items(&given.api, &conversation).await;
    assert_eq!(items.len(), 2, "{items:#?}");
}

#[tokio::test]
async fn streams_of_browsers_are_rotated_and_lose_nothing_and_others_are_not_cut() {
    let given = Given::with(|config| config.env("STREAM_MAX_AGE", "300ms")).await;
    given.upstream.on("long", Manner::paced(30));
    let prompt = prompt(50, "long talk");
    let stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    let mut first = given.api.follow(&format!("/v1/responses/{id}/events")).await;
    let mut seen = Vec::new();
    let end = loop {
        match first.next().await {
            Ok(frame) => seen.push(sse::as_event(&frame)),
            Err(end) => break end,
        }
    };
    assert_eq!(end, End::Clean, "the browser comes back");
    assert!(!seen.last().is_some_and(Event::is_terminal), "it was rotated in the middle");
    let seen = follow(&given.api, &id, Place::EventSource, seen).await;
    assert_eq!(check_reply(&seen).text, truth(&prompt));
    assert_eq!(bodies(&stream.collect().await.into_events()), bodies(&seen), "the POST was not cut");
}
