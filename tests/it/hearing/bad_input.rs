//! Recordings that are none, and forms that are no forms.

use super::*;

/// 25 MiB.
const MOST: usize = 25 * 1024 * 1024;

#[tokio::test]
async fn what_is_no_recording_is_refused_by_its_place() {
    let (given, ear) = given("Nothing.", Fault::None).await;
    let place = "input[0].content[0].input_audio";
    let of =
        |data: &str, format: Value| json!({"type": "input_audio", "input_audio": {"data": data, "format": format}});
    let text = BASE64.encode(b"Good morning, this is a text and no audio at all.");
    let cut = BASE64.encode(&recording(8_000)[..40]);
    for (part, param, says) in [
        (of("", json!("wav")), place.to_owned(), "empty"),
        (of(&text, json!("wav")), place.to_owned(), "no audio"),
        (of(&cut, json!("wav")), place.to_owned(), "damaged"),
        (part(&recording(8_000), "mp3"), place.to_owned(), "is wav, and not mp3"),
        (part(b"fLaC\0\0\0\x22", "wav"), place.to_owned(), "is flac, and not wav"),
        (part(&recording(8_000), "midi"), place.to_owned(), "not known"),
        (of("=not base64=", json!("wav")), format!("{place}.data"), "base64"),
        (of(&text, Value::Null), format!("{place}.format"), "Missing"),
        (of(&text, json!(3)), format!("{place}.format"), "string"),
        (json!({"type": "input_audio", "input_audio": {"format": "wav"}}), format!("{place}.data"), "Missing"),
        (json!({"type": "input_audio"}), place.to_owned(), "Missing"),
        (json!({"type": "input_audio", "input_audio": "UklGRg=="}), place.to_owned(), "object"),
    ] {
        let answer = given.api.post("/v1/responses", json!({"model": "truth", "input": message(&part)})).await;
        let error = answer.refused(400, Value::Null, param);
        assert!(error["message"].as_str().expect("a message").contains(says), "{says}: {error}");
    }
    let chat = json!({"model": "truth", "messages": [{"role": "user", "content": [part(b"text", "wav")]}]});
    let answer = given.api.post("/v1/chat/completions", chat).await;
    answer.refused(400, "invalid_value", "messages[0].content[0].input_audio");
    let assistant = json!([{"role": "assistant", "content": [part(&recording(8_000), "wav")]}]);
    let answer = given.api.post("/v1/responses", json!({"model": "truth", "input": assistant})).await;
    answer.refused(400, "invalid_value", "input[0].content[0].type");
    assert!(ear.heard().is_empty(), "nobody is asked about it");
}

#[tokio::test]
async fn what_is_no_form_is_refused_by_its_field() {
    let (given, ear) = given("Nothing.", Fault::None).await;
    let audio = recording(8_000);
    for (fields, file, param) in [
        (&[][..], &b""[..], "file"),
        (&[], b"Good morning, this is a text.", "file"),
        (&[], &audio[..40], "file"),
        (&[("response_format", "xml")], &audio, "response_format"),
        (&[("temperature", "hot")], &audio, "temperature"),
        (&[("stream", "true"), ("response_format", "vtt")], &audio, "stream"),
    ] {
        transcription(&given.api, fields, file).await.refused(400, "invalid_value", param);
    }
    let form = given.api.clone().header("content-type", "multipart/form-data; boundary=xyz");
    let path = "/v1/audio/transcriptions";
    let nothing = form.call(
        Method::POST,
        path,
        "--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--xyz--\r\n",
    );
    nothing.await.refused(400, "missing_required_parameter", "file");
    for broken in ["", "--xyz", "--xyz\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ncut", "garbage"] {
        form.call(Method::POST, path, broken).await.refused(400, "invalid_form", Value::Null);
    }
    given.api.call(Method::POST, path, "{}").await.refused(415, "unsupported_media_type", Value::Null);
    assert!(ear.heard().is_empty(), "nobody is asked about it");
}

#[tokio::test]
async fn twenty_five_mebibytes_are_taken_and_not_one_byte_more() {
    let (given, ear) = given("A long speech.", Fault::None).await;
    let mut audio = recording(MOST / 2 - 22);
    assert_eq!(audio.len(), MOST);
    assert_eq!(transcription(&given.api, &[], &audio).await.ok()["text"], "A long speech.");
    assert_eq!(ear.heard()[0].file().len(), MOST);
    audio.push(0);
    transcription(&given.api, &[], &audio).await.refused(413, "request_too_large", "file");
    assert_eq!(ear.heard().len(), 1);
}

#[tokio::test]
async fn a_part_of_a_message_is_no_longer_than_that_either() {
    let room = [("MAX_BODY_BYTES", "40MiB"), ("MAX_BUFFERED_BYTES", "256MiB")];
    let (given, ear) = given_with("A long speech.", Fault::None, &room).await;
    let audio = recording(MOST / 2 + 1 - 22);
    assert!(audio.len() > MOST);
    let body = json!({"model": "truth", "input": message(&part(&audio, "wav"))});
    let answer = given.api.post("/v1/responses", body).await;
    let error = answer.refused(400, "invalid_value", "input[0].content[0].input_audio");
    assert!(error["message"].as_str().is_some_and(|told| told.contains("longer than 26214400 bytes")), "{error}");
    assert!(ear.heard().is_empty());
}

#[tokio::test]
async fn recordings_count_in_memory_with_what_they_are_decoded_to() {
    let room = [("MAX_BODY_BYTES", "3MiB"), ("MAX_BUFFERED_BYTES", "4MiB")];
    let (given, ear) = given_with("tea", Fault::None, &room).await;
    // 3 MiB are for long bodies: as a text these 1.4 MB fit, as a recording (decoded, and in a copy) they take 3.5 MB.
    let audio = part(&recording(525_000), "wav");
    let fits = json!({"model": "echo", "input": "x".repeat(1_400_000), "max_output_tokens": 16});
    given.api.post("/v1/responses", fits).await.ok();
    let input = message(&audio);
    let turn = json!({"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "file",
        "mediaType": "audio/wav", "url": format!("data:audio/wav;base64,{}", audio["input_audio"]["data"].as_str().expect("base64"))}]}]});
    for (path, body) in [
        ("/v1/responses", json!({"model": "echo", "input": input})),
        ("/v1/chat/completions", json!({"model": "echo", "messages": input})),
        ("/v1/conversations", json!({"items": input})),
        ("/api/chat", turn),
    ] {
        let answer = given.api.post(path, body).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert!(answer.text().contains("Too many long requests"), "{path}: {}", answer.text());
    }
    assert!(ear.heard().is_empty());
    let mut socket = Socket::open(given.server.address()).await;
    socket.create(json!({"model": "echo", "input": input})).await;
    assert!(socket.reply().await.is_err());
    let known = with(audio, json!({"transcript": "tea"}));
    given.api.post("/v1/responses", json!({"model": "echo", "input": message(&known)})).await.ok();
    given.server.poll("/metrics", |answer| answer.text().contains("rejoinder_buffered_bytes 0")).await;
}

#[tokio::test]
async fn pages_of_other_sites_cannot_use_it() {
    let (given, ear) = given("Nothing.", Fault::None).await;
    let page = given.api.clone().header("origin", "https://attacker.example");
    assert_eq!(transcription(&page, &[], &recording(8_000)).await.status, 403);
    assert!(ear.heard().is_empty());
}
