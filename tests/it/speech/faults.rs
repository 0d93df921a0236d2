//! Every way in which a speech server fails, with and without a voice of this machine: what is heard, what is said of it,
//! and that the text is whole. The table is the specification.

use std::fmt::Write as _;

use crate::support::voice::black_hole;

use super::*;

/// What is heard in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// All of it, from the server.
    Server,
    /// All of it, from this machine.
    Local,
    /// The beginning from the server, the rest from this machine.
    Both,
    /// The beginning, and no more.
    Part,
    Nothing,
}

/// What is heard, and whether the reply says that there should be more.
type Outcome = (Sound, bool);

/// Fault → what is heard without another voice, whether that is told; the same with one.
const TABLE: [(&str, Fault, Outcome, Outcome); 11] = [
    ("fine", Fault::None, (Sound::Server, false), (Sound::Server, false)),
    ("hangs", Fault::Hang, (Sound::Nothing, true), (Sound::Local, false)),
    ("hangs in the middle", Fault::HangInTheMiddle, (Sound::Part, true), (Sound::Both, false)),
    ("500", Fault::Status(500), (Sound::Nothing, true), (Sound::Local, false)),
    ("400: the request's fault", Fault::Status(400), (Sound::Nothing, true), (Sound::Nothing, true)),
    ("nothing", Fault::Empty, (Sound::Nothing, true), (Sound::Local, false)),
    ("silence", Fault::Silence, (Sound::Nothing, true), (Sound::Local, false)),
    ("a page", Fault::WrongType, (Sound::Nothing, true), (Sound::Local, false)),
    ("cut short", Fault::Truncated, (Sound::Part, true), (Sound::Both, false)),
    ("slower than speech", Fault::Slow(2), (Sound::Server, false), (Sound::Server, false)),
    ("12 kHz", Fault::Rate(12_000), (Sound::Server, false), (Sound::Server, false)),
];

