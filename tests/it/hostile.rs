//! Clients that mean ill, or are very slow: they cost little, and nobody else notices.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{upstream::Manner, wait::soon, *};

mod http2;
mod measure;

const SECOND: &str = "1s";

async fn connect(given: &Given) -> TcpStream {
    TcpStream::connect(given.server.address()).await.expect("the server listens")
}

/// Everything up to the end of a connection.
async fn rest(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // That it was reset is an end, too.
    let _ = soon("the connection's end", socket.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

async fn ask(given: &Given, request: &[u8]) -> String {
    let mut socket = connect(given).await;
    socket.write_all(request).await.expect("written");
    rest(&mut socket).await
}

/// The value of a metric, whose line begins so.
fn metric(answer: &Answer, line: &str) -> f64 {
    let lines = answer.text().lines().filter_map(|text| text.strip_prefix(line)?.trim().parse::<f64>().ok());
    lines.sum()
}

async fn still_serves(given: &Given) {
    assert_eq!(given.api.post("/v1/responses", whole("hello")).await.ok()["status"], "completed");
}

#[tokio::test]
async fn who_never_sends_a_head_is_let_go() {
    let given = Given::with(|config| config.env("HANDSHAKE_TIMEOUT", SECOND)).await;
    let mut sockets = Vec::new();
    for begin in
        ["", "P", "PRI *", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: "]
    {
        for _ in 0..40 {
            let mut socket = connect(&given).await;
            socket.write_all(begin.as_bytes()).await.expect("written");
            sockets.push(socket);
        }
    }
    still_serves(&given).await;
    for socket in &mut sockets {
        rest(socket).await;
    }
    let ended = "rejoinder_connections_ended_total{fault=\"no_request\"}";
    given.server.poll("/metrics", |answer| metric(answer, ended) >= 200.0).await;
    // One that was served before has no more time for its next head.
    let mut socket = connect(&given).await;
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
    let mut begin = [0; 12];
    socket.read_exact(&mut begin).await.expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 200");
    socket.write_all(b"GET /livez HTTP/1.1\r\n").await.expect("written");
    rest(&mut socket).await;
    still_serves(&given).await;
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_408() {
    let given = Given::with(|config| config.env("BODY_TIMEOUT", SECOND)).await;
    let answer =
        ask(&given, b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"input\"").await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"request_timeout\""), "{answer}");
    still_serves(&given).await;
}

#[tokio::test]
async fn uploads_that_stall_leave_room_for_others() {
    let limits = [("MAX_BODY_BYTES", "1MiB"), ("MAX_BUFFERED_BYTES", "4MiB")];
    let given = Given::with(|config| limits.iter().fold(config, |config, (name, value)| config.env(name, value))).await;
    let head = b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let mut socket = connect(&given).await;
        socket.write_all(head).await.expect("written");
        let _ = soon("what the server takes", socket.write_all(&vec![b' '; 500_000])).await;
        stalled.push(socket);
    }
    let full = given.server.poll("/metrics", |answer| metric(answer, "rejoinder_buffered_bytes ") > 2e6).await;
    assert!(metric(&full, "rejoinder_buffered_bytes ") <= f64::from(4 << 20));
    // A short request finds room at once, a long one as soon as an upload gives way.
    still_serves(&given).await;
    let long = whole(&"word ".repeat(100_000));
    until("a long request to find room", async || {
        // One that is refused in the middle may find its connection cut before it reads why.
        let answer = given.api.try_open(hyper::Method::POST, "/v1/responses", long.to_string()).await.ok()?;
        assert!(answer.status == 200 || answer.status == 503, "{}", answer.status);
        (answer.status == 200).then_some(())
    })
    .await;
    drop(stalled);
    given.server.poll("/metrics", |answer| metric(answer, "rejoinder_buffered_bytes ") < 1.0).await;
}

/// A reply of several MiB, and its path.
async fn long_reply(given: &Given) -> String {
    given.upstream.on(
        "much",
        Behaviour::script([
            upstream::Step::text(&"x".repeat(8 << 20)),
            upstream::Step::Finish("stop"),
            upstream::Step::Done,
        ]),
    );
    let reply = given.api.post("/v1/responses", whole("much")).await.ok();
    format!("/v1/responses/{}", reply["id"].as_str().expect("an id"))
}

async fn asks_and_reads_nothing(given: &Given, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a small buffer");
    let mut socket =
        socket.connect(given.server.address().parse().expect("an address")).await.expect("the server listens");
    socket
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .expect("written");
    socket
}

#[tokio::test]
async fn who_reads_nothing_is_let_go_and_who_reads_slowly_is_not() {
    let given = Given::with(|config| config.env("CLIENT_STALL_TIMEOUT", SECOND)).await;
    let path = long_reply(&given).await;
    let _stalled = asks_and_reads_nothing(&given, &path).await;
    let mut slow = asks_and_reads_nothing(&given, &path).await;
    let ended = "rejoinder_connections_ended_total{fault=\"stalled\"}";
    // It takes a little each time that the server is asked how it is, until the other is gone.
    let (mut read, mut piece) = (0, vec![0; 16 << 10]);
    until("the client that reads nothing to be let go", async || {
        read += soon("more", slow.read(&mut piece)).await.expect("the connection stays");
        (metric(&given.api.get("/metrics").await, ended) >= 1.0).then_some(())
    })
    .await;
    let all = rest(&mut slow).await.len() + read;
    assert!(all > 8 << 20, "the slow one gets all: {all}");
    let answer = given.api.get("/metrics").await;
    assert!((metric(&answer, ended) - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn there_are_only_so_many_connections() {
    let given = Given::with(|config| config.env("MAX_CONNECTIONS", 8)).await;
    let held: Vec<_> = futures_util::future::join_all((0..8).map(|_| connect(&given))).await;
    is_refused(&given).await;
    drop(held);
    let answer = given.server.poll("/metrics", |answer| answer.status == 200).await;
    assert!(metric(&answer, "rejoinder_connections_refused_total{limit=\"all\"}") >= 1.0, "{}", answer.text());
    still_serves(&given).await;
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let given = Given::with(|config| config.env("MAX_CONNECTIONS_PER_ADDRESS", 4)).await;
    let _held: Vec<_> = futures_util::future::join_all((0..4).map(|_| connect(&given))).await;
    is_refused(&given).await;
}

/// That a connection is not taken, once those before it are.
async fn is_refused(given: &Given) {
    until("a connection to be refused", async || {
        let mut socket = connect(given).await;
        let mut begin = [0; 32];
        let read = tokio::time::timeout(std::time::Duration::from_millis(200), socket.read(&mut begin)).await;
        let begin = String::from_utf8_lossy(&begin[..read.ok()?.ok()?]).into_owned();
        begin.starts_with("HTTP/1.1 503").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    let given = Given::new().await;
    for hosts in ["", "host: a\r\nhost: b\r\n", "host: \r\n", "host: a b\r\n", "host: u@a\r\n", "host: a/b\r\n"] {
        let answer = ask(&given, format!("GET /livez HTTP/1.1\r\n{hosts}connection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("invalid_host"), "{hosts:?}: {answer}");
    }
    assert!(ask(&given, b"GET /livez HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
}

#[tokio::test]
async fn no_answer_is_kept_or_taken_for_something_else() {
    let given = Given::new().await;
    let reply = given.api.post("/v1/responses", whole("hello")).await;
    let path = format!("/v1/responses/{}", reply.ok()["id"].as_str().expect("an id"));
    for path in ["/livez", "/v1/models", "/nothing", &path, &format!("{path}/input_items")] {
        let answer = given.api.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.header("cache-control").is_some_and(|value| value.contains("no-store")), "{path}");
    }
}

#[tokio::test]
async fn a_flood_of_connections_leaves_streams_alone() {
    let given = Given::with(|config| config.env("HANDSHAKE_TIMEOUT", SECOND)).await;
    given.upstream.on("paced", Manner::paced(20));
    let stream = given.api.stream(streamed(&prompt(50, "paced"))).await;
    for _ in 0..10 {
        let sockets = futures_util::future::join_all((0..100).map(|_| connect(&given))).await;
        drop(sockets);
    }
    assert_eq!(check_reply(&stream.collect().await.into_events()).text, truth(&prompt(50, "paced")));
}
