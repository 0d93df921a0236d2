//! What is longer than a message of NATS may be is stored and told like everything else; what is longer than anything may
//! be is refused before it costs anything.

use crate::support::{
    follower::{Place, follow},
    nats::Nats,
    upstream::{Break, Manner},
    *,
};

/// What servers take by default, and a short one.
const MAX_PAYLOADS: [usize; 2] = [1 << 20, 64 << 10];

async fn on(nats: &Nats) -> Given {
    Given::with(|config| config.env("NATS_URL", &nats.url)).await
}

#[tokio::test]
async fn a_request_of_more_than_a_message_is_accepted_at_once_on_nats() {
    for max_payload in MAX_PAYLOADS {
        let nats = Nats::with_max_payload(max_payload).await;
        let given = on(&nats).await;
        let question = format!("{} {}", prompt(12, "long input"), "tree ".repeat(240_000));
        let made = given.api.post("/v1/responses", whole(&question)).await.ok();
        assert_eq!(check::output_text(&made), truth(&question));
        assert_eq!(given.upstream.heard("long input").len(), 1);
        let id = made["id"].as_str().unwrap();
        let items = given.api.get(&format!("/v1/responses/{id}/input_items")).await.ok();
        assert!(items["data"][0]["content"][0]["text"] == question, "{max_payload}");
        // Another instance knows nothing but the log and its own, empty store.
        let other = on(&nats).await;
        let next = other.api.post("/v1/responses", with(whole("and?"), json!({"previous_response_id": id}))).await.ok();
        assert_eq!(check::output_text(&next), truth("and?"));
    }
}

#[tokio::test]
async fn a_reply_whose_end_is_longer_than_a_message_ends_and_unlocks_its_conversation() {
    let nats = Nats::with_max_payload(64 << 10).await;
    let given = on(&nats).await;
    let question = prompt(9_000, "long output");
    let conversation = json!({"conversation": given.conversation().await});
    let reply = given.reply(with(streamed(&question), conversation.clone())).await;
    assert!(reply.status == "completed" && reply.text == truth(&question), "{}", reply.status);
    let next = given.reply(with(streamed("and?"), conversation)).await;
    assert_eq!(next.status, "completed");
    assert_eq!(given.upstream.heard("long output").len(), 2, "once for each turn");
    let other = on(&nats).await;
    let events = other.replay(&reply.id).await;
    assert!(check_reply(&events).text == reply.text);
}

#[tokio::test]
async fn a_long_reply_is_taken_over_from_a_snapshot_longer_than_a_message() {
    let nats = Nats::with_max_payload(64 << 10).await;
    let mut given = on(&nats).await;
    given
        .upstream
        .on_each("taken over", [Manner::polite().breaking(9_000, Break::Silent).into(), Manner::polite().into()]);
    let question = prompt(9_500, "long and taken over");
    let mut stream = given.api.stream(streamed(&question)).await;
    let (id, seen) = (stream.response_id(), stream.read_words(9_000).await);
    given.server.kill();
    let other = on(&nats).await;
    other.upstream.on("taken over", Manner::polite());
    let reply = check_reply(&follow(&other.api, &id, Place::Responses, seen).await);
    assert!(reply.text == truth(&question) && reply.status == "completed", "{}", reply.status);
}

#[tokio::test]
async fn what_no_record_can_hold_is_refused_before_the_model_is_asked() {
    let nats = Nats::start().await;
    for url in ["", &nats.url] {
        let given = Given::with(|config| config.env("NATS_URL", url).env("MAX_RECORD_BYTES", "64KiB")).await;
        let conversation = given.conversation().await;
        let text = "tree ".repeat(20_000);
        let refused = given.api.post("/v1/responses", whole(&format!("too long {text}"))).await;
        refused.refused(413, "request_too_large", Value::Null);
        let items = json!({"items": [{"role": "user", "content": text}]});
        let refused = given.api.post(&format!("/v1/conversations/{conversation}/items"), items).await;
        refused.refused(413, "request_too_large", Value::Null);
        assert!(given.upstream.heard("too long").is_empty());
        given.api.post("/v1/responses", with(whole("short"), json!({"conversation": conversation}))).await.ok();
    }
}
