//! Calls that go to a model server as one: each gets its own answer, whatever becomes of the others.

use std::time::Duration;

use crate::support::{
    gatherer::{Batching, Gatherer, answer},
    server::Server,
    *,
};

mod measure;

const TOPICS: [&str; 4] = ["tea", "coffee", "cocoa", "water"];

/// A server that gathers calls for this long.
async fn given(batching: Batching, window: &str) -> (Server, Gatherer) {
    let gatherer = Gatherer::start(batching, Duration::from_millis(20)).await;
    let config = Server::bare().env("LLM_BASE_URL", gatherer.base_url()).env("LLM_MODEL", "truth");
    (config.env("LLM_BATCH_WINDOW", window).start().await, gatherer)
}

/// Replies about these, asked for at once, in their order.
async fn replies(api: &Api, topics: &[&str]) -> Vec<Reply> {
    let replies = topics
        .iter()
        .map(|topic| async { check_reply(&api.stream(streamed(topic)).await.collect().await.into_events()) });
    futures_util::future::join_all(replies).await
}

#[track_caller]
fn check_texts(replies: &[Reply], topics: &[&str]) {
    for (reply, topic) in replies.iter().zip(topics) {
        assert_eq!((reply.text.as_str(), reply.status.as_str()), (answer(topic).as_str(), "completed"));
    }
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[tokio::test]
async fn calls_at_once_go_as_one_and_each_gets_its_own_answer() {
    let (server, gatherer) = given(Batching::Fine, "5s").await;
    let begun = std::time::Instant::now();
    let replies = replies(&server.api(), &TOPICS).await;
    check_texts(&replies, &TOPICS);
    assert!(begun.elapsed() < Duration::from_secs(4), "a full batch does not wait for the end of its window");
    let batches = gatherer.batches();
    assert_eq!((batches.len(), gatherer.singles().len()), (1, 0));
    assert_eq!(sorted(batches[0].clone()), sorted(TOPICS.map(str::to_owned).to_vec()));
    let usage =
        |name: &str| replies.iter().map(|reply| reply.response["usage"][name].as_u64().expect("usage")).sum::<u64>();
    assert_eq!((usage("input_tokens"), usage("output_tokens")), (40, 32), "together they used what the server says");
    let metrics = server.api().get("/metrics").await;
    let line = r#"rejoinder_upstream_batches_total{service="llm",outcome="answered"} 1"#;
    assert!(metrics.text().lines().any(|found| found == line), "{}", metrics.text());
}

#[tokio::test]
async fn one_alone_is_streamed_when_its_window_is_over() {
    let (server, gatherer) = given(Batching::Fine, "50ms").await;
    check_texts(&replies(&server.api(), &["tea"]).await, &["tea"]);
    assert_eq!((gatherer.batches().len(), gatherer.singles()), (0, vec!["tea".to_owned()]));
}

#[tokio::test]
async fn without_a_window_each_goes_by_itself() {
    let (server, gatherer) = given(Batching::Fine, "off").await;
    check_texts(&replies(&server.api(), &TOPICS).await, &TOPICS);
    assert_eq!((gatherer.batches().len(), gatherer.singles().len()), (0, 4));
}

#[tokio::test]
async fn one_without_an_answer_is_asked_again_alone_and_the_others_are_not() {
    let (server, gatherer) = given(Batching::Without("coffee"), "5s").await;
    check_texts(&replies(&server.api(), &TOPICS).await, &TOPICS);
    assert_eq!((gatherer.batches().len(), gatherer.singles()), (1, vec!["coffee".to_owned()]));
}

#[tokio::test]
async fn a_batch_that_breaks_is_made_again_one_by_one() {
    for batching in
        [Batching::Status(400), Batching::Status(500), Batching::Status(503), Batching::Garbage, Batching::Cut]
    {
        let (server, gatherer) = given(batching, "5s").await;
        check_texts(&replies(&server.api(), &TOPICS).await, &TOPICS);
        assert_eq!((gatherer.batches().len(), gatherer.singles().len()), (1, 4), "{batching:?}");
        // The next is tried together again.
        gatherer.set(Batching::Fine);
        check_texts(&replies(&server.api(), &TOPICS).await, &TOPICS);
        assert_eq!((gatherer.batches().len(), gatherer.singles().len()), (2, 4), "{batching:?}");
    }
}

#[tokio::test]
async fn a_server_without_batches_is_asked_for_one_once() {
    let (server, gatherer) = given(Batching::Missing, "5s").await;
    for round in 1..=2 {
        check_texts(&replies(&server.api(), &TOPICS).await, &TOPICS);
        assert_eq!((gatherer.batches().len(), gatherer.singles().len()), (1, 4 * round));
    }
}

#[tokio::test]
async fn one_that_is_cancelled_is_left_out() {
    let (server, gatherer) = given(Batching::Fine, "2s").await;
    let api = server.api();
    let (stays, goes) = (api.clone(), api.clone());
    let others = tokio::spawn(async move { replies(&stays, &["tea", "water"]).await });
    let stream = goes.stream(streamed("coffee")).await;
    let cancelled = goes.post(&format!("/v1/responses/{}/cancel", stream.response_id()), json!({})).await.ok();
    assert_eq!(cancelled["status"], "cancelled");
    check_texts(&others.await.expect("no panic"), &["tea", "water"]);
    assert_eq!(gatherer.batches().into_iter().map(sorted).collect::<Vec<_>>(), [["tea", "water"]]);
    assert!(gatherer.singles().is_empty());
}

#[tokio::test]
async fn calls_of_other_parameters_or_with_tools_do_not_go_along() {
    let (server, gatherer) = given(Batching::Fine, "1s").await;
    let api = server.api();
    let tool = json!({"type": "function", "name": "look", "parameters": {"type": "object"}});
    let asked = [
        streamed("tea"),
        with(streamed("coffee"), json!({"user": "somebody else"})),
        with(streamed("cocoa"), json!({"temperature": 0.5})),
        with(streamed("water"), json!({"tools": [tool]})),
    ];
    let replies =
        asked.into_iter().map(|body| async { check_reply(&api.stream(body).await.collect().await.into_events()) });
    check_texts(&futures_util::future::join_all(replies).await, &TOPICS);
    assert_eq!(gatherer.batches().into_iter().map(sorted).collect::<Vec<_>>(), [["coffee", "tea"]]);
    assert_eq!(sorted(gatherer.singles()), ["cocoa", "water"]);
    assert_eq!(gatherer.bodies()[0].get("user"), None, "it is nobody's");
}
