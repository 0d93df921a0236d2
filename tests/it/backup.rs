//! `rejoinder backup` while the server runs, and `rejoinder restore`: what a client had been told before is there, and what ran
//! goes on.

use std::path::Path;

use tokio::task::{JoinSet, block_in_place};

use crate::erasure::holder;
use crate::support::{
    Api, Given, Upstream, check, check_reply, conversation_items, id_of, json, prompt,
    server::{Config, Server},
    streamed, truth, until,
    upstream::Manner,
    whole, with, with_image,
};

/// Replies in a conversation of its own, one after another, with an image now and then, until it is aborted.
async fn load(api: Api, client: usize) {
    let conversation = id_of(&api.post("/v1/conversations", json!({})).await.ok());
    for turn in 0.. {
        let question = prompt(20, &format!("load-{client}-{turn}"));
        let input = if turn % 3 == 0 { with_image(&question, client, 100_000) } else { json!(question) };
        let more = json!({"input": input, "conversation": conversation});
        let said = api.post("/v1/responses", with(whole(&question), more)).await.ok();
        if turn % 4 == 1 {
            api.delete(&format!("/v1/responses/{}", id_of(&said))).await.ok();
        }
    }
}

fn runs(config: &Config, words: &str) -> String {
    let (code, printed) = block_in_place(|| config.run(words));
    assert_eq!(code, Some(0), "{words}: {printed}");
    printed
}

/// A server on what was restored from a copy.
async fn restored(upstream: &Upstream, copy: &Path) -> Server {
    let config = Server::before(upstream);
    runs(&config, &format!("restore {}", copy.display()));
    config.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_a_backup_under_load_is_restored_and_what_ran_goes_on() {
    let upstream = Upstream::start().await;
    upstream.on("slowly", Manner::paced(40));
    let config = Server::before(&upstream);
    let mut server = config.clone().start().await;
    let (api, copies) = (server.api(), tempfile::tempdir().expect("a directory"));
    let mut clients = JoinSet::new();
    for client in 0..6 {
        clients.spawn(load(api.clone(), client));
    }
    let deleted = prompt(20, "geheimnis-deleted");
    let gone = id_of(&api.post("/v1/responses", whole(&deleted)).await.ok());
    api.delete(&format!("/v1/responses/{gone}")).await.ok();
    for round in 0..3 {
        // Known before: a reply, one with an image in a conversation, and one that runs.
        let question = prompt(30, &format!("known-{round}"));
        let known = api.post("/v1/responses", whole(&question)).await.ok();
        let conversation = id_of(&api.post("/v1/conversations", json!({})).await.ok());
        let input = with_image(&question, 90 + round, 100_000);
        let with_it = with(whole(&question), json!({"input": input, "conversation": conversation}));
        let said = api.post("/v1/responses", with_it).await.ok();
        let items = conversation_items(&api, &conversation).await;
        let long = prompt(120, &format!("slowly-{round}"));
        let mut running = api.stream(streamed(&long)).await;
        let id = running.response_id();
        running.read_words(10).await;

        let copy = copies.path().join(round.to_string());
        runs(&config, &format!("backup {}", copy.display()));
        assert_eq!(api.get(&format!("/v1/responses/{id}")).await.ok()["status"], "in_progress", "it notices nothing");
        assert_eq!(holder(&copy, std::slice::from_ref(&deleted)), None);
        if round == 2 {
            clients.abort_all();
            server.kill();
        }

        let again = restored(&upstream, &copy).await;
        let api = again.api();
        assert_eq!(api.get(&format!("/v1/responses/{}", id_of(&known))).await.ok(), known);
        assert_eq!(api.get(&format!("/v1/responses/{}", id_of(&said))).await.ok(), said);
        assert_eq!(conversation_items(&api, &conversation).await, items, "images, too");
        let rest = api.follow(&format!("/v1/responses/{id}?stream=true")).await.collect().await.into_events();
        assert_eq!(check_reply(&rest).text, truth(&long), "what ran goes on");
        assert_eq!(api.get(&format!("/v1/responses/{gone}")).await.status, 404);
        // What is said now is kept as always, and the store gets what it lacks.
        let more = json!({"previous_response_id": id_of(&known)});
        let next = api.post("/v1/responses", with(whole("and now"), more)).await.ok();
        assert_eq!(check::output_text(&next), truth("and now"));
        let caught_up = |answer: &crate::support::Answer| answer.json()["store"]["lag_records"] == 0;
        assert_eq!(again.poll("/healthz", caught_up).await.ok()["log"]["damaged"].as_u64().unwrap_or(0), 0);
        let output = again.output();
        assert!(!output.contains("ERROR") && !output.contains("damaged"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten_and_half_a_copy_is_none() {
    let given = Given::new().await;
    given.api.post("/v1/responses", whole("one")).await.ok();
    let config = given.server.stop();
    let copies = tempfile::tempdir().expect("a directory");
    let copy = copies.path().join("copy");
    let refused = |config: &Config, words: &str, why: &str| {
        let (code, printed) = block_in_place(|| config.run(words));
        assert!(code == Some(1) && printed.contains(why), "{words}: {code:?} {printed}");
    };
    // Also of a server that does not run.
    runs(&config, &format!("backup {}", copy.display()));
    refused(&config, &format!("backup {}", copy.display()), "is not empty");
    refused(&config, &format!("restore {}", copy.display()), "is there already");
    refused(&config, &format!("restore {}/nowhere", copies.path().display()), "there is no log in");
    refused(&Server::bare(), &format!("backup {}/other", copies.path().display()), "there is no log in");
    let on_nats = Server::bare().env("NATS_URL", "nats://127.0.0.1:1");
    refused(&on_nats, &format!("backup {}/other", copies.path().display()), "nats stream backup");
    let left: Vec<_> =
        std::fs::read_dir(copies.path()).expect("ours").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left, ["copy"]);
    until("a copy to be a log", async || copy.join("log/format").exists().then_some(())).await;
}
