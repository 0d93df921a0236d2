//! Deletion of a user: nothing of theirs is left anywhere, and everything of everybody else's is.

use hyper::Method;

use super::{Keys, with_key};
use crate::erasure::{are_gone, holder};
use crate::support::{
    Api, Given, Value, check, id_of, json,
    nats::Nats,
    prompt,
    server::{Config, Server},
    streamed, until,
    upstream::{Break, Manner},
    whole, with,
};

fn keys() -> Keys {
    Keys::new(&[
        ("alice", "--tenant acme --user alice"),
        ("bob", "--tenant acme --user bob"),
        ("boss", "--tenant acme --scopes chat,read,tenant"),
        ("admin", "--tenant acme --scopes admin"),
        ("other", "--tenant other --user alice"),
    ])
}

fn keyed(config: Config, keys: &Keys) -> Config {
    config.env("AUTH", "keys").env("API_KEYS", keys.lines().replace('\n', ";")).env("WEBHOOK_ALLOW_PRIVATE", "on")
}

/// What somebody has: where it is, and words that stand in it.
struct Belongings {
    paths: Vec<String>,
    words: Vec<String>,
}

/// A reply with an image, a conversation with items and replies, a chat of the AI SDK, and an endpoint.
async fn settle(api: &Api, name: &str) -> Belongings {
    let secret = |what: &str| format!("geheimnis-{name}-{what}");
    let mut words = vec![secret("alone"), secret("item"), secret("turn"), secret("note"), secret("after")];
    let noise = data_encoding::BASE64.encode(secret("image").repeat(6_000).as_bytes());
    words.push(noise[..40].to_owned());
    let input = json!([{"role": "user", "content": [
        {"type": "input_text", "text": prompt(300, &secret("alone"))},
        {"type": "input_image", "image_url": format!("data:image/png;base64,{noise}")},
    ]}]);
    let alone = api.post("/v1/responses", with(whole("x"), json!({"input": input}))).await.ok();
    words.push(check::output_text(&alone).chars().take(40).collect());
    let first = json!({"role": "user", "content": secret("item")});
    let made = api.post("/v1/conversations", json!({"items": [first], "metadata": {"n": secret("note")}})).await.ok();
    let conversation = id_of(&made);
    let mut paths = vec![format!("/v1/responses/{}", id_of(&alone)), format!("/v1/conversations/{conversation}")];
    for turn in 0..3 {
        let question = prompt(20, &format!("{}-{turn}", secret("turn")));
        let said = api.post("/v1/responses", with(whole(&question), json!({"conversation": conversation}))).await.ok();
        paths.push(format!("/v1/responses/{}", id_of(&said)));
    }
    // What an earlier deletion carries of a record.
    let after = json!([{"role": "user", "content": secret("after")}, {"role": "user", "content": "goes before"}]);
    let added = api.post(&format!("/v1/conversations/{conversation}/items"), json!({"items": after})).await.ok();
    let item = added["data"][1]["id"].as_str().expect("an id");
    api.delete(&format!("/v1/conversations/{conversation}/items/{item}")).await.ok();
    // (Not where instances share no store.)
    let hook = json!({"name": "mine", "url": "http://127.0.0.1:9/", "event_types": ["response.completed"]});
    let made = api.post("/v1/webhook_endpoints", hook).await;
    if made.status == 200 {
        paths.push(format!("/v1/webhook_endpoints/{}", id_of(&made.json())));
    }
    Belongings { paths, words }
}

async fn replies_used(api: &Api, group: &str) -> Vec<(Value, u64)> {
    let usage = api.get(&format!("/v1/usage?group_by={group}")).await.ok();
    let rows = usage["data"].as_array().expect("rows").clone();
    rows.into_iter().map(|row| (row["user"].clone(), row["replies"].as_u64().expect("a number"))).collect()
}

