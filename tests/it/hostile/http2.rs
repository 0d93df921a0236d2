//! The same over HTTP/2, whose streams have windows and resets of their own.

use h2::client::{Builder, SendRequest};

use super::*;

/// A connection whose streams get a window of so many bytes.
async fn connection(given: &Given, window: u32) -> SendRequest<bytes::Bytes> {
    let socket = connect(given).await;
    let handshake = Builder::new().initial_window_size(window).handshake(socket).await;
    let (client, connection) = handshake.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    client
}

fn get(given: &Given, path: &str) -> hyper::Request<()> {
    hyper::Request::get(format!("{}{path}", given.server.base)).body(()).expect("a request")
}

#[tokio::test]
async fn who_never_opens_a_window_is_let_go_and_holds_little() {
    let limits = [("CLIENT_STALL_TIMEOUT", "4s"), ("MAX_BUFFERED_BYTES", "24MiB")];
    let given = Given::with(|config| limits.iter().fold(config, |config, (name, value)| config.env(name, value))).await;
    let path = long_reply(&given).await;
    let (given, path) = (&given, &path);
    let held = futures_util::future::join_all((0..3).map(async |_| {
        let mut client = connection(given, 1).await.ready().await.expect("ready");
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(client.send_request(get(given, path), true).expect("sent").0);
            client = client.ready().await.expect("ready");
        }
        (futures_util::future::join_all(answers).await, client)
    }));
    let held = soon("answers", held).await;
    let answers = held.iter().flat_map(|(answers, _)| answers);
    let refused = answers.filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 503)).count();
    assert!(refused >= 8, "18 MiB hold two answers of 8 MiB: {refused}");
    still_serves(given).await;
    let ended = "rejoinder_connections_ended_total{fault=\"stalled\"}";
    let over = |answer: &Answer| metric(answer, ended) >= 1.0 && metric(answer, "rejoinder_buffered_bytes ") < 1.0;
    given.server.poll("/metrics", over).await;
    assert_eq!(given.api.get(path).await.status, 200, "there is room again");
}

#[tokio::test]
async fn a_stream_that_waits_for_us_is_not_stalled() {
    let given = Given::with(|config| config.env("CLIENT_STALL_TIMEOUT", SECOND).env("HEARTBEAT", "60s")).await;
    given.upstream.on("slow", Manner::paced(400));
    let stream = Api::h2c(&given.server.base).stream(streamed(&prompt(8, "slow"))).await;
    assert_eq!(check_reply(&stream.collect().await.into_events()).text, truth(&prompt(8, "slow")));
}

#[tokio::test]
async fn who_resets_what_it_asks_for_is_told_to_go() {
    let given = Given::new().await;
    given.upstream.on("paced", Manner::paced(20));
    let stream = given.api.stream(streamed(&prompt(50, "paced"))).await;
    let mut socket = connect(&given).await;
    // The preface, and settings that change nothing (RFC 9113, 3.4).
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
    let mut asked = 0_u32;
    while asked < 100_000 && socket.write_all(&asked_and_reset(2 * asked + 1)).await.is_ok() {
        asked += 1;
    }
    assert!(asked < 100_000, "{asked} requests were reset");
    assert_eq!(check_reply(&stream.collect().await.into_events()).text, truth(&prompt(50, "paced")));
}

#[tokio::test]
async fn who_sends_frames_that_carry_nothing_is_told_to_go() {
    // A ping, settings, a priority of a stream that nobody opened, and one of a kind that is not known (RFC 9113, 6).
    let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong".to_vec();
    let settings = b"\0\0\0\x04\0\0\0\0\0".to_vec();
    let priority = b"\0\0\x05\x02\0\0\0\0\x09\0\0\0\0\x10".to_vec();
    let unknown = b"\0\0\x01\x63\0\0\0\0\0?".to_vec();
    let given = Given::new().await;
    given.upstream.on("paced", Manner::paced(20));
    for frame in [ping, settings, priority, unknown] {
        let stream = given.api.stream(streamed(&prompt(50, "paced"))).await;
        let socket = connect(&given).await;
        let (mut answers, mut socket) = socket.into_split();
        // It reads what it is told: the server is never held up.
        let reading = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
        let (many, mut sent) = (frame.repeat(100), 0);
        while sent < 3_000_000 && socket.write_all(&many).await.is_ok() {
            sent += 100;
        }
        assert!(sent < 3_000_000, "{frame:?}: {sent} were taken");
        assert_eq!(check_reply(&stream.collect().await.into_events()).text, truth(&prompt(50, "paced")));
        let _ = soon("the end of its connection", reading).await;
    }
    let ended = "rejoinder_connections_ended_total{fault=\"frames\"}";
    given.server.poll("/metrics", |answer| metric(answer, ended) >= 1.0).await;
}

/// A request for the models and its reset, in frames (RFC 9113, 6.2 and 6.4; RFC 7541, C.2).
pub(super) fn asked_and_reset(stream: u32) -> Vec<u8> {
    let mut head = vec![0x82, 0x86, 0x41, 9];
    head.extend(b"localhost");
    head.extend([0x44, 10]);
    head.extend(b"/v1/models");
    let length = u8::try_from(head.len()).expect("short");
    let stream = stream.to_be_bytes();
    let mut frames = vec![0, 0, length, 1, 5];
    frames.extend(stream);
    frames.extend(head);
    frames.extend([0, 0, 4, 3, 0]);
    frames.extend(stream);
    frames.extend(8_u32.to_be_bytes());
    frames
}
