//! What the operator sees: probes, metrics, the output, refusals to start.

use std::os::unix::fs::PermissionsExt;

use tokio::net::TcpListener;

use crate::support::{server::Server, upstream::Manner, *};

#[tokio::test]
async fn the_probes_say_that_it_lives_and_is_ready() {
    let given = Given::new().await;
    assert_eq!(given.api.get("/livez").await.status, 200);
    given.server.poll("/readyz", |answer| answer.status == 200).await;
    let health = given.api.get("/healthz").await.ok();
    assert!(health.is_object(), "{health}");
    for part in ["log", "store", "upstreams"] {
        assert!(health.get(part).is_some(), "`{part}` is missing in {health}");
    }
}

#[tokio::test]
async fn probes_do_not_ask_the_upstream() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let config = Server::bare().env("LLM_BASE_URL", format!("http://{nobody}/v1")).env("LLM_MODEL", "truth");
    let server = config.start().await;
    server.poll("/readyz", |answer| answer.status == 200).await;
    assert_eq!(server.api().get("/livez").await.status, 200);
}

#[tokio::test]
async fn the_metrics_have_names_types_and_move() {
    let given = Given::new().await;
    given.upstream.on("measured", Manner::paced(10));
    let mut stream = given.api.stream(streamed(&prompt(30, "measured"))).await;
    stream.read_words(2).await;
    let while_open = given.api.get("/metrics").await;
    assert_eq!(while_open.status, 200);
    stream.collect().await.into_events();
    let text = while_open.text();
    for (name, kind) in [
        ("rejoinder_replies_accepted", "counter"),
        ("rejoinder_replies_running", "gauge"),
        ("rejoinder_streams_open", "gauge"),
        ("rejoinder_delivery_lag_seconds", "histogram"),
        ("rejoinder_buffer_depth_events", "histogram"),
        ("rejoinder_append_seconds", "histogram"),
        ("rejoinder_projection_lag_seconds", "gauge"),
        ("rejoinder_upstream_first_token_seconds", "histogram"),
    ] {
        let line = format!("# TYPE {name} {kind}");
        let types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        assert!(types.contains(&&*line), "no {kind} {name} in {types:#?}");
    }
    let open = |text: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with("rejoinder_streams_open"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert!((open(text) - 1.0).abs() < 0.1, "{text}");
    given.server.poll("/metrics", |answer| open(answer.text()) < 0.1).await;
    for up in ["rejoinder_log_writable 1", "rejoinder_store_up 1"] {
        given.server.poll("/metrics", |answer| answer.text().lines().any(|line| line == up)).await;
    }
}

#[tokio::test]
async fn start_up_says_where_it_listens_what_it_uses_and_how_to_talk() {
    let server = Server::bare().start().await;
    server.poll("/readyz", |answer| answer.status == 200).await;
    until("the greeting", async || {
        let output = server.output();
        ["eliza", "LLM_BASE_URL", "curl", &server.base].iter().all(|part| output.contains(part)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn neither_texts_nor_secrets_are_logged() {
    let given = Given::with(|config| config.env("LLM_API_KEY", "sk-secret").env("RUST_LOG", "debug")).await;
    given.upstream.on("private", Behaviour::error(500, "x", "private failure"));
    given.upstream.on("said", Manner::polite());
    let api = given.api.clone().header("authorization", "Bearer sk-client");
    let said = prompt(4, "said in private rooms");
    given.upstream.on("rooms", Manner::polite());
    api.post("/v1/responses", whole(&said)).await.ok();
    api.post("/v1/responses", whole("broken {private")).await;
    let output = given.server.output();
    for secret in ["sk-secret", "sk-client", "private rooms", &truth(&said)] {
        assert!(!output.contains(secret), "{secret} in {output}");
    }
}

#[tokio::test]
async fn a_wrong_setting_is_named_at_start() {
    for (name, value) in
        [("PORT", "many"), ("HEARTBEAT", "soon"), ("LLM_BASE_URL", "not a url"), ("LLM_CONTINUATION", "x")]
    {
        let config = Server::bare().env(name, value);
        let ended = config.clone().try_start().await.expect_err("a wrong setting does not start");
        assert!(!ended.status.success(), "{name}");
        until("the message", async || config.output().contains(name).then_some(())).await;
    }
}

#[tokio::test]
async fn a_data_dir_that_cannot_be_written_is_told_at_start() {
    let config = Server::bare();
    std::fs::write(config.data_dir().join("data"), "a file where the directory should be").expect("written");
    let ended = config.clone().try_start().await.expect_err("it cannot start");
    assert!(!ended.status.success());
    until("the message", async || config.output().contains("DATA_DIR").then_some(())).await;
    assert!(!config.output().contains("panicked"), "{}", config.output());

    let config = Server::bare();
    let data = config.data_dir().join("data");
    std::fs::create_dir(&data).expect("created");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o500)).expect("permitted");
    if std::fs::write(data.join("probe"), "").is_ok() {
        return; // Permissions do not hold for root.
    }
    config.clone().try_start().await.expect_err("it cannot start");
    until("the message", async || config.output().contains("DATA_DIR").then_some(())).await;
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let config = Server::bare();
    let first = config.clone().start().await;
    let second = config.clone().try_start().await.expect_err("one process to a directory");
    assert!(!second.status.success());
    until("the message", async || config.output().contains("DATA_DIR").then_some(())).await;
    assert_eq!(first.api().get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_at_start() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let config = Server::bare().env("PORT", port);
    config.clone().try_start().await.expect_err("the port is taken");
    until("the message", async || config.output().contains(&port.to_string()).then_some(())).await;
}

#[tokio::test]
async fn an_open_address_without_authentication_is_refused_unless_it_is_meant() {
    let config = Server::bare().env("HOST", "0.0.0.0");
    config.clone().try_start().await.expect_err("open to everyone");
    until("the message", async || config.output().contains("AUTH").then_some(())).await;
}

#[tokio::test]
async fn sigterm_ends_an_idle_server_soon_and_well() {
    let mut server = Server::bare().start().await;
    server.terminate();
    let status = server.wait().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_draining_server_is_not_ready_and_finishes_what_it_can() {
    let mut given = Given::with(|config| config.env("DRAIN_TIMEOUT", "20s")).await;
    given.upstream.on("last", Manner::paced(20));
    let prompt = prompt(40, "last words");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let mut events = stream.read_words(3).await;
    given.server.terminate();
    events.extend(stream.collect().await.into_events());
    assert_eq!(check_reply(&events).text, truth(&prompt));
    assert!(given.server.wait().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut given = Given::with(|config| config.env("DRAIN_TIMEOUT", "60s")).await;
    given.upstream.on("endless", Manner::paced(50));
    let mut stream = given.api.stream(streamed(&prompt(2000, "endless"))).await;
    stream.read_words(2).await;
    given.server.terminate();
    until("the drain to begin", async || {
        let answer = given.api.try_call(hyper::Method::GET, "/readyz", "").await;
        answer.map_or(true, |answer| answer.status == 503).then_some(())
    })
    .await;
    given.server.terminate();
    given.server.wait().await;
}