const TEXT: &str = "This is the one sentence.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_speech_server_ends_as_the_table_says() {
    let mut wrong = String::new();
    for (name, fault, alone, beside) in TABLE {
        for (command, expected) in [("off", alone), ("espeak-ng --stdin --stdout", beside)] {
            let voice = Voice::start(fault).await;
            let found = outcome(&voice.base_url(), command).await;
            if found != expected {
                let _ = writeln!(wrong, "{name}, with {command:?}: {found:?} and not {expected:?}");
            }
        }
    }
    let (address, _held) = black_hole();
    for (command, expected) in [("off", (Sound::Nothing, true)), ("espeak-ng --stdin --stdout", (Sound::Local, false))]
    {
        let found = outcome(&format!("http://{address}/v1"), command).await;
        if found != expected {
            let _ = writeln!(wrong, "never accepts, with {command:?}: {found:?} and not {expected:?}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

async fn outcome(base: &str, command: &str) -> Outcome {
    let given = Given::with(|config| {
        let config = config.env("TTS_BASE_URL", base).env("TTS_COMMAND", command);
        config.env("TTS_FIRST_TIMEOUT", "3s").env("TTS_IDLE_TIMEOUT", "2s")
    })
    .await;
    given.upstream.on("tea", script(&[TEXT], Duration::ZERO));
    let events = given.events(spoken("tea")).await;
    let reply = check_reply(&events);
    assert_eq!((reply.text.as_str(), reply.status.as_str()), (TEXT, "completed"));
    let degraded = &reply.response["rejoinder"]["degraded"];
    if !degraded.is_null() {
        assert_eq!(degraded[0]["capability"], "speech");
        assert!(degraded[0]["reason"].as_str().is_some_and(|reason| reason.len() > 10), "{degraded}");
    }
    let audio = audio_of(&events);
    let heard = if audio.is_empty() { Vec::new() } else { samples_of(&audio) };
    let expected = sound(TEXT);
    let agree = heard.iter().zip(&expected).take_while(|(a, b)| (**a - **b).abs() <= 2).count();
    // Another rate is the same sound, and not the same samples.
    let loud =
        |samples: &[i16]| samples.iter().filter(|sample| sample.unsigned_abs() > 4000).count() * 2 > samples.len();
    let sound = match (agree, heard.len()) {
        (_, 0) => Sound::Nothing,
        (_, length) if length.abs_diff(expected.len()) < 100 && loud(&heard) => Sound::Server,
        (agree, length) if agree > 2000 && agree + 100 >= length => Sound::Part,
        (agree, _) if agree > 2000 => Sound::Both,
        _ => Sound::Local,
    };
    (sound, !degraded.is_null())
}

#[tokio::test]
async fn a_server_that_comes_back_speaks_again_by_itself() {
    let (given, voice) = given(Fault::None).await;
    let (address, tokens) = (voice.address(), [TEXT]);
    given.upstream.on("tea", script(&tokens, Duration::ZERO));
    drop(voice);
    let events = given.events(spoken("tea")).await;
    assert!(!check_reply(&events).response["rejoinder"]["degraded"].is_null());
    given.server.poll("/healthz", |answer| answer.json()["speech"]["mode"] == "off").await;
    let _voice = Voice::start_again(address, Fault::None).await;
    given.server.poll("/healthz", |answer| answer.json()["speech"]["mode"] == "server").await;
    let events = given.events(spoken("tea")).await;
    assert!(is_like(&samples_of(&audio_of(&events)), &sound(TEXT)));
    let output = given.server.output();
    assert_eq!(output.matches("speech is degraded").count(), 1, "{output}");
    assert_eq!(output.matches("speech has recovered").count(), 1, "{output}");
}

#[tokio::test]
async fn a_request_of_its_own_fault_opens_no_breaker() {
    let (given, voice) = given(Fault::Status(400)).await;
    given.upstream.on("tea", script(&[TEXT], Duration::ZERO));
    for _ in 0..6 {
        let reply = given.reply(spoken("tea")).await;
        assert_eq!(reply.response["rejoinder"]["degraded"][0]["reason"], "No such voice.");
    }
    voice.set(Fault::None);
    let events = given.events(spoken("tea")).await;
    assert!(is_like(&samples_of(&audio_of(&events)), &sound(TEXT)));
}

#[tokio::test]
async fn never_two_formats_in_one_stream() {
    // It has no voice but one that cannot give what is asked for.
    let given = Given::with(|config| config.env("TTS_COMMAND", "espeak-ng --stdin --stdout")).await;
    given.upstream.on("tea", script(&[TEXT], Duration::ZERO));
    let request = with(spoken("tea"), json!({"audio": {"format": "mp3"}}));
    let events = given.events(request).await;
    let reply = check_reply(&events);
    assert!(audio_of(&events).is_empty());
    assert!(reply.response["rejoinder"]["degraded"][0]["reason"].as_str().unwrap().contains("wav and pcm"));
}

#[tokio::test]
async fn without_any_voice_the_reply_goes_on_as_text_and_says_so_at_once() {
    let given = Given::with(|config| config.env("TTS_COMMAND", "")).await;
    given.upstream.on("tea", script(&[TEXT, " And", " more."], Duration::from_millis(300)));
    let mut stream = given.api.stream(spoken("tea")).await;
    let id = stream.response_id();
    let browser = given.api.follow(&format!("/v1/responses/{id}/events")).await;
    let events = read(&mut stream).await;
    let reply = check_reply(&events);
    assert_eq!(reply.response["rejoinder"]["degraded"][0]["reason"], "No voice is configured on this server.");
    assert!(place_of(&events, "response.audio.done") < place_of(&events, "response.output_text.done"));
    let frames = browser.collect().await.frames;
    assert!(frames.iter().any(|frame| frame.data.contains("response.audio.done") && frame.data.contains("degraded")));
    let health = given.api.get("/healthz").await.ok();
    assert_eq!((&health["status"], &health["speech"]["mode"]), (&json!("ok"), &json!("none")));
    let refused = given.api.post("/v1/audio/speech", json!({"input": "Tea."})).await;
    assert_eq!(refused.status, 503);
}
