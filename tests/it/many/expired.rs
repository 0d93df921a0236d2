//! What was left for longer than chains are kept, and what only NATS knows for a moment.

use crate::support::{
    follower::{Place, follow},
    nats::Nats,
    upstream::{Break, Manner},
    valve::Valve,
    wait::soon,
    *,
};

/// As when a platform scales to zero overnight: the snapshot is there, and what it tells of is not.
#[tokio::test]
async fn a_reply_whose_expired_chain_left_a_snapshot_ends_and_unlocks_its_conversation() {
    let nats = Nats::start().await;
    let given =
        Given::with(|config| config.env("NATS_URL", &nats.url).env("REPLY_DEADLINE", "4s").env("REPLAY_WINDOW", "5s"))
            .await;
    given.upstream.on("overnight", Manner::paced(5).breaking(300, Break::Silent));
    let question = prompt(400, "overnight");
    let conversation = json!({"conversation": given.conversation().await});
    let mut stream = given.api.stream(with(streamed(&question), conversation.clone())).await;
    let id = stream.response_id();
    let seen = stream.read_words(300).await;
    let client = async_nats::connect(&nats.url).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let mut snapshots = jetstream.get_stream("REJOINDER_SNAPSHOT_0").await.unwrap();
    assert!(snapshots.info().await.unwrap().state.messages > 0, "it has a snapshot");
    let config = given.server.stop();
    let mut chain = jetstream.get_stream("REJOINDER_CHAIN_0").await.unwrap();
    until("the chain to expire", async || (chain.info().await.ok()?.state.messages == 0).then_some(())).await;

    let server = config.start().await;
    let api = server.api();
    // Until the dead instance is known to be dead, the reply is somebody else's.
    let cancelled = server.poll(&format!("/v1/responses/{id}"), |answer| answer.json()["status"] == "failed").await;
    let text = check::output_text(&cancelled.json());
    assert!(truth(&question).starts_with(&text) && !text.is_empty(), "{text}");
    api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    let end = follow(&api, &id, Place::Responses, Vec::new()).await;
    assert_eq!(check_reply(&end).text, text);
    assert!(seen.len() > 100);
    api.post("/v1/responses", with(whole("good morning"), conversation)).await.ok();
}

/// The record that accepts a reply is stored, and its acknowledgement is lost: it is the same reply that goes on.
#[tokio::test]
async fn a_reply_whose_acceptance_was_stored_without_an_acknowledgement_is_generated_once() {
    let nats = Nats::start().await;
    let valve = Valve::before(nats.url.trim_start_matches("nats://").to_owned()).await;
    let url = format!("nats://{}", valve.address());
    let given = Given::with(|config| config.env("NATS_URL", url)).await;
    given.reply(streamed("warm up")).await;
    let client = async_nats::connect(&nats.url).await.unwrap();
    let mut published = client.subscribe("rejoinder.transcript.>").await.unwrap();
    client.flush().await.unwrap();
    valve.shut_answers();
    let api = given.api.clone();
    // A new thread: nothing is read before.
    let posted = tokio::spawn(async move { api.stream(streamed("no answer")).await.collect().await.into_events() });
    for _ in 0..2 {
        soon("the record to be published again", futures_util::StreamExt::next(&mut published)).await.unwrap();
    }
    valve.open();
    let reply = check_reply(&posted.await.expect("no panic"));
    assert_eq!((reply.text, &*reply.status), (truth("no answer"), "completed"));
    assert_eq!(given.upstream.heard("no answer").len(), 1, "the call goes on, too");
    let next = with(whole("next"), json!({"previous_response_id": reply.id}));
    given.api.post("/v1/responses", next).await.ok();
}
