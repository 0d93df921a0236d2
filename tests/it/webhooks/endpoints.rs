//! Endpoints: who has them, what they are told, and what is told of them.

use super::*;
use crate::support::{Behaviour, Given, nats::Nats, postgres::shared, whole, with};

#[tokio::test]
async fn each_end_of_a_reply_is_posted_signed_as_the_standard_has_it() {
    let hook = Hook::start().await;
    let given = Given::with(|config| config.env("WEBHOOK_ALLOW_PRIVATE", "on")).await;
    let (_, secret) = endpoint(&given.api, &hook.url("/all")).await;
    endpoint_for(&given.api, &hook.url("/failed"), &["response.failed"]).await;

    given.upstream.on("fails", Behaviour::error(400, "bad", "no"));
    let completed = given.reply(crate::support::streamed("a truth")).await.id;
    let incomplete =
        given.api.post("/v1/responses", with(whole("is cut"), json!({"max_output_tokens": 16}))).await.ok();
    let background = json!({"background": true});
    let failed = given.api.post("/v1/responses", with(whole("fails"), background.clone())).await.ok();
    given.upstream.on("hangs", Behaviour::Hang);
    let cancelled = given.api.post("/v1/responses", with(whole("hangs"), background)).await.ok();
    let id = |reply: &Value| reply["id"].as_str().expect("an id").to_owned();
    given.api.post(&format!("/v1/responses/{}/cancel", id(&cancelled)), json!({})).await.ok();

    let mut expected = vec![
        ("response.completed", completed),
        ("response.failed", id(&failed)),
        ("response.cancelled", id(&cancelled)),
    ];
    // (The truth may be shorter than the limit: the status says which it was.)
    let status = incomplete["status"].as_str().expect("a status");
    expected.push((if status == "incomplete" { "response.incomplete" } else { "response.completed" }, id(&incomplete)));
    let posted = hook.wait("/all", expected.len()).await;
    let mut found: Vec<_> =
        posted.iter().map(|one| (one.json()["type"].as_str().unwrap().to_owned(), one.reply())).collect();
    let mut wanted: Vec<_> = expected.into_iter().map(|(event, id)| (event.to_owned(), id)).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    for one in &posted {
        assert!(one.is_signed_with(&secret), "{one:?}");
        assert!(one.id().starts_with("wh_"), "{one:?}");
        assert_eq!(one.header("content-type"), "application/json");
        let body = one.json();
        assert_eq!(body["object"], "event");
        assert!(body["id"].as_str().is_some_and(|id| id.starts_with("evt_")), "{body}");
        assert_eq!(body["data"], json!({"id": one.reply()}), "ids, and no text");
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() - body["created_at"].as_u64().unwrap();
        assert!(age < 60, "{body}");
    }
    let failures = hook.wait("/failed", 1).await;
    assert_eq!((failures.len(), failures[0].reply()), (1, id(&failed)), "it wants nothing else");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_a_new_one_takes_its_place_at_once_or_after_a_day() {
    let hook = Hook::start().await;
    let server = calling().env("RUST_LOG", "debug").start().await;
    let api = server.api();
    let (id, first) = endpoint(&api, &hook.url("/a")).await;
    let path = format!("/v1/webhook_endpoints/{id}");
    reply(&api).await;
    assert!(hook.wait("/a", 1).await[0].is_signed_with(&first));

    let rotated =
        api.post(&format!("{path}/rotate_secret"), json!({"keep_old_secret_active_for_24_hours": true})).await.ok();
    let second = rotated["signing_secret"].as_str().expect("a secret").to_owned();
    assert_ne!(first, second);
    reply(&api).await;
    let both = &hook.wait("/a", 2).await[1];
    assert!(both.is_signed_with(&first) && both.is_signed_with(&second), "{both:?}");

    let rotated = api.post(&format!("{path}/rotate_secret"), json!({})).await.ok();
    let third = rotated["signing_secret"].as_str().expect("a secret").to_owned();
    reply(&api).await;
    let one = &hook.wait("/a", 3).await[2];
    assert!(one.is_signed_with(&third) && !one.is_signed_with(&second), "{one:?}");

    let shown = api.get(&path).await.ok();
    assert_eq!(shown["signing_secret_hint"].as_str(), Some(format!("whsec_…{}", &third[third.len() - 4..]).as_str()));
    let told = [shown.to_string(), api.get("/v1/webhook_endpoints").await.text().to_owned(), server.output()].concat();
    for secret in [&first, &second, &third] {
        assert!(!told.contains(secret.trim_start_matches("whsec_")), "a secret is told again");
    }
    let output = server.output();
    for what in ["created", "given another secret"] {
        assert!(
            output.lines().any(|line| line.contains("rejoinder::audit") && line.contains(what)),
            "{what}: {output}"
        );
    }
}

#[tokio::test]
async fn secrets_stand_sealed_in_the_store_and_older_plain_ones_are_read_and_sealed_with_the_next_change() {
    let (postgres, nats, hook) = (shared(), Nats::start().await, Hook::start().await);
    let database = postgres.database();
    let config = calling().env("NATS_URL", &nats.url).env("DATABASE_URL", postgres.url(&database));
    // Several instances have no secret of their own: what was kept before there was one is plain.
    let server = config.start().await;
    let (id, first) = endpoint(&server.api(), &hook.url("/a")).await;
    let stored = || postgres.sql(&database, "SELECT secret || ' ' || coalesce(old_secret, '') FROM webhook_endpoints");
    assert_eq!(stored().trim(), first);
    assert!(server.output().contains("SECRET_KEY is not set"), "{}", server.output());

    let server = server.restart_with(|config| config.env("SECRET_KEY", "1".repeat(64))).await;
    let (api, path) = (server.api(), format!("/v1/webhook_endpoints/{id}"));
    reply(&api).await;
    assert!(hook.wait("/a", 1).await[0].is_signed_with(&first));
    let rotated = json!({"keep_old_secret_active_for_24_hours": true});
    let second = api.post(&format!("{path}/rotate_secret"), rotated).await.ok()["signing_secret"].clone();
    let second = second.as_str().expect("a secret");
    let sealed = stored();
    assert_eq!(sealed.matches("rejoinder-webhook1.").count(), 2, "{sealed}");
    for secret in [&first, second] {
        assert!(!sealed.contains(&secret["whsec_".len()..]), "{sealed}");
    }
    reply(&api).await;
    let both = &hook.wait("/a", 2).await[1];
    assert!(both.is_signed_with(&first) && both.is_signed_with(second), "{both:?}");
    let hint = api.get(&path).await.ok()["signing_secret_hint"].clone();
    assert_eq!(hint.as_str(), Some(format!("whsec_…{}", &second[second.len() - 4..]).as_str()));

    // With another key it is not sent what it could not check, and it is told why; a new secret mends that.
    let server = server.restart_with(|config| config.env("SECRET_KEY", "2".repeat(64))).await;
    let api = server.api();
    let third = reply(&api).await;
    let told = |state: &Value| state["last_answer"].as_str().is_some_and(|answer| answer.contains("SECRET_KEY"));
    until_state(&api, &id, "it to say so", told).await;
    let tested = api.post(&format!("{path}/test"), json!({"event_type": "response.completed"})).await;
    assert!(tested.status == 422 && tested.text().contains("SECRET_KEY"), "{}", tested.text());
    let secret = api.post(&format!("{path}/rotate_secret"), json!({})).await.ok()["signing_secret"].clone();
    let secret = secret.as_str().expect("a secret");
    let is_it = |posted: &Posted| posted.reply() == third && posted.is_signed_with(secret);
    until("it to be told", async || hook.posted("/a").iter().any(is_it).then_some(())).await;
}

#[tokio::test]
async fn an_endpoint_is_changed_tested_listed_and_deleted() {
    let hook = Hook::start().await;
    let server = calling().start().await;
    let api = server.api();
    let (first, _) = endpoint(&api, &hook.url("/first")).await;
    let (second, secret) = endpoint_for(&api, &hook.url("/second"), &["response.failed"]).await;
    let list = api.get("/v1/webhook_endpoints?limit=1").await.ok();
    assert_eq!((list["data"][0]["id"].as_str(), list["has_more"].as_bool()), (Some(second.as_str()), Some(true)));
    let rest = api.get(&format!("/v1/webhook_endpoints?after={second}")).await.ok();
    assert_eq!((rest["data"][0]["id"].as_str(), rest["has_more"].as_bool()), (Some(first.as_str()), Some(false)));
    assert_eq!(api.get("/v1/webhook_event_types").await.ok()["data"].as_array().map(Vec::len), Some(4));

    let test = json!({"event_type": "response.cancelled"});
    hook.on("/second", Does::Answers(418));
    let tested = api.post(&format!("/v1/webhook_endpoints/{second}/test"), test).await.ok();
    assert_eq!((tested["status_code"].as_u64(), tested["success"].as_bool()), (Some(418), Some(true)));
    let posted = &hook.posted("/second")[0];
    assert!(posted.is_signed_with(&secret) && posted.json()["type"] == "response.cancelled");

    let change = json!({"url": hook.url("/moved"), "name": "moved", "event_types": ["response.completed"]});
    let changed = api.post(&format!("/v1/webhook_endpoints/{second}"), change).await.ok();
    assert_eq!((changed["name"].as_str(), changed["signing_secret"].as_str()), (Some("moved"), None));
    api.delete(&format!("/v1/webhook_endpoints/{first}")).await.ok();
    let id = reply(&api).await;
    assert_eq!(hook.wait("/moved", 1).await[0].reply(), id);
    assert!(hook.posted("/first").is_empty() && hook.posted("/second").len() == 1);
    for path in [format!("/v1/webhook_endpoints/{first}"), format!("/v1/webhook_endpoints/{first}/deliveries")] {
        assert_eq!(api.get(&path).await.status, 404);
    }
    let wrong = json!({"name": "x", "url": "http://user:pass@example.com/", "event_types": ["response.completed"]});
    assert_eq!(api.post("/v1/webhook_endpoints", wrong).await.json()["error"]["param"], "url");
}

#[tokio::test]
async fn endpoints_of_the_file_are_told_and_are_not_changed_by_callers() {
    let hook = Hook::start().await;
    let config = calling().env("FILE_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let file = format!("[[webhook]]\nname = \"file\"\nurl = \"{}\"\nsecret = \"FILE_SECRET\"\n", hook.url("/file"));
    std::fs::write(config.data_dir().join("rejoinder.toml"), file).expect("our own directory");
    let server = config.env("REJOINDER_CONFIG", "rejoinder.toml").start().await;
    let api = server.api();
    let shown = api.get("/v1/webhook_endpoints").await.ok()["data"][0].clone();
    assert_eq!((shown["name"].as_str(), shown["rejoinder"]["configured"].as_bool()), (Some("file"), Some(true)));
    // One that has just started tells of what ends from then on.
    until("the server to deliver", async || (api.gauge("rejoinder_webhook_carrier").await == 1).then_some(())).await;
    let id = reply(&api).await;
    let posted = hook.wait("/file", 1).await;
    assert!(posted[0].reply() == id && posted[0].is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let path = format!("/v1/webhook_endpoints/{}", shown["id"].as_str().unwrap());
    assert_eq!(api.delete(&path).await.status, 400);
    assert_eq!(api.post(&format!("{path}/rotate_secret"), json!({})).await.status, 400);
    until_state(&api, shown["id"].as_str().unwrap(), "its delivery to be counted", |state| state["delivered"] == 1)
        .await;
}
