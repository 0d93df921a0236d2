//! Transcripts that come as events while they are made: in pieces where the server streams, in one where it does not; and what
//! goes wrong in the middle is said.

use crate::support::sse::End;

use super::*;

const GOOD: &str = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Good \"}\n\n";

/// As OpenAI streams.
const OPENAI: &str = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Good \"}\n\n\
    data: {\"type\":\"transcript.text.delta\",\"delta\":\"day.\"}\n\n\
    data: {\"type\":\"transcript.text.done\",\"text\":\"Good day.\"}\n\n";

/// As vLLM does.
const VLLM: &str = "data: {\"object\":\"transcription.chunk\",\"choices\":[{\"delta\":{\"content\":\" Good \"}}]}\n\n\
    data: {\"object\":\"transcription.chunk\",\"choices\":[{\"delta\":{\"content\":\"day.\"}}]}\n\ndata: [DONE]\n\n";

const EVENTS: &str = "text/event-stream; charset=utf-8";

/// What a stream of events says, and that it ends as one.
async fn events(api: &Api, audio: &[u8]) -> Vec<Value> {
    let answer = transcription(api, &[("stream", "true")], audio).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let data: Vec<_> = answer.text().lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, events) = data.split_last().expect("an end");
    assert_eq!(*last, "[DONE]");
    events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
}

/// The pieces of a transcript, and its end.
fn told(events: &[Value]) -> (Vec<String>, &Value) {
    let (end, deltas) = events.split_last().expect("an end");
    let delta = |event: &'_ Value| {
        assert_eq!(event["type"], "transcript.text.delta", "{event}");
        event["delta"].as_str().expect("a text").to_owned()
    };
    (deltas.iter().map(delta).collect(), end)
}

#[tokio::test]
async fn pieces_come_as_the_server_sends_them_and_in_one_where_it_does_not() {
    let (given, ear) = given("Good day.", Fault::None).await;
    let audio = recording(16_000);
    for (fault, pieces) in [
        (Fault::Body(OPENAI, "text/event-stream"), &["Good ", "day."][..]),
        (Fault::Body(VLLM, "text/event-stream; charset=utf-8"), &["Good ", "day."]),
        (Fault::None, &["Good day."]),
    ] {
        ear.set(fault);
        let events = events(&given.api, &audio).await;
        let (deltas, end) = told(&events);
        assert_eq!(deltas, pieces, "{fault:?}");
        assert_eq!((&end["type"], &end["text"]), (&json!("transcript.text.done"), &json!("Good day.")), "{fault:?}");
        // Where the server tells how long it is, that counts.
        let seconds = if fault == Fault::None { 3.0 } else { 1.0 };
        assert_eq!(end["usage"], json!({"type": "duration", "seconds": seconds}));
        assert_eq!(ear.heard().pop().expect("a request").field("stream").as_deref(), Some("true"));
    }
    // Not asked for, it is not asked of the server.
    transcription(&given.api, &[], &audio).await.ok();
    assert_eq!(ear.heard().pop().expect("a request").field("stream"), None);
    // A server that refuses to stream is asked without.
    ear.set(Fault::Status(400));
    let error = transcription(&given.api, &[("stream", "true")], &audio).await.refused(400, Value::Null, "file");
    assert_eq!(error["message"], "This audio is not for me.");
    let heard = ear.heard();
    let streams: Vec<_> = heard[heard.len() - 2..].iter().map(|heard| heard.field("stream")).collect();
    assert_eq!(streams, [Some("true".to_owned()), None]);
    assert!(told(&events(&given.api, &silence(16_000)).await).0.is_empty());
    given.server.poll("/metrics", |answer| answer.text().contains("rejoinder_buffered_bytes 0")).await;
}

#[tokio::test]
async fn a_piece_is_there_before_the_next_and_what_goes_wrong_then_is_an_event() {
    let ear = Ear::start("", Fault::StreamHangs(GOOD)).await;
    let second = Ear::start("Something else.", Fault::None).await;
    let given = Given::with(|config| {
        let table = |name, ear: &Ear| format!("[[hearing]]\nname = \"{name}\"\nbase_url = \"{}\"\n", ear.base_url());
        let file = table("first", &ear) + &table("second", &second);
        std::fs::write(config.data_dir().join("rejoinder.toml"), file).expect("a file");
        config.env("REJOINDER_CONFIG", "rejoinder.toml").env("ASR_COMMAND", "").env("ASR_TIMEOUT", "2s")
    })
    .await;
    let body = form(&[("stream", "true")], &recording(8_000));
    let stream = forms(&given.api).try_open(Method::POST, "/v1/audio/transcriptions", body).await;
    let mut stream = stream.expect("a stream");
    assert_eq!((stream.status.as_u16(), &stream.headers["content-type"]), (200, &EVENTS.parse().unwrap()));
    // The server says no more for two seconds.
    let first: Value = serde_json::from_str(&stream.next().await.expect("a piece").data).expect("JSON");
    assert_eq!(first, json!({"type": "transcript.text.delta", "delta": "Good "}));
    let error: Value = serde_json::from_str(&stream.next().await.expect("an event").data).expect("JSON");
    assert_eq!(error["type"], "error");
    assert!(error["error"]["message"].as_str().is_some_and(|told| told.contains("broke off")), "{error}");
    assert_eq!(error["message"], error["error"]["message"]);
    assert_eq!(stream.next().await.expect("the end").data, "[DONE]");
    assert_eq!(stream.next().await.err(), Some(End::Clean));
    assert!(second.heard().is_empty(), "what was told is not told again in other words");
}

#[tokio::test]
async fn what_fails_in_the_middle_is_an_event_and_before_it_another_server_goes_on() {
    let (given, ear) = given("Good day.", Fault::None).await;
    let audio = recording(8_000);
    let failing = [GOOD, "data: {\"type\":\"error\",\"error\":{\"message\":\"out of memory\"}}\n\n"].concat();
    let cut = [GOOD, "data: {\"type\":\"transcript.text.del"].concat();
    for stream in [GOOD.to_owned(), failing, cut] {
        ear.set(Fault::Body(stream.leak(), "text/event-stream"));
        let events = events(&given.api, &audio).await;
        let (deltas, end) = told(&events);
        assert_eq!((deltas, &end["type"]), (vec!["Good ".to_owned()], &json!("error")), "{end}");
    }
    // Nothing was told: it is an error of HTTP, where nobody else can.
    ear.set(Fault::Body("data: {\"error\":{\"message\":\"no model\"}}\n\n", "text/event-stream"));
    assert_eq!(transcription(&given.api, &[("stream", "true")], &audio).await.status, 503);
    let restarted = given
        .server
        .restart_with(|config| config.env("ASR_COMMAND", "sh -c 'cat > /dev/null; echo the program hears tea'"));
    let server = restarted.await;
    let events = events(&server.api(), &audio).await;
    assert_eq!(told(&events).0, ["the program hears tea"]);
}
