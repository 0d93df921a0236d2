//! A completion that is stored is a reply like any other: read, rejoined, joined, deleted; also after a kill.

use super::*;
use crate::support::chat::read_on;

fn kept(prompt: &str) -> Value {
    with(streamed_chat(prompt), json!({"store": true}))
}

fn id_of(chunks: &[Chunk]) -> String {
    chunks[0].body["id"].as_str().expect("an id").to_owned()
}

async fn after(given: &Given, id: &str, number: u64, more: &str) -> Vec<Chunk> {
    let path = format!("{PATH}/{id}?stream=true&starting_after={number}{more}");
    ended(given.api.follow(&path).await.collect().await)
}

#[tokio::test]
async fn a_stored_completion_is_read_and_deleted_by_its_id() {
    let given = Given::new().await;
    let request = with(asked("keeping"), json!({"store": true, "metadata": {"topic": "tea"}}));
    let completion = given.api.post(PATH, request).await.ok();
    assert_eq!(completion["metadata"], json!({"topic": "tea"}));
    let path = format!("{PATH}/{}", completion["id"].as_str().expect("an id"));
    assert_eq!(given.api.get(&path).await.ok(), completion);
    let given = given.restarted().await;
    assert_eq!(given.api.get(&path).await.ok(), completion);
    let deleted = given.api.delete(&path).await.ok();
    assert_eq!(deleted, json!({"id": completion["id"], "object": "chat.completion.deleted", "deleted": true}));
    given.api.get(&path).await.refused(404, Value::Null, "completion_id");
}

#[tokio::test]
async fn a_stored_completion_is_rejoined_after_any_of_its_chunks() {
    let given = Given::new().await;
    for more in ["", "&include_usage=true"] {
        let options = if more.is_empty() { Value::Null } else { json!({"include_usage": true}) };
        let request = with(kept(&prompt(25, "rejoining")), json!({"stream_options": options}));
        let all = chunks(&given, request).await;
        let id = id_of(&all);
        for (place, chunk) in all.iter().enumerate() {
            // The last but one of those with usage is told again with the last: both are one event.
            let Some(number) = chunk.number else { continue };
            assert_eq!(after(&given, &id, number, more).await, all[place + 1..], "after {number}");
        }
        let whole = ended(given.api.follow(&format!("{PATH}/{id}?stream=true{more}")).await.collect().await);
        assert_eq!(whole, all);
    }
    let answer = given.api.get(&format!("{PATH}/{}?stream=true&starting_after=x", "chatcmpl-1")).await;
    answer.refused(400, "invalid_type", "starting_after");
}

#[tokio::test]
async fn a_stored_completion_outlives_its_client_and_the_server() {
    let mut given = Given::new().await;
    given.upstream.on("outliving", Manner::paced(10));
    let prompt = prompt(40, "outliving");
    let mut stream = open(&given.api, kept(&prompt)).await;
    let mut seen = read_words(&mut stream, 6).await;
    let running = given.api.get(&format!("{PATH}/{}", id_of(&seen))).await.ok();
    assert_eq!(running["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(running["rejoinder"]["status"], "in_progress");
    given.server.kill();
    read_on(&mut stream, &mut seen).await;
    let given = given.restarted().await;
    let last = seen.last().and_then(|chunk| chunk.number).expect("a number");
    seen.extend(after(&given, &id_of(&seen), last, "").await);
    assert_eq!(
        add_up(&seen),
        (json!({"role": "assistant", "content": truth(&prompt), "tool_calls": []}), json!("stop"))
    );
}

#[tokio::test]
async fn a_retried_post_joins_the_first_by_its_key() {
    let given = Given::new().await;
    given.upstream.on("retrying", Manner::paced(15));
    let api = given.api.clone().header("idempotency-key", "k-1");
    let request = streamed_chat(&prompt(25, "retrying"));
    let mut first = open(&api, request.clone()).await;
    read_words(&mut first, 3).await;
    drop(first);
    let joined = open(&api, request.clone()).await;
    let all = ended(joined.collect().await);
    assert_eq!(add_up(&all).0["content"], truth(&prompt(25, "retrying")));
    assert_eq!(given.upstream.heard("retrying").len(), 1);
    assert_eq!(ended(open(&api, request).await.collect().await), all);
    let other = api.post(PATH, asked("something else")).await;
    other.refused(400, "idempotency_key_reused", "Idempotency-Key");
}

#[tokio::test]
async fn a_completion_that_someone_stops_ends_with_an_error_and_a_cut() {
    let given = Given::new().await;
    given.upstream.on("stopping", Manner::paced(20));
    let mut stream = open(&given.api, kept(&prompt(200, "stopping"))).await;
    let mut seen = read_words(&mut stream, 3).await;
    let response = stream.response_id();
    given.api.post(&format!("/v1/responses/{response}/cancel"), json!({})).await.ok();
    let rest = stream.collect().await;
    assert!(matches!(rest.end, End::Cut(_)), "{rest:#?}");
    let (last, before) = rest.frames.split_last().expect("frames");
    seen.extend(before.iter().map(Chunk::of));
    let error: Value = serde_json::from_str(&last.data).expect("JSON, and not [DONE]");
    assert_eq!(error["error"]["code"], "cancelled");
    // Whoever comes back learns the same.
    let last = seen.last().and_then(|chunk| chunk.number).expect("a number");
    let path = format!("{PATH}/{}?stream=true&starting_after={last}", id_of(&seen));
    let again = given.api.follow(&path).await.collect().await;
    assert!(matches!(again.end, End::Cut(_)), "{again:#?}");
    let state = given.api.get(&format!("{PATH}/{}", id_of(&seen))).await.ok();
    assert_eq!(
        (&state["choices"][0]["finish_reason"], &state["rejoinder"]["status"]),
        (&Value::Null, &json!("cancelled"))
    );
    let text: String = seen.iter().map(Chunk::content).collect();
    assert_eq!(state["choices"][0]["message"]["content"], text);
}
