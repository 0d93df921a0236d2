//! NATS has no space left: clients are told to come again, and the operator is told why.

use crate::support::{nats::Nats, server::Server, *};

#[tokio::test]
async fn a_log_that_is_full_shows_as_degraded_with_the_reason() {
    shows_as_degraded(Nats::start().await, "1MiB", |_| json!("word ".repeat(8_000))).await;
}

/// They are kept apart from records, and fill another place.
#[tokio::test]
async fn so_does_one_that_has_no_space_for_images() {
    shows_as_degraded(Nats::start().await, "1MiB", |number| with_image("look", number, 200_000)).await;
}

/// What limits it is not a stream of its own, but all that the server may keep.
#[tokio::test]
async fn so_does_one_on_a_server_that_is_full() {
    let nats = Nats::configured("jetstream { max_file_store: 2MB }\n").await;
    shows_as_degraded(nats, "off", |_| json!("word ".repeat(8_000))).await;
}

async fn shows_as_degraded(nats: Nats, max_bytes: &str, input: impl Fn(usize) -> Value) {
    let server = Server::bare().env("NATS_URL", &nats.url).env("LOG_MAX_BYTES", max_bytes).start().await;
    let api = server.api();
    server.poll("/healthz", |answer| answer.json()["status"] == "ok").await;
    let mut number = 0;
    until("the log to be full", async || {
        number += 1;
        let request = json!({"model": "echo", "background": true, "input": input(number)});
        let begun = std::time::Instant::now();
        let answer = api.post("/v1/responses", request).await;
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
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
