//! How connections begin and end: the handshake, pings, the longest time, and a server that goes.

use tokio::io::AsyncReadExt;

use super::*;
use crate::support::wait::soon;

#[tokio::test]
async fn a_handshake_is_one_of_http_1_1_from_where_requests_may_come() {
    let given = Given::new().await;
    let plain = given.api.get("/v1/responses").await;
    plain.refused(426, "upgrade_required", Value::Null);
    assert_eq!(plain.header("upgrade"), Some("websocket"));
    let h2 = Api::h2c(&format!("http://{}", given.server.address())).get("/v1/responses").await;
    assert_eq!(h2.status.as_u16(), 426);
    let refused = |name: &'static str, value: &'static str| {
        let address = given.server.address().to_owned();
        async move { Socket::try_open(&address, &[(name, value)]).await.err().map(|refusal| refusal.status().as_u16()) }
    };
    assert_eq!(refused("origin", "https://evil.example").await, Some(403));
    assert_eq!(refused("host", "evil.example").await, Some(403));
    assert_eq!(refused("sec-websocket-version", "8").await, Some(426));
    assert_eq!(refused("sec-websocket-key", "short").await, Some(400));
    let own = format!("http://{}", given.server.address());
    let Ok(mut socket) = Socket::try_open(given.server.address(), &[("origin", &own)]).await else {
        panic!("our own page is refused");
    };
    socket.create(json!({"input": prompt(2, "ours")})).await;
    socket.reply().await.expect("a reply");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go_and_one_that_does_stays() {
    let given = Given::with(|config| config.env("WEBSOCKET_PING", "300ms")).await;
    // It reads what comes, and answers no ping.
    let mut silent = given.socket().await.into_stream();
    let mut lively = given.socket().await;
    let reading = tokio::spawn(async move { lively.next().await });
    let mut bytes = Vec::new();
    let closed = silent.get_mut().read_to_end(&mut bytes);
    soon("the silent one to be let go", closed).await.expect("a clean end");
    assert_eq!(bytes[0], 0x89, "first it was asked");
    assert!(!reading.is_finished(), "who answers stays");
    reading.abort();
}

#[tokio::test]
async fn a_connection_ends_after_its_time_once_its_reply_has() {
    let given = Given::with(|config| config.env("WEBSOCKET_MAX_AGE", "600ms")).await;
    given.upstream.on("longer", Manner::paced(20));
    let mut socket = given.socket().await;
    socket.create(json!({"input": prompt(60, "longer")})).await;
    assert_eq!(text_of(&socket.reply().await.expect("a reply")), truth(&prompt(60, "longer")));
    let error = socket.next().await.expect("a last word");
    assert_eq!(error["error"]["code"], "websocket_connection_limit_reached");
    assert_eq!(socket.ended().await, Ended::Code(1000));
    // What comes too late is refused by the same word.
    given.upstream.on("late", Manner::paced(20));
    let mut socket = given.socket().await;
    socket.create(json!({"input": prompt(60, "late")})).await;
    socket.read_words(50).await;
    socket.create(json!({"input": "x"})).await;
    let error = socket.reply().await.expect_err("a refusal");
    assert_eq!(error["error"]["code"], "websocket_connection_limit_reached");
}

#[tokio::test]
async fn a_server_that_ends_says_so() {
    let mut given = Given::new().await;
    let idle = given.socket().await;
    given.upstream.on("ending", Manner::paced(20));
    let mut busy = given.socket().await;
    busy.create(json!({"input": prompt(40, "ending")})).await;
    busy.read_words(3).await;
    given.server.terminate();
    assert_eq!(idle.ended().await, Ended::Code(1001));
    // It is generated on for as long as there is time.
    busy.reply().await.expect("a reply");
    assert_eq!(busy.ended().await, Ended::Code(1001));
    assert!(given.server.wait().await.success());
}
