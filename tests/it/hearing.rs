//! Recordings of speech: what a model is told of them, what is kept, and the plain endpoint.

use std::time::Duration;

use data_encoding::BASE64;
use hyper::Method;

use crate::support::{
    ear::{Ear, Fault, recording, silence},
    websocket::Socket,
    *,
};

mod bad_input;
mod faults;
mod loops;
mod measure;
mod pieces;

/// The part of a message that holds this recording.
pub(crate) fn part(audio: &[u8], format: &str) -> Value {
    json!({"type": "input_audio", "input_audio": {"data": BASE64.encode(audio), "format": format}})
}

/// A message of a user with this part.
pub(crate) fn message(part: &Value) -> Value {
    json!([{"role": "user", "content": [part]}])
}

/// A server, its model server, and one that transcribes: it hears `text` in everything.
pub(crate) async fn given(text: &str, fault: Fault) -> (Given, Ear) {
    given_with(text, fault, &[]).await
}

/// The same, with these settings.
pub(crate) async fn given_with(text: &str, fault: Fault, settings: &[(&'static str, &str)]) -> (Given, Ear) {
    let ear = Ear::start(text, fault).await;
    let all = [("ASR_COMMAND", ""), ("TTS_COMMAND", "")].into_iter().chain(settings.iter().copied());
    let base = ear.base_url();
    let given =
        Given::with(|config| all.fold(config.env("ASR_BASE_URL", base), |one, (name, value)| one.env(name, value)));
    (given.await, ear)
}

/// The answer to a form with these fields and this file.
pub(crate) async fn transcription(api: &Api, fields: &[(&str, &str)], file: &[u8]) -> Answer {
    forms(api).call(Method::POST, "/v1/audio/transcriptions", form(fields, file)).await
}

/// One that sends [`form`]s.
fn forms(api: &Api) -> Api {
    api.clone().header("content-type", "multipart/form-data; boundary=xyz")
}

fn form(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes(),
        );
    }
    body.extend_from_slice(b"--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--xyz--\r\n");
    body
}

#[tokio::test]
async fn a_model_is_told_what_is_said_and_the_recording_is_kept_beside() {
    let (given, ear) = given(" What is the weather? ", Fault::None).await;
    // Long enough to be kept apart from its record.
    let audio = recording(60_000);
    let reply = given.reply(json!({"model": "truth", "input": message(&part(&audio, "wav")), "stream": true})).await;
    assert_eq!(given.upstream.heard_once("weather").messages()[0]["content"], "What is the weather?");
    let [heard] = &ear.heard()[..] else { panic!("asked once") };
    assert_eq!(heard.file(), audio);
    assert_eq!(heard.field("model").as_deref(), Some("whisper-1"));
    assert_eq!(heard.field("response_format").as_deref(), Some("json"));

    let kept = with(part(&audio, "wav"), json!({"transcript": "What is the weather?"}));
    let path = format!("/v1/responses/{}/input_items", reply.id);
    assert_eq!(given.api.get(&path).await.ok()["data"][0]["content"][0], kept);
    // The next turn is told the same words, and nobody listens again. Also after a restart.
    let given = given.restarted().await;
    assert_eq!(given.api.get(&path).await.ok()["data"][0]["content"][0], kept);
    given.reply(with(streamed("And tomorrow?"), json!({"previous_response_id": reply.id}))).await;
    assert_eq!(given.upstream.heard_once("tomorrow").messages()[0]["content"], "What is the weather?");
    assert_eq!(ear.heard().len(), 1);
}

