//! Endpoints that misbehave: each is tried again, and none holds up another.

use std::time::{Duration, Instant};

use super::*;
use crate::support::wait::soon;

#[tokio::test]
async fn what_fails_is_tried_again_under_the_same_id_and_told() {
    let hook = Hook::start().await;
    let server = calling().start().await;
    let api = server.api();
    hook.on("/a", Does::AnswersInTurn(vec![500, 503, 200]));
    let (id, secret) = endpoint(&api, &hook.url("/a")).await;
    let reply = reply(&api).await;
    until_state(&api, &id, "the endpoint to fail", |state| state["state"] == "failing" && state["pending"] == 1).await;
    let posted = hook.wait("/a", 3).await;
    assert!(posted.iter().all(|one| one.id() == posted[0].id() && one.reply() == reply && one.is_signed_with(&secret)));
    let state =
        until_state(&api, &id, "the endpoint to work", |state| state["state"] == "ok" && state["delivered"] == 1);
    let state = state.await;
    assert_eq!((state["pending"].as_u64(), state["last_answer"].as_str()), (Some(0), Some("200")), "{state}");
    assert_eq!(posted.len(), 3, "then it is left alone");
    let pauses: Vec<_> = posted.windows(2).map(|two| two[1].at - two[0].at).collect();
    assert!(pauses[0] >= Duration::from_millis(400) && pauses[1] >= Duration::from_millis(1500), "{pauses:?}");
}

#[tokio::test]
async fn an_endpoint_that_hangs_and_one_that_always_fails_hold_up_no_other() {
    const REPLIES: usize = 60;
    let hook = Hook::start().await;
    let server = calling().start().await;
    let api = server.api();
    hook.on("/hangs", Does::Hangs);
    hook.on("/fails", Does::Answers(500));
    for path in ["/hangs", "/fails", "/well"] {
        endpoint(&api, &hook.url(path)).await;
    }
    let nobody = endpoint(&api, "http://127.0.0.1:9/").await.0;
    let begun = Instant::now();
    let mut said = std::collections::BTreeSet::new();
    for _ in 0..REPLIES {
        said.insert(reply(&api).await);
    }
    let posted = hook.wait("/well", REPLIES).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(12), "less than one of those that hang takes: {took:?}");
    assert_eq!((posted.len(), replies(&posted)), (REPLIES, said));
    assert!(hook.posted("/hangs").len() <= 16, "so many are tried at once");
    let state = until_state(&api, &nobody, "all to wait", |state| state["pending"] == REPLIES as u64).await;
    assert!(state["last_answer"].as_str().is_some_and(|answer| answer.contains("refused")), "{state}");
    assert!(hook.posted("/fails").len() < REPLIES, "one that fails is left alone");
    hook.on("/fails", Does::Answers(200));
    let all = async {
        let mut patience = crate::support::wait::Patience::with("all to be told when it works again");
        while replies(&hook.posted("/fails")).len() < REPLIES {
            patience.wait().await;
        }
    };
    soon("all to be told", all).await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_ended_and_what_was_given_up_can_be_sent_again() {
    let hook = Hook::start().await;
    let server = calling().start().await;
    let api = server.api();
    hook.on("/a", Does::Answers(410));
    let (id, _) = endpoint(&api, &hook.url("/a")).await;
    let lost = reply(&api).await;
    let state =
        until_state(&api, &id, "the endpoint to end", |state| state["state"] == "ended" && state["given_up"] == 1);
    assert!(state.await["ended_at"].is_u64());
    let ignored = reply(&api).await;
    let path = format!("/v1/webhook_endpoints/{id}");
    let given_up = api.get(&format!("{path}/deliveries?status=given_up")).await.ok();
    let delivery = &given_up["data"][0];
    assert_eq!(
        (delivery["response_id"].as_str(), delivery["status"].as_str()),
        (Some(lost.as_str()), Some("given_up"))
    );
    assert_eq!((delivery["last_answer"].as_str(), delivery["next_attempt_at"].as_u64()), (Some("410"), None));

    hook.on("/a", Does::Answers(200));
    api.post(&path, json!({})).await.ok();
    until_state(&api, &id, "it to be told again", |state| state["state"] == "ok").await;
    let resent = api.post(&format!("{path}/resend"), json!({"delivery_id": delivery["id"]})).await.ok();
    assert_eq!(resent["count"], 1);
    let posted = hook.wait("/a", 2).await;
    assert_eq!((posted[1].reply(), posted[1].id()), (lost, posted[0].id()));
    let next = reply(&api).await;
    let posted = hook.wait("/a", 3).await;
    assert_eq!(posted[2].reply(), next);
    assert!(!replies(&posted).contains(&ignored), "while it was ended it was told nothing");
    let output = server.output();
    assert!(output.lines().any(|line| line.contains("rejoinder::audit") && line.contains("410")), "{output}");
}

