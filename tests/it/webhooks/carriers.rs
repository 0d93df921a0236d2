//! The instance that delivers dies, and another one goes on; also the same one, after its restart.

use super::*;
use crate::support::{Cluster, nats::Nats, postgres::shared, whole};

#[tokio::test]
async fn what_was_not_delivered_before_a_crash_is_delivered_after_it_and_under_the_same_id() {
    let hook = Hook::start().await;
    let server = calling().start().await;
    hook.on("/fails", Does::Answers(500));
    hook.on("/hangs", Does::Hangs);
    for path in ["/fails", "/hangs", "/well"] {
        endpoint(&server.api(), &hook.url(path)).await;
    }
    let mut said = std::collections::BTreeSet::new();
    for _ in 0..8 {
        said.insert(reply(&server.api()).await);
    }
    hook.wait("/hangs", 8).await;
    let server = server.restart().await;
    for _ in 0..3 {
        said.insert(reply(&server.api()).await);
    }
    hook.on("/fails", Does::Answers(200));
    hook.on("/hangs", Does::Answers(200));
    for path in ["/fails", "/hangs", "/well"] {
        until(&format!("all to be told at {path}"), async || (replies(&hook.posted(path)) == said).then_some(())).await;
        let mut ids = std::collections::BTreeMap::new();
        for one in hook.posted(path) {
            let id = ids.entry(one.reply()).or_insert_with(|| one.id().to_owned()).clone();
            assert_eq!(id, one.id(), "one reply, one id, at each try");
        }
    }
    // What hung when the server was killed is told by the one after it.
    assert!(hook.posted("/hangs").len() >= 16);
}

/// The index of the instance that delivers.
async fn carrier(cluster: &Cluster) -> usize {
    until("one instance to deliver", async || {
        let mut found = Vec::new();
        for index in 0..cluster.instances.len() {
            if cluster.api(index).gauge("rejoinder_webhook_carrier").await == 1 {
                found.push(index);
            }
        }
        (found.len() == 1).then(|| found[0])
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_instances_one_delivers_and_when_it_is_killed_another() {
    let postgres = shared();
    let database = postgres.database();
    let hook = Hook::start().await;
    let env = vec![("DATABASE_URL", postgres.url(&database)), ("WEBHOOK_ALLOW_PRIVATE", "on".to_owned())];
    let mut cluster = Cluster::with_env(env).await;
    cluster.settled().await;
    hook.on("/fails", Does::Answers(500));
    // Made on any instance, it is told of what ends on any other.
    endpoint(&cluster.api(0), &hook.url("/well")).await;
    let (failing, _) = endpoint(&cluster.api(1), &hook.url("/fails")).await;
    let mut said = std::collections::BTreeSet::new();
    let say = async |api: &Api| api.post("/v1/responses", whole("hello")).await.ok()["id"].as_str().unwrap().to_owned();
    for index in 0..6 {
        said.insert(say(&cluster.api(index % 3)).await);
    }
    until("all to be told", async || (replies(&hook.posted("/well")) == said).then_some(())).await;
    assert_eq!(hook.posted("/well").len(), said.len(), "one instance delivers");

    let killed = carrier(&cluster).await;
    cluster.instances[killed].kill();
    cluster.instances.remove(killed);
    for index in 0..6 {
        said.insert(say(&cluster.api(index % 2)).await);
    }
    until("another to go on", async || (replies(&hook.posted("/well")) == said).then_some(())).await;
    carrier(&cluster).await;
    until_state(&cluster.api(0), &failing, "the other to be seen", |state| state["state"] == "failing").await;
    hook.on("/fails", Does::Answers(200));
    until("what failed before", async || (replies(&hook.posted("/fails")) == said).then_some(())).await;
    for path in ["/well", "/fails"] {
        let mut ids = std::collections::BTreeMap::new();
        for one in hook.posted(path) {
            let id = ids.entry(one.reply()).or_insert_with(|| one.id().to_owned()).clone();
            assert_eq!(id, one.id(), "one reply, one id, whoever sends it");
        }
    }
}

#[tokio::test]
async fn what_the_log_dropped_before_anybody_delivered_it_is_told_as_lost() {
    let (postgres, nats, hook) = (shared(), Nats::start().await, Hook::start().await);
    let config = calling().env("NATS_URL", &nats.url).env("DATABASE_URL", postgres.url(&postgres.database()));
    let windows = [("REPLY_DEADLINE", "2s"), ("REPLAY_WINDOW", "3s"), ("LOG_RETENTION", "3s")];
    let server = windows.iter().fold(config, |config, (name, value)| config.env(name, value)).start().await;
    hook.on("/a", Does::Hangs);
    endpoint(&server.api(), &hook.url("/a")).await;
    reply(&server.api()).await;
    // It is under way, and neither taken nor noted when the server is killed.
    hook.wait("/a", 1).await;
    let config = server.stop();
    let client = async_nats::connect(&nats.url).await.unwrap();
    let mut transcripts = async_nats::jetstream::new(client).get_stream("REJOINDER_TRANSCRIPT_0").await.unwrap();
    until("the transcript to expire", async || (transcripts.info().await.ok()?.state.messages == 0).then_some(()))
        .await;
    hook.on("/a", Does::Answers(200));
    let server = config.start().await;
    until("it to be said", async || server.output().contains("the log did not wait for them").then_some(())).await;
    let next = reply(&server.api()).await;
    let posted = hook.wait("/a", 2).await;
    assert_eq!(posted[1].reply(), next, "it goes on with what there is");
}

#[tokio::test]
async fn instances_that_share_no_store_say_so() {
    let cluster = Cluster::with_env(vec![("WEBHOOK_ALLOW_PRIVATE", "on".to_owned())]).await;
    let new = json!({"name": "x", "url": "https://example.com/", "event_types": ["response.completed"]});
    let answer = cluster.api(0).post("/v1/webhook_endpoints", new).await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_str()), (400, Some("webhooks_unavailable")));
    assert!(answer.text().contains("DATABASE_URL"), "{}", answer.text());
}
