//! HTTP itself: versions, methods, headers, CORS.

use hyper::Method;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::support::{upstream::Manner, wait::soon, *};

#[tokio::test]
async fn http_2_is_spoken_without_tls_by_prior_knowledge() {
    let given = Given::new().await;
    given.upstream.on("h2", Manner::paced(5));
    let h2 = Api::h2c(&given.server.base);
    assert_eq!(h2.get("/livez").await.status, 200);
    let prompts: Vec<_> = (0..5).map(|number| prompt(20, &format!("h2 {number}"))).collect();
    let mut streams = Vec::new();
    for prompt in &prompts {
        streams.push(h2.stream(streamed(prompt)).await);
    }
    for (prompt, stream) in prompts.iter().zip(streams) {
        assert_eq!(check_reply(&stream.collect().await.into_events()).text, truth(prompt));
    }
}

#[tokio::test]
async fn a_cut_looks_like_one_over_http_2_too() {
    let mut given = Given::new().await;
    given.upstream.on("cut", Manner::paced(20));
    let mut stream = Api::h2c(&given.server.base).stream(streamed(&prompt(50, "a cut"))).await;
    stream.read_words(2).await;
    given.server.kill();
    assert!(matches!(stream.collect().await.end, sse::End::Cut(_)));
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let given = Given::new().await;
    let socket = TcpStream::connect(given.server.address()).await.expect("the server listens");
    let mut socket = BufReader::new(socket);
    for _ in 0..5 {
        socket.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
        let mut length = None;
        loop {
            let mut line = String::new();
            soon("a line", socket.read_line(&mut line)).await.expect("the connection stays");
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let mut body = vec![0; length.expect("a content-length")];
        socket.read_exact(&mut body).await.expect("a body");
    }
}

/// A client whose connection is closed under its next request would take that for a failure.
#[tokio::test]
async fn who_is_refused_before_the_body_is_read_is_told_that_the_connection_ends() {
    let given = Given::new().await;
    for (path, host) in [("/v1/nothing", "localhost"), ("/livez", "localhost"), ("/v1/responses", "attacker.example")] {
        let mut socket = TcpStream::connect(given.server.address()).await.expect("the server listens");
        let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("written");
        let mut answer = String::new();
        soon("the end", socket.read_to_string(&mut answer)).await.expect("text");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{path}: {answer}");
    }
    let mut socket = BufReader::new(TcpStream::connect(given.server.address()).await.expect("the server listens"));
    for _ in 0..2 {
        socket.write_all(b"POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
        let mut line = String::new();
        soon("a line", socket.read_line(&mut line)).await.expect("the connection stays");
        assert!(line.starts_with("HTTP/1.1 404"), "without a body the connection stays: {line}");
        while line != "\r\n" {
            line.clear();
            soon("a line", socket.read_line(&mut line)).await.expect("the connection stays");
        }
        let mut body = [0; 2];
        socket.read_exact(&mut body).await.expect("a body");
        let rest = soon("the rest", socket.fill_buf()).await.expect("the rest").len();
        socket.consume(rest);
    }
}

#[tokio::test]
async fn a_stream_has_the_headers_that_keep_proxies_from_holding_it() {
    let given = Given::new().await;
    let stream = given.api.stream(streamed("hello")).await;
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache, no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("x-should-retry", "false"),
    ] {
        assert_eq!(stream.headers[name], value, "{name}");
    }
    assert!(stream.headers.contains_key("x-request-id"));
    let id = stream.response_id();
    let events = stream.collect().await.into_events();
    assert_eq!(check_reply(&events).id, id);
}

#[tokio::test]
async fn the_headers_come_before_the_upstream_has_answered() {
    let given = Given::new().await;
    given.upstream.on("mute", Behaviour::Hang);
    let mut stream = given.api.stream(streamed("mute")).await;
    let events = stream.read_until(|event| event.kind == "response.in_progress").await;
    assert_eq!((events.len(), events[0].kind.as_str()), (2, "response.created"));
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let given = Given::new().await;
    let mut ids = std::collections::HashSet::new();
    for path in ["/livez", "/v1/models", "/v1/responses/resp_1", "/nowhere", "/"] {
        let answer = given.api.get(path).await;
        let id = answer.header("x-request-id").unwrap_or_else(|| panic!("no x-request-id at {path}")).to_owned();
        assert!(ids.insert(id), "{path}");
    }
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_told() {
    let given = Given::new().await;
    given.api.get("/v1/nothing").await.refused(404, Value::Null, Value::Null);
    let answer = given.api.call(Method::PUT, "/v1/responses", "{}").await;
    answer.refused(405, Value::Null, Value::Null);
    assert!(answer.header("allow").is_some_and(|methods| methods.contains("POST")), "{answer:?}");
    let answer = given.api.call(Method::PATCH, "/v1/conversations", "{}").await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let given = Given::new().await;
    for path in ["/livez", "/v1/models"] {
        let (get, head) = (given.api.get(path).await, given.api.call(Method::HEAD, path, "").await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn no_other_site_is_let_in_unless_it_is_named() {
    let given = Given::new().await;
    let foreign = given.api.clone().header("origin", "https://app.example");
    assert_eq!(foreign.get("/v1/models").await.header("access-control-allow-origin"), None);

    let given = Given::with(|config| config.env("CORS_ORIGINS", "https://app.example,https://two.example")).await;
    let named = given.api.clone().header("origin", "https://two.example");
    let answer = named.get("/v1/models").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://two.example"));
    assert!(answer.header("vary").is_some_and(|vary| vary.to_lowercase().contains("origin")));
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default().to_lowercase();
    assert!(exposed.contains("x-response-id") && exposed.contains("x-request-id"), "{exposed}");

    let asking = named
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,last-event-id");
    let answer = asking.call(Method::OPTIONS, "/v1/responses", "").await;
    assert!([200, 204].contains(&answer.status.as_u16()), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://two.example"));
    assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
    assert!(allowed.contains("authorization") && allowed.contains("content-type"), "{allowed}");

    let other = given.api.clone().header("origin", "https://evil.example").get("/v1/models").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn the_front_page_says_how_to_talk() {
    let given = Given::new().await;
    let page = given.api.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("curl") && page.text().contains("/v1/responses"), "{}", page.text());
}

#[tokio::test]
async fn a_client_that_reads_slowly_holds_up_nobody() {
    let given = Given::new().await;
    given.upstream.on("crowd", Manner::paced(2));
    let prompt = prompt(400, "a crowd");
    let slow = given.api.stream(streamed(&prompt)).await;
    let others = given.replay(&slow.response_id()).await;
    assert_eq!(check_reply(&others).text, truth(&prompt));
    assert_eq!(bodies(&slow.collect().await.into_events()), bodies(&others), "and misses nothing");
}
