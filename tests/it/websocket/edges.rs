//! The protocol's edges (RFC 6455): fragments, masks, sizes, floods, and halves of messages.

use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use super::*;
use crate::support::wait::soon;

#[tokio::test]
async fn a_message_in_pieces_is_one_message() {
    let given = Given::new().await;
    let mut socket = given.socket().await;
    let message = json!({"type": "response.create", "model": "truth", "input": prompt(4, "piecewise ü")}).to_string();
    let pieces: Vec<_> = message.as_bytes().chunks(3).collect();
    for (place, piece) in pieces.iter().enumerate() {
        let code = if place == 0 { OpCode::Data(Data::Text) } else { OpCode::Data(Data::Continue) };
        let is_last = place + 1 == pieces.len();
        socket.send_raw(Message::Frame(Frame::message(piece.to_vec(), code, is_last))).await;
        // Pings may come in between.
        if place % 7 == 0 {
            socket.send_raw(Message::Ping(vec![1].into())).await;
        }
    }
    assert_eq!(text_of(&socket.reply().await.expect("a reply")), truth(&prompt(4, "piecewise ü")));
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_with_its_code() {
    let given = Given::with(|config| config.env("MAX_BODY_BYTES", "64KiB")).await;
    let long = json!({"type": "response.create", "input": "x".repeat(70_000)}).to_string();
    let mut socket = given.socket().await;
    socket.send_raw(Message::text(long.clone())).await;
    assert_eq!(socket.ended().await, Ended::Code(1009), "too long");
    let mut socket = given.socket().await;
    for place in 0..3 {
        let code = if place == 0 { OpCode::Data(Data::Text) } else { OpCode::Data(Data::Continue) };
        let piece = long.as_bytes()[..30_000].to_vec();
        if socket.stream_mut().send(Message::Frame(Frame::message(piece, code, false))).await.is_err() {
            break;
        }
    }
    assert_eq!(socket.ended().await, Ended::Code(1009), "too long in pieces");
    let long_ping = [&[0x89, 0xFE, 0x00, 0x7E, 0, 0, 0, 0][..], &[0; 126]].concat();
    for (bytes, code) in [
        // Not masked, as a client has to.
        (&[0x81, 0x02, b'{', b'}'][..], 1002),
        // A reserved bit.
        (&[0xC1, 0x80, 0, 0, 0, 0], 1002),
        // A continuation of nothing.
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),
        // A ping longer than pings are.
        (&long_ping, 1002),
        // Text that is not UTF-8.
        (&[0x81, 0x82, 0, 0, 0, 0, 0xFF, 0xFE], 1007),
    ] {
        let mut stream = given.socket().await.into_stream();
        stream.get_mut().write_all(bytes).await.expect("an open connection");
        assert_eq!(Socket::of(stream).ended().await, Ended::Code(code), "{bytes:02x?}");
    }
    let mut socket = given.socket().await;
    socket.send_raw(Message::Binary(vec![1, 2].into())).await;
    assert_eq!(socket.reply().await.expect_err("a refusal")["error"]["code"], "invalid_message");
    socket.send_raw(Message::Close(None)).await;
    assert!(matches!(socket.ended().await, Ended::Code(_)));
}

#[tokio::test]
async fn a_flood_of_pings_ends_the_connection_and_holds_up_nobody() {
    let given = Given::new().await;
    let mut socket = given.socket().await;
    for _ in 0..2_000 {
        if socket.stream_mut().send(Message::Ping(vec![7; 100].into())).await.is_err() {
            break;
        }
    }
    assert!(matches!(socket.ended().await, Ended::Code(1008) | Ended::Cut));
    assert_eq!(given.reply(streamed(&prompt(3, "others"))).await.response["status"], "completed");
}

#[tokio::test]
async fn only_so_much_is_asked_for_at_once() {
    let given = Given::with(|config| config.env("MAX_STREAMS_PER_CONNECTION", "2")).await;
    given.upstream.on("hanging", Behaviour::Hang);
    let mut socket = given.socket().await;
    for lane in ["a", "b", "c"] {
        socket.create(json!({"input": "hanging", "stream_id": lane})).await;
    }
    for _ in 0..80 {
        socket.create(json!({"input": "hanging", "stream_id": "a"})).await;
    }
    let mut refused = Vec::new();
    while refused.len() < 17 {
        let message = socket.next().await.expect("a message");
        if message["type"] == "error" {
            assert_eq!((&message["status"], &message["error"]["code"]), (&json!(429), &json!("rate_limit_exceeded")));
            refused.push(message["stream_id"].as_str().expect("a lane").to_owned());
        }
    }
    assert_eq!(refused[0], "c");
    assert!(refused[1..].iter().all(|lane| lane == "a"));
}

#[tokio::test]
async fn halves_of_messages_take_memory_from_the_budget_and_give_it_back() {
    let given = Given::with(|config| config.env("MAX_BUFFERED_BYTES", "24MiB")).await;
    let mut halves = Vec::new();
    for _ in 0..4 {
        let mut stream = given.socket().await.into_stream();
        // The head of a message of 8 MiB, and nearly all of it.
        let mut head = vec![0x81, 0xFF];
        head.extend_from_slice(&(8_u64 << 20).to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        let io = stream.get_mut();
        if io.write_all(&head).await.is_ok() {
            let _ = soon("a server that reads, or refuses", io.write_all(&vec![b' '; (8 << 20) - 10])).await;
        }
        halves.push(stream);
    }
    // Of the long ones not all find room.
    let mut refused = 0;
    for stream in &mut halves {
        let mut byte = [0; 1];
        let read = tokio::time::timeout(std::time::Duration::from_millis(300), stream.get_mut().read(&mut byte)).await;
        refused += usize::from(read.is_ok());
    }
    assert!(refused >= 1, "three quarters of 24 MiB hold two of 8 MiB");
    assert_eq!(given.reply(streamed(&prompt(3, "short"))).await.response["status"], "completed");
    drop(halves);
    until("the memory to be given back", async || {
        (given.api.gauge("rejoinder_buffered_bytes").await < 1 << 20).then_some(())
    })
    .await;
}