#[tokio::test]
async fn every_door_takes_recordings() {
    let (given, ear) = given("Tell me about tea.", Fault::None).await;
    let audio = part(&recording(8_000), "wav");
    let (text, mp3) = (json!({"type": "text", "text": "Listen:"}), part(b"ID3\x04\0\0\0\0\0\0", "mp3"));
    let chat = json!({"model": "truth", "messages": [{"role": "user", "content": [text, mp3]}]});
    given.api.post("/v1/chat/completions", chat).await.ok();
    let told = given.upstream.heard_once("tea");
    assert_eq!(told.messages()[0]["content"], "Listen:\nTell me about tea.");

    let created = given.api.post("/v1/conversations", json!({"items": message(&audio)})).await.ok();
    let conversation = created["id"].as_str().expect("an id");
    let items = conversation_items(&given.api, conversation).await;
    assert_eq!(items[0]["content"][0]["transcript"], "Tell me about tea.");
    let listed = given.api.get("/v1/conversations").await.ok();
    assert_eq!(listed["data"][0]["title"], "Tell me about tea.");

    let url = format!("data:audio/wav;base64,{}", audio["input_audio"]["data"].as_str().expect("base64"));
    let file = json!({"type": "file", "mediaType": "audio/wav", "url": url});
    let turn = json!({"id": "c", "messages": [{"id": "m", "role": "user", "parts": [file]}]});
    assert_eq!(given.api.post("/api/chat", turn).await.status, 200);
    assert_eq!(ear.heard().len(), 3);
}

#[tokio::test]
async fn a_recording_is_heard_once_however_often_it_is_sent() {
    let (given, ear) = given("Tell me about tea.", Fault::None).await;
    let body = json!({"model": "truth", "input": message(&part(&recording(8_000), "wav"))});
    let api = given.api.clone().header("idempotency-key", "once");
    let first = api.post("/v1/responses", body.clone()).await.ok();
    assert_eq!(api.post("/v1/responses", body).await.ok(), first);
    assert_eq!(ear.heard().len(), 1, "the second request joins the first");
    // As the items of a conversation tell it, and with words of its own.
    let known = with(part(&recording(8_000), "wav"), json!({"transcript": "Something about coffee."}));
    given.reply(json!({"model": "truth", "input": message(&known), "stream": true})).await;
    assert_eq!(given.upstream.heard_once("coffee").messages()[0]["content"], "Something about coffee.");
    assert_eq!(ear.heard().len(), 1);
}

#[tokio::test]
async fn a_reply_that_is_not_stored_and_one_over_a_websocket_are_told_too() {
    let (given, _ear) = given("Tell me about tea.", Fault::None).await;
    let body =
        json!({"model": "truth", "input": message(&part(&recording(8_000), "wav")), "store": false, "stream": true});
    given.reply(body.clone()).await;
    let mut socket = Socket::open(given.server.address()).await;
    socket.create(with(body, json!({"stream": null}))).await;
    check_reply(&socket.reply().await.expect("a reply"));
    assert_eq!(given.upstream.heard("tea").len(), 2);
}

