//! NATS has no space left: clients are told to come again, and the operator is told why.

use crate::support::{nats::Nats, server::Server, *};

#[tokio::test]
async fn a_log_that_is_full_shows_as_degraded_with_the_reason() {
    shows_as_degraded(|_| json!("word ".repeat(8_000))).await;
}

/// They are kept apart from records, and fill another place.
#[tokio::test]
async fn so_does_one_that_has_no_space_for_images() {
    shows_as_degraded(|number| with_image("look", number, 200_000)).await;
}

async fn shows_as_degraded(input: impl Fn(usize) -> Value) {
    let nats = Nats::start().await;
    let server = Server::bare().env("NATS_URL", &nats.url).env("LOG_MAX_BYTES", "1MiB").start().await;
    let api = server.api();
    server.poll("/healthz", |answer| answer.json()["status"] == "ok").await;
    let mut number = 0;
    until("the log to be full", async || {
        number += 1;
        let request = json!({"model": "echo", "background": true, "input": input(number)});
        let answer = api.post("/v1/responses", request).await;
        (answer.status == 503).then_some(())
    })
    .await;
    let health = api.get("/healthz").await.ok();
    assert_eq!(
        (&health["status"], &health["log"]["problem"]),
        (&json!("degraded"), &json!("no space left")),
        "{health}"
    );
    assert!(health["refused"]["reason"].as_str().is_some_and(|reason| reason.contains("no space")), "{health}");
    let metrics = api.get("/metrics").await;
    for gauge in ["rejoinder_log_writable 0", "rejoinder_replies_refused 1"] {
        assert!(metrics.text().lines().any(|line| line == gauge), "{gauge}");
    }
}