#[tokio::test]
async fn what_is_not_taken_for_too_long_is_given_up_listed_and_sent_again_under_its_id() {
    let hook = Hook::start().await;
    let server = calling().env("WEBHOOK_GIVE_UP_AFTER", "3s").start().await;
    let api = server.api();
    hook.on("/a", Does::Answers(500));
    let (id, secret) = endpoint(&api, &hook.url("/a")).await;
    let lost = reply(&api).await;
    let waits = until_state(&api, &id, "it to be tried", |state| state["pending"] == 1).await;
    assert_eq!((waits["given_up"].as_u64(), waits["last_answer"].as_str()), (Some(0), Some("500")), "{waits}");
    let state = until_state(&api, &id, "it to be given up", |state| state["given_up"] == 1).await;
    assert_eq!((state["pending"].as_u64(), state["state"].as_str()), (Some(0), Some("failing")), "{state}");
    let posted = hook.posted("/a");
    assert!(posted.len() >= 3, "{} tries", posted.len());
    let tried = posted[posted.len() - 1].at - posted[0].at;
    assert!((Duration::from_millis(2900)..Duration::from_secs(15)).contains(&tried), "{tried:?}: the last at its end");

    let path = format!("/v1/webhook_endpoints/{id}");
    let listed = api.get(&format!("{path}/deliveries?status=given_up")).await.ok();
    let delivery = &listed["data"][0];
    assert_eq!((delivery["id"].as_str(), delivery["response_id"].as_str()), (Some(posted[0].id()), Some(&lost[..])));
    assert_eq!(delivery["attempts"], posted.len(), "{delivery}");
    assert_eq!(api.get(&format!("{path}/deliveries?status=pending")).await.ok()["data"], json!([]));
    let counted = r#"rejoinder_webhook_deliveries_total{outcome="given_up"} 1"#;
    server.poll("/metrics", |answer| answer.text().lines().any(|line| line == counted)).await;

    hook.on("/a", Does::Answers(200));
    let before = hook.posted("/a").len();
    assert_eq!(api.post(&format!("{path}/resend"), json!({})).await.ok()["count"], 1);
    let posted = hook.wait("/a", before + 1).await;
    let again = &posted[before];
    assert!(again.id() == posted[0].id() && again.reply() == lost && again.is_signed_with(&secret), "{again:?}");
    until_state(&api, &id, "it to be delivered", |state| state["delivered"] == 1 && state["given_up"] == 0).await;
}

#[tokio::test]
async fn the_report_of_health_counts_endpoints_that_fail() {
    let hook = Hook::start().await;
    let server = calling().start().await;
    let api = server.api();
    hook.on("/a", Does::Answers(500));
    for path in ["/a", "/b"] {
        endpoint(&api, &hook.url(path)).await;
    }
    reply(&api).await;
    let told = |answer: &crate::support::Answer| answer.json()["webhooks"].clone();
    let health = server.poll("/healthz", |answer| told(answer)["failing"] == 1 && told(answer)["pending"] == 1).await;
    let webhooks = told(&health);
    assert_eq!((&webhooks["delivers"], &webhooks["endpoints"]), (&json!(true), &json!(2)), "{webhooks}");
    assert_eq!((&webhooks["waiting_for_s"], &health.json()["status"]), (&Value::Null, &json!("ok")), "it just began");
    hook.on("/a", Does::Answers(200));
    server.poll("/healthz", |answer| told(answer)["failing"] == 0 && told(answer)["pending"] == 0).await;
}

