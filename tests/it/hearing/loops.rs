//! From a voice to a voice: real programs speak and hear; and a reply that is spoken survives its server.

use crate::{
    speech::{place_of, script, sounds},
    support::{
        Cluster,
        follower::{Place, follow, follow_anywhere},
        voice::{self, Voice, audio_of, is_like, samples_of, transcript_of},
    },
};

use super::*;

/// Words that sound unlike each other. Nobody understands a synthetic voice that may say anything.
const GRAMMAR: &str =
    "#JSGF V1.0;\ngrammar words;\npublic <word> = computer | telephone | banana | yesterday | hospital | university;\n";

/// What `espeak-ng` says, as a WAV of 22 kHz whose length it does not know.
fn spoken_by_espeak(text: &str) -> Vec<u8> {
    let output = std::process::Command::new("espeak-ng").args(["-v", "en-us", "-s", "130", "--stdout", text]).output();
    output.expect("espeak-ng").stdout
}

#[tokio::test]
async fn what_one_program_says_another_hears_and_the_reply_is_heard_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let grammar = directory.path().join("words.gram");
    std::fs::write(&grammar, GRAMMAR).expect("a file");
    let command = format!("pocketsphinx_continuous -infile /dev/stdin -logfn /dev/null -jsgf {}", grammar.display());
    let speaks = "espeak-ng -v en-us -s 130 --stdin --stdout";
    let given = Given::with(|config| config.env("ASR_COMMAND", command).env("TTS_COMMAND", speaks)).await;
    for word in ["telephone", "university", "yesterday"] {
        let input = message(&part(&spoken_by_espeak(word), "wav"));
        let body =
            json!({"model": "echo", "input": input, "modalities": ["text", "audio"], "audio": {"format": "wav"}});
        let reply = given.api.post("/v1/responses", body).await.ok();
        assert_eq!(reply["output"][0]["content"][0]["text"], word, "{reply}");
        let path = format!("/v1/responses/{}/audio", reply["id"].as_str().expect("an id"));
        let said = given.api.get(&path).await.body;
        assert_eq!(transcription(&given.api, &[], &said).await.ok()["text"], word, "and what is said is that word");
    }
    let health = given.api.get("/healthz").await.ok();
    assert_eq!((&health["status"], &health["hearing"]["mode"]), (&json!("ok"), &json!("local")));
}

/// The voice says the same twice: what is left out, or said once more, is found by its length.
const SENTENCES: [&str; 3] = ["The tea is ready now.", "The tea is ready now.", "Then let us drink it."];

/// A request by voice for a reply that is spoken.
fn by_voice() -> Value {
    let input = message(&part(&recording(60_000), "wav"));
    json!({"model": "truth", "input": input, "stream": true, "modalities": ["text", "audio"], "audio": {"format": "wav"}})
}

fn model() -> Behaviour {
    let spaced = SENTENCES.map(|sentence| format!("{sentence} "));
    script(&spaced.each_ref().map(String::as_str), Duration::ZERO)
}

async fn read_audio(stream: &mut Events, pieces: usize) -> Vec<Event> {
    let mut heard = 0;
    let enough = |event: &Event| {
        heard += usize::from(event.kind == "response.audio.delta");
        heard == pieces
    };
    stream.read_until(enough).await
}

#[track_caller]
fn check_heard(events: &[Event]) {
    let reply = check_reply(events);
    assert_eq!((reply.text.trim_end(), reply.status.as_str()), (SENTENCES.join(" ").as_str(), "completed"));
    assert_eq!(transcript_of(events), SENTENCES.join(" "));
    let passages = events.iter().filter(|event| event.kind == "response.audio.transcript.delta");
    let passages: Vec<&str> = passages.map(|event| event.body["delta"].as_str().expect("text").trim_start()).collect();
    let heard = samples_of(&audio_of(events));
    assert!(is_like(&heard, &sounds(passages.iter().copied())), "every sample once: {passages:?}, {}", heard.len());
    assert!(place_of(events, "response.output_item.done") < place_of(events, "response.audio.done"));
}

#[tokio::test]
async fn a_loop_from_voice_to_voice_survives_kill_9_at_the_very_sample() {
    let (ear, voice) = (Ear::start("Is there tea?", Fault::None).await, Voice::start(voice::Fault::None).await);
    voice.pace(Duration::from_millis(5));
    let (hears, speaks) = (ear.base_url(), voice.base_url());
    let mut given = Given::with(|config| {
        let config = config.env("ASR_BASE_URL", hears).env("ASR_COMMAND", "");
        config.env("TTS_BASE_URL", speaks).env("TTS_COMMAND", "")
    })
    .await;
    given.upstream.on("tea", model());
    // Within the first sentence, within the same once more, and within the last.
    for (round, pieces) in [4, 26, 50].into_iter().enumerate() {
        let mut stream = given.api.stream(by_voice()).await;
        let id = stream.response_id();
        let seen = read_audio(&mut stream, pieces).await;
        given = given.restarted().await;
        let events = follow(&given.api, &id, Place::Responses, seen).await;
        check_heard(&events);
        assert_eq!(bodies(&given.replay(&id).await), bodies(&events));
        assert_eq!(ear.heard().len(), round + 1, "what was heard is not asked about again");
    }
}

#[tokio::test]
async fn a_loop_from_voice_to_voice_is_rejoined_on_another_instance() {
    let (ear, voice) = (Ear::start("Is there tea?", Fault::None).await, Voice::start(voice::Fault::None).await);
    voice.pace(Duration::from_millis(10));
    let env =
        vec![("ASR_BASE_URL", ear.base_url()), ("TTS_BASE_URL", voice.base_url()), ("TTS_COMMAND", String::new())];
    let mut cluster = Cluster::with_env(env).await;
    cluster.settled().await;
    cluster.upstream.on("tea", model());
    let mut stream = cluster.api(0).stream(by_voice()).await;
    let id = stream.response_id();
    let seen = read_audio(&mut stream, 30).await;
    cluster.instances[0].kill();
    let others = cluster.others(0);
    let events = follow_anywhere(&others, &id, Place::Responses, seen).await;
    check_heard(&events);
    assert_eq!(ear.heard().len(), 1);
    let items = others[0].get(&format!("/v1/responses/{id}/input_items")).await.ok();
    assert_eq!(items["data"][0]["content"][0]["transcript"], "Is there tea?");
}
