//! The voice of this machine: the real program.

use crate::support::http::Api;

use super::*;

async fn given_espeak() -> Given {
    Given::with(|config| config.env("TTS_COMMAND", "espeak-ng --stdin --stdout")).await
}

/// The root mean square, of 32,768.
fn loudness(samples: &[i16]) -> f64 {
    let squares: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (squares / f64::from(u32::try_from(samples.len().max(1)).expect("short"))).sqrt()
}

#[tokio::test]
async fn it_speaks_as_long_and_as_loud_as_speech_is() {
    let given = given_espeak().await;
    given.upstream.on("tea", script(&[SENTENCES[0], " ", SENTENCES[1]], Duration::ZERO));
    let events = given.events(spoken("tea")).await;
    let reply = check_reply(&events);
    assert!(reply.response["rejoinder"].get("degraded").is_none());
    assert_eq!(transcript_of(&events), SENTENCES.join(" "));
    let samples = samples_of(&audio_of(&events));
    // Twelve words: two to six a second.
    assert!((24_000 * 2..24_000 * 8).contains(&samples.len()), "{} samples", samples.len());
    assert!((500.0..12_000.0).contains(&loudness(&samples)), "{}", loudness(&samples));
    let health = given.api.get("/healthz").await.ok();
    assert_eq!((&health["status"], &health["speech"]["mode"]), (&json!("ok"), &json!("local")));
}

#[tokio::test]
async fn it_answers_the_plain_endpoint_with_what_it_has() {
    let given = given_espeak().await;
    let heard = given.api.post("/v1/audio/speech", json!({"input": "Guten Tag.", "voice": "de"})).await;
    assert_eq!((heard.status.as_u16(), &heard.headers["content-type"]), (200, &"audio/wav".parse().unwrap()));
    assert!(loudness(&samples_of(&heard.body)) > 500.0);
    for format in ["mp3", "opus", "aac", "flac"] {
        let answer = given.api.post("/v1/audio/speech", json!({"input": "Tag.", "response_format": format})).await;
        answer.refused(400, "invalid_value", "response_format");
    }
}

#[tokio::test]
async fn a_program_that_fails_is_told_and_the_text_goes_on() {
    for command in ["false", "true", "cat"] {
        let given = Given::with(|config| config.env("TTS_COMMAND", command)).await;
        given.upstream.on("tea", script(&SENTENCES, Duration::ZERO));
        let reply = given.reply(spoken("tea")).await;
        assert_eq!(reply.response["rejoinder"]["degraded"][0]["reason"], "No voice can speak now.", "{command}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_listened_to_any_more_is_killed_with_all_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let command = format!("sh -c 'sleep 600 & echo $$ $! > {}; cat; wait'", pids.display());
    let given = Given::with(|config| config.env("TTS_COMMAND", &command)).await;
    given.upstream.on("tea", script(&["This is said. And", " more"], Duration::from_secs(20)));
    let stream = given.api.stream(spoken("tea")).await;
    let id = stream.response_id();
    let started = until("the program to start", async || {
        let text = std::fs::read_to_string(&pids).ok()?;
        let pids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        (pids.len() == 2).then_some(pids)
    })
    .await;
    cancel(&given.api, &id).await;
    until("both to be gone", async || {
        // What is dead and not collected yet is a zombie.
        let alive = |pid: &String| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        (!started.iter().any(alive)).then_some(())
    })
    .await;
}

async fn cancel(api: &Api, id: &str) {
    assert_eq!(api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok()["status"], "cancelled");
}
