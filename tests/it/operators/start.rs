//! A server whose log or store is away when it starts: it listens, says so, and goes on by itself or ends when it is asked to.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::support::{
    nats::Nats,
    ports::free_port,
    server::{Config, Server},
    *,
};

/// Waits until a server that waits for something listens.
async fn listens(server: &Server) {
    let live = async || server.api().try_call(hyper::Method::GET, "/livez", "").await.ok();
    until("the server to listen", live).await;
}

#[tokio::test]
async fn a_server_whose_nats_is_away_listens_and_goes_on_when_it_comes() {
    let port = free_port();
    let server = Server::bare().env("NATS_URL", format!("nats://127.0.0.1:{port}")).begin();
    listens(&server).await;
    let api = server.api();
    let live = api.get("/livez").await;
    assert_eq!((live.status.as_u16(), live.text()), (200, "ok\n"));
    for path in ["/readyz", "/healthz", "/metrics", "/", "/v1/models", "/v1/responses/resp_x", "/nowhere"] {
        let answer = api.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")), "{path}: {answer:?}");
    }
    // An EventSource would give up at an error.
    let comes_back = server.api().header("accept", "text/event-stream").get("/v1/responses/resp_x/events").await;
    assert!(comes_back.status == 200 && comes_back.text().starts_with("retry: "), "{comes_back:?}");
    let health = api.get("/healthz").await.json();
    let awaited = &health["waiting_for"][0];
    let (what, address) = (&awaited["what"], &awaited["address"]);
    assert_eq!((&health["status"], &health["ready"], what), (&json!("unavailable"), &json!(false), &json!("log")));
    assert_eq!(address, &json!(format!("nats://127.0.0.1:{port}")));
    let refused = api.post("/v1/responses", whole("hello")).await;
    refused.refused(503, "service_unavailable", Value::Null);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let waits = || server.output().matches("waiting for NATS").count();
    until("two tries", async || (waits() >= 2).then_some(())).await;
    assert!(server.output().contains("again_after_ms"), "{}", server.output());
    let health = api.get("/healthz").await.json();
    let awaited = &health["waiting_for"][0];
    assert!(awaited["tries"].as_u64() >= Some(2), "{health}");
    assert!(awaited["problem"].as_str().is_some_and(|text| text.contains("cannot connect")), "{health}");
    assert!(awaited["change"].as_str().is_some_and(|text| text.contains("NATS_URL")), "{health}");

    let _nats = Nats::at(port).await;
    // On connections that are open since then, too.
    until("it to be ready", async || (api.get("/readyz").await.status == 200).then_some(())).await;
    api.post("/v1/responses", json!({"model": "echo", "input": "hello"})).await.ok();
}

/// That a server that waits ends soon and in good order when it is asked to.
async fn ends_at_once(config: Config, waits_for: &str) {
    let mut server = config.begin();
    listens(&server).await;
    let begun = Instant::now();
    server.terminate();
    let status = server.wait().await;
    assert_eq!((status.code(), begun.elapsed() < Duration::from_secs(1)), (Some(0), true), "{waits_for}: {status}");
}

#[tokio::test]
async fn a_server_that_waits_ends_within_a_second_of_sigterm() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().expect("an address");
    for (waits_for, url) in [
        ("NATS that is away", format!("nats://127.0.0.1:{}", free_port())),
        ("NATS that says nothing", format!("nats://{silent}")),
    ] {
        ends_at_once(Server::bare().env("NATS_URL", url), waits_for).await;
    }
    let postgres = Server::bare()
        .env("DATABASE_URL", format!("postgres://me@{silent}/chat?sslmode=disable"))
        .env("DATABASE_CONNECT_TIMEOUT", "60s");
    ends_at_once(postgres, "Postgres that says nothing").await;
}
