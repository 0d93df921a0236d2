//! `kill -9` in the middle of speech: whoever goes on does so at the very sample.

use crate::support::{Cluster, follower::follow_anywhere, upstream::Manner};

use super::*;

const MORE: [&str; 4] = [
    "This is the first sentence of it.",
    "And here is the second one!",
    "A third one follows, with a comma in it.",
    "And that was the last of them.",
];

fn model() -> Behaviour {
    let spaced: Vec<String> = MORE.iter().map(|sentence| format!("{sentence} ")).collect();
    let tokens: Vec<&str> = spaced.iter().map(String::as_str).collect();
    script(&tokens, Duration::ZERO)
}

/// So many events with audio.
async fn read_audio(stream: &mut Events, pieces: usize) -> Vec<Event> {
    let mut heard = 0;
    stream
        .read_until(|event| {
            heard += usize::from(event.kind == "response.audio.delta");
            heard == pieces
        })
        .await
}

#[track_caller]
fn check_heard(events: &[Event], text: &str) {
    let reply = check_reply(events);
    assert_eq!((reply.text.trim_end(), reply.status.as_str()), (text, "completed"));
    assert_eq!(transcript_of(events), text);
    let heard = samples_of(&audio_of(events));
    // Sentences that were spoken together have a sound of their own: compare by what was asked for.
    let texts: Vec<&str> = events
        .iter()
        .filter(|event| event.kind == "response.audio.transcript.delta")
        .map(|event| event.body["delta"].as_str().unwrap().trim_start())
        .collect();
    assert!(is_like(&heard, &sounds(texts.iter().copied())), "every sample once: {texts:?}, {} samples", heard.len());
}

#[tokio::test]
async fn after_a_kill_speech_goes_on_at_the_very_sample() {
    // Within the first sentence, within a later one, and when the text is long over.
    for pieces in [3, 40, 90] {
        let (given, voice) = given(Fault::None).await;
        voice.pace(Duration::from_millis(5));
        given.upstream.on("tea", model());
        let mut stream = given.api.stream(spoken("tea")).await;
        let id = stream.response_id();
        let seen = read_audio(&mut stream, pieces).await;
        let given = given.restarted().await;
        let events = follow(&given.api, &id, Place::Responses, seen).await;
        check_heard(&events, &MORE.join(" "));
        assert_eq!(bodies(&given.replay(&id).await), bodies(&events));
        let object = given.api.get(&format!("/v1/responses/{id}")).await.ok();
        assert_eq!(object["status"], "completed");
    }
}

#[tokio::test]
async fn after_a_kill_in_the_middle_of_the_text_both_go_on() {
    for pieces in [2, 100] {
        let (given, voice) = given(Fault::None).await;
        voice.pace(Duration::from_millis(5));
        let prompt = prompt(120, &format!("speech {pieces}"));
        given.upstream.on("speech", Manner::paced(15));
        let mut stream = given.api.stream(spoken(&prompt)).await;
        let id = stream.response_id();
        let seen = read_audio(&mut stream, pieces).await;
        let given = given.restarted().await;
        let events = follow(&given.api, &id, Place::Responses, seen).await;
        check_heard(&events, &truth(&prompt));
        assert_eq!(bodies(&given.replay(&id).await), bodies(&events));
    }
}

#[tokio::test]
async fn a_reply_that_nobody_can_speak_any_more_ends_as_text() {
    let (given, voice) = given(Fault::None).await;
    voice.pace(Duration::from_millis(20));
    given.upstream.on("tea", model());
    let mut stream = given.api.stream(spoken("tea")).await;
    let id = stream.response_id();
    let seen = read_audio(&mut stream, 3).await;
    drop(voice);
    let given = given.restarted().await;
    let events = follow(&given.api, &id, Place::Responses, seen).await;
    let reply = check_reply(&events);
    assert_eq!((reply.text.trim_end(), reply.status.as_str()), (MORE.join(" ").as_str(), "completed"));
    assert_eq!(reply.response["rejoinder"]["degraded"][0]["capability"], "speech");
}

#[tokio::test]
async fn another_instance_goes_on_with_the_speech_of_one_that_was_killed_or_is_leaving() {
    static BASE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let voice = Voice::start(Fault::None).await;
    voice.pace(Duration::from_millis(10));
    BASE.set(voice.base_url()).expect("set once");
    let mut cluster = Cluster::with(|config| {
        config
            .env("TTS_BASE_URL", BASE.get().expect("set before"))
            .env("TTS_COMMAND", "off")
            .env("DRAIN_TIMEOUT", "2200ms")
    })
    .await;
    cluster.settled().await;
    cluster.upstream.on("tea", model());
    for (instance, pieces) in [(0, 5), (1, 60)] {
        let mut stream = cluster.api(instance).stream(spoken("tea")).await;
        let id = stream.response_id();
        let elsewhere = cluster.others(instance).pop().expect("another");
        let mut audio = elsewhere.follow(&format!("/v1/responses/{id}/audio")).await;
        let seen = read_audio(&mut stream, pieces).await;
        if instance == 0 {
            cluster.instances[instance].kill();
        } else {
            // In good order, for another to go on with.
            cluster.instances[instance].terminate();
        }
        let others = cluster.others(instance);
        let events = follow_anywhere(&others, &id, Place::Responses, seen).await;
        check_heard(&events, &MORE.join(" "));
        let mut heard = Vec::new();
        while let Ok(bytes) = audio.chunk().await {
            heard.extend_from_slice(&bytes);
        }
        assert!(audio_of(&events).starts_with(&heard), "what was heard elsewhere is the same");
        let whole = others[0].get(&format!("/v1/responses/{id}/audio")).await;
        assert_eq!(whole.body, audio_of(&events));
        let again = cluster.another().await;
        cluster.instances[instance] = again;
        cluster.settled().await;
    }
}