#[tokio::test]
async fn late_long_broken_and_misleading_answers_are_what_they_are() {
    let (hook, other) = (Hook::start().await, Hook::start().await);
    let server = calling().start().await;
    let api = server.api();
    hook.on("/late", Does::IsLate(Duration::from_secs(20)));
    hook.on("/long", Does::AnswersAtLength);
    hook.on("/elsewhere", Does::Redirects(other.url("/there")));
    let tls = tls().await;
    let urls =
        [hook.url("/late"), hook.url("/long"), hook.url("/elsewhere"), tls, "http://nowhere.invalid/".to_owned()];
    let mut ids = Vec::new();
    for url in &urls {
        ids.push(endpoint(&api, url).await.0);
    }
    reply(&api).await;
    let answers = |index: usize, expected: &'static str| {
        let (api, id) = (api.clone(), ids[index].clone());
        async move {
            let what = format!("the answer {expected}");
            let is = |state: &Value| state["last_answer"].as_str().is_some_and(|answer| answer.contains(expected));
            until_state(&api, &id, &what, is).await
        }
    };
    assert_eq!(answers(1, "200").await["state"], "ok");
    assert_eq!(answers(2, "301").await["state"], "failing");
    assert_eq!(answers(3, "TLS").await["state"], "failing");
    answers(4, "").await;
    assert_eq!(answers(0, "no answer within 15 s").await["state"], "failing");
    assert!(other.posted("/there").is_empty(), "nobody is sent elsewhere");
}

/// A server whose certificate nobody trusts.
async fn tls() -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key =
        tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config =
        tokio_rustls::rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config.expect("a certificate")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("an address").port());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let _ = acceptor.accept(connection).await;
        }
    });
    url
}

#[tokio::test]
async fn private_addresses_are_called_only_where_that_is_allowed() {
    let hook = Hook::start().await;
    let server = Server::bare().start().await;
    let api = server.api();
    let port = hook.url("").rsplit(':').next().expect("a port").to_owned();
    let new = |url: &str| json!({"name": "x", "url": url, "event_types": ["response.completed"]});
    for host in [
        "127.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.1.2.3",
    ] {
        let answer = api.post("/v1/webhook_endpoints", new(&format!("https://{host}:{port}/"))).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"]["param"].as_str()), (400, Some("url")), "{host}");
    }
    let plain = api.post("/v1/webhook_endpoints", new("http://example.com/")).await;
    assert_eq!(plain.status, 400, "without TLS");
    // What a name stands for is looked at when it is called.
    let made = api.post("/v1/webhook_endpoints", new(&format!("https://localhost:{port}/"))).await.ok();
    let path = format!("/v1/webhook_endpoints/{}", made["id"].as_str().unwrap());
    let tested = api.post(&format!("{path}/test"), json!({"event_type": "response.completed"})).await;
    assert_eq!(
        (tested.status.as_u16(), tested.json()["error"]["code"].as_str()),
        (422, Some("webhook_endpoint_unreachable"))
    );
    assert!(tested.text().contains("public internet"), "{}", tested.text());
    reply(&api).await;
    let id = made["id"].as_str().unwrap();
    let state = until_state(&api, id, "a failure", |state| state["state"] == "failing").await;
    assert!(state["last_answer"].as_str().is_some_and(|answer| answer.contains("public internet")), "{state}");
    let server = server.restart_with(|config| config.env("WEBHOOK_ALLOW_PRIVATE", "on")).await;
    let (_, _) = endpoint(&server.api(), &hook.url("/a")).await;
    reply(&server.api()).await;
    hook.wait("/a", 1).await;
}