#[tokio::test]
async fn a_transcript_comes_in_every_form() {
    let (given, ear) = given("Good day.", Fault::None).await;
    let audio = recording(16_000);
    let said = async |fields: &[(&str, &str)]| transcription(&given.api, fields, &audio).await;
    assert_eq!(said(&[("model", "small"), ("language", "en"), ("prompt", "tea")]).await.ok()["text"], "Good day.");
    let heard = ear.heard().pop().expect("a request");
    let fields = ["model", "language", "prompt", "temperature"].map(|name| heard.field(name));
    assert_eq!(fields, [Some("small".to_owned()), Some("en".to_owned()), Some("tea".to_owned()), None]);
    assert_eq!(said(&[("response_format", "text")]).await.text(), "Good day.\n");
    let verbose = said(&[("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]).await.ok();
    assert_eq!((&verbose["duration"], &verbose["segments"][0]["tokens"]), (&json!(2.5), &json!([7])));
    assert_eq!(ear.heard().pop().expect("a request").field("response_format").as_deref(), Some("verbose_json"));
    let srt = said(&[("response_format", "srt")]).await;
    assert!(srt.text().starts_with("1\n00:00:00,000 --> 00:00:01,000\nGood day.\n\n2\n"), "{}", srt.text());
    let vtt = said(&[("response_format", "vtt")]).await;
    assert_eq!(vtt.header("content-type"), Some("text/vtt; charset=utf-8"));
    assert!(vtt.text().starts_with("WEBVTT\n\n"));
    let events = said(&[("stream", "true")]).await;
    assert_eq!(events.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events: Vec<Value> =
        events.text().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    assert_eq!(events[0], json!({"type": "transcript.text.delta", "delta": "Good day."}));
    assert_eq!((&events[1]["type"], &events[1]["text"]), (&json!("transcript.text.done"), &json!("Good day.")));
}

#[tokio::test]
async fn what_is_heard_is_counted_and_shown() {
    let (given, _ear) = given("Good day.", Fault::None).await;
    transcription(&given.api, &[], &recording(8_000)).await.ok();
    let health = given.api.get("/healthz").await.ok();
    assert_eq!((&health["status"], &health["hearing"]["mode"]), (&json!("ok"), &json!("server")));
    let upstreams = health["upstreams"].as_array().expect("a list");
    assert!(upstreams.iter().any(|one| one["capability"] == "hearing"), "{health}");
    let metrics = given.api.get("/metrics").await;
    for line in [
        r#"rejoinder_transcriptions_total{by="server",outcome="transcribed"} 1"#,
        "rejoinder_transcription_seconds_count 1",
        "rejoinder_hearing_degraded 0",
    ] {
        assert!(metrics.text().lines().any(|found| found == line), "{line} in {}", metrics.text());
    }
    given.server.poll("/v1/usage?group_by=model", |answer| answer.json()["data"][0]["model"] == "hearing").await;
}

#[tokio::test]
async fn a_deleted_item_takes_its_recording_along() {
    let (given, _ear) = given("My secret word is marmalade.", Fault::None).await;
    let audio = recording(60_000);
    let created = given.api.post("/v1/conversations", json!({"items": message(&part(&audio, "wav"))})).await.ok();
    let conversation = created["id"].as_str().expect("an id");
    let item = conversation_items(&given.api, conversation).await[0]["id"].clone();
    let path = format!("/v1/conversations/{conversation}/items/{}", item.as_str().expect("an id"));
    let needle = &BASE64.encode(&audio).into_bytes()[600..680];
    let is_there = |what: &[u8]| {
        files(given.server.data_dir()).iter().any(|file| {
            let bytes = std::fs::read(file).unwrap_or_default();
            bytes.windows(what.len()).any(|window| window == what)
        })
    };
    until("the recording to be on the disk", async || is_there(needle).then_some(())).await;
    given.api.delete(&path).await.ok();
    until("both to be erased", async || (!is_there(needle) && !is_there(b"marmalade")).then_some(())).await;
}

fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}

#[tokio::test]
async fn a_slow_transcript_holds_up_nobody_else() {
    let (given, _ear) = given("Tell me about tea.", Fault::Slow(Duration::from_secs(2))).await;
    let slow = tokio::spawn({
        let (api, body) =
            (given.api.clone(), json!({"model": "truth", "input": message(&part(&recording(8_000), "wav"))}));
        async move { api.post("/v1/responses", body).await.ok() }
    });
    let begun = std::time::Instant::now();
    given.reply(streamed("coffee")).await;
    assert!(begun.elapsed() < Duration::from_secs(1) && !slow.is_finished());
    assert_eq!(slow.await.expect("no panic")["status"], "completed");
}

#[tokio::test]
async fn silence_is_no_question_and_nobody_is_asked_about_it() {
    let (given, ear) = given("Thank you for watching!", Fault::None).await;
    assert_eq!(transcription(&given.api, &[], &silence(16_000)).await.ok()["text"], "");
    let body = json!({"model": "truth", "input": message(&part(&silence(16_000), "wav"))});
    let error =
        given.api.post("/v1/responses", body).await.refused(400, "invalid_value", "input[0].content[0].input_audio");
    assert!(error["message"].as_str().expect("a message").contains("no speech"), "{error}");
    assert!(ear.heard().is_empty());
}