async fn nothing_of_a_deleted_user_is_left(change: impl FnOnce(Config) -> Config, nats: Option<&Nats>) {
    let keys = keys();
    let given = Given::with(|config: Config| change(keyed(config, &keys))).await;
    let api = |who: &str| with_key(&given.server, keys.secret(who));
    let (alice, bob, other) = (api("alice"), api("bob"), api("other"));
    let mut hers = settle(&alice, "alice").await;
    let (his, elsewhere) = (settle(&bob, "bob").await, settle(&other, "other").await);
    // One that runs, and that she follows.
    given.upstream.on("geheimnis-running", Manner::polite().breaking(40, Break::Silent));
    let mut followed = alice.stream(streamed(&prompt(60, "geheimnis-running"))).await;
    hers.paths.push(format!("/v1/responses/{}", followed.response_id()));
    hers.words.push("geheimnis-running".to_owned());
    followed.read_words(30).await;
    let directories: Vec<_> =
        [Some(given.server.data_dir()), nats.map(Nats::directory)].into_iter().flatten().collect();
    for word in &hers.words {
        let holds = async || directories.iter().find_map(|dir| holder(dir, std::slice::from_ref(word)));
        until("the text to be stored", holds).await;
    }
    until("what was used to be counted", async || {
        let used = replies_used(&api("boss"), "user").await;
        (used.iter().map(|(_, replies)| replies).sum::<u64>() == 8).then_some(())
    })
    .await;

    let gone = api("admin").delete("/v1/users/alice").await.ok();
    assert_eq!(gone, json!({"id": "alice", "object": "user.deleted", "deleted": true}));
    for dir in directories {
        are_gone(dir, &hers.words, "a user").await;
    }
    for path in &hers.paths {
        assert_eq!(alice.get(path).await.status, 404, "{path}");
        assert_eq!(api("boss").get(path).await.status, 404, "{path}");
    }
    // Her stream ended as a cancelled one does.
    let rest = followed.collect().await;
    assert!(rest.into_events().last().is_some_and(crate::support::Event::is_terminal));
    if nats.is_none() {
        assert_eq!(alice.get("/v1/webhook_endpoints").await.ok()["data"], json!([]));
    }
    assert_eq!(alice.get("/v1/conversations").await.ok()["data"], json!([]));
    // The tenant's sum stays, without her name.
    until("what was used to count for the tenant", async || {
        let used = replies_used(&api("boss"), "user").await;
        let is_hers = used.iter().any(|(user, _)| user == "alice");
        (!is_hers && used.iter().map(|(_, replies)| replies).sum::<u64>() >= 8).then_some(())
    })
    .await;

    for (api, theirs) in [(&bob, &his), (&other, &elsewhere)] {
        for path in &theirs.paths {
            api.get(path).await.ok();
        }
    }
    // Asked again it is done as well; and she may come back.
    api("admin").delete("/v1/users/alice").await.ok();
    let again = alice.post("/v1/responses", whole("hello again")).await.ok();
    alice.get(&format!("/v1/responses/{}", id_of(&again))).await.ok();
}

#[tokio::test]
async fn nothing_of_a_deleted_user_is_left_in_any_file() {
    nothing_of_a_deleted_user_is_left(|config| config, None).await;
}

#[tokio::test]
async fn on_nats_nothing_of_a_deleted_user_is_left_either() {
    let nats = Nats::start().await;
    nothing_of_a_deleted_user_is_left(|config| config.env("NATS_URL", &nats.url), Some(&nats)).await;
}

#[tokio::test]
async fn without_a_credential_there_is_no_user() {
    let server = Server::bare().start().await;
    server.api().delete("/v1/users/alice").await.unknown("user_id");
}

/// A kill at many points of a deletion, and a start: nothing is left, unless it was not begun.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn the_deletion_of_a_user_that_a_crash_broke_off_is_completed() {
    let (keys, upstream) = (keys(), crate::support::Upstream::start().await);
    let mut completed = 0;
    for writes in (0..80).step_by(4) {
        let given = keyed(Server::before(&upstream), &keys).start().await;
        let hers = settle(&with_key(&given, keys.secret("alice")), "crash").await;
        let config = given.stop();
        let mut crashing = config.clone().env("CRASH_AFTER_WRITES", writes).start().await;
        let admin = with_key(&crashing, keys.secret("admin"));
        let answered = admin.try_call(Method::DELETE, "/v1/users/alice", "").await.is_ok();
        if crashing.ended().is_none() && answered {
            crashing.terminate();
        }
        let crashed = !crashing.wait().await.success();
        let server = config.start().await;
        let alice = with_key(&server, keys.secret("alice"));
        // It was begun: in the store first, which these crashes spare. (Before that, a start may write, too.)
        if writes == 0 && !answered && alice.get(&hers.paths[0]).await.status == 200 {
            continue;
        }
        for path in &hers.paths {
            until("a deletion to be completed", async || (alice.get(path).await.status == 404).then_some(())).await;
        }
        are_gone(server.data_dir(), &hers.words, &format!("a crash before write {writes}")).await;
        completed += usize::from(crashed);
        if !crashed {
            break;
        }
    }
    assert!(completed > 2, "it crashed in between");
}
