//! Replies that are also spoken: what is heard, and that the text never waits for it.

use std::time::Duration;

use hyper::Method;
use tokio::time::Instant;

use crate::support::{
    check::check_numbers,
    follower::{Place, follow, read_on},
    server::Server,
    upstream::Step,
    voice::{Fault, Voice, audio_of, is_like, samples_of, sound, transcript_of},
    wait::soon,
    *,
};

mod faults;
mod local;
mod measure;
mod taken_over;

/// Two sentences, as a model says them.
const SENTENCES: [&str; 2] = ["This is the first sentence of it.", "And here is the second one!"];

/// A model that says these texts, each token in its time.
pub(crate) fn script(tokens: &[&str], pace: Duration) -> Behaviour {
    let mut steps = Vec::new();
    for token in tokens {
        steps.extend([Step::text(token), Step::Pause(pace)]);
    }
    steps.extend([Step::Finish("stop"), Step::Done]);
    Behaviour::script(steps)
}

/// A server with a speech server, and without a voice of its own.
pub(crate) async fn given(fault: Fault) -> (Given, Voice) {
    let voice = Voice::start(fault).await;
    let base = voice.base_url();
    let given = Given::with(|config| config.env("TTS_BASE_URL", base).env("TTS_COMMAND", "off")).await;
    (given, voice)
}

/// A request for a reply about `about` that is spoken.
pub(crate) fn spoken(about: &str) -> Value {
    with(streamed(about), json!({"modalities": ["text", "audio"], "audio": {"voice": "nova", "format": "wav"}}))
}

/// What is to be heard of these sentences.
pub(crate) fn sounds<'a>(sentences: impl IntoIterator<Item = &'a str>) -> Vec<i16> {
    sentences.into_iter().flat_map(sound).collect()
}

pub(crate) fn place_of(events: &[Event], kind: &str) -> usize {
    events.iter().position(|event| event.kind == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[tokio::test]
async fn a_reply_is_spoken_sentence_by_sentence_and_heard_again_from_its_own_address() {
    let (given, voice) = given(Fault::None).await;
    given
        .upstream
        .on("tea", script(&["This is the first ", "sentence of it. And", " here is the second one!"], Duration::ZERO));
    let events = given.events(spoken("tea")).await;
    let reply = check_reply(&events);
    assert_eq!((reply.text, reply.status.as_str()), (SENTENCES.join(" "), "completed"));
    assert_eq!(transcript_of(&events), SENTENCES.join(" "));
    assert!(is_like(&samples_of(&audio_of(&events)), &sounds(SENTENCES)), "every sample, and no other");
    assert!(place_of(&events, "response.output_item.done") < place_of(&events, "response.audio.done"));
    assert_eq!(voice.heard()[0].body["voice"], "nova");
    assert_eq!(reply.response["rejoinder"]["audio"], format!("/v1/responses/{}/audio", reply.id));

    let path = format!("/v1/responses/{}/audio", reply.id);
    let heard = given.api.get(&path).await;
    assert_eq!((heard.status.as_u16(), &heard.headers["content-type"]), (200, &"audio/wav".parse().unwrap()));
    assert_eq!(heard.body, audio_of(&events));
    assert_eq!(bodies(&given.replay(&reply.id).await), bodies(&events));
    let object = given.api.get(&format!("/v1/responses/{}", reply.id)).await.ok();
    assert_eq!(object, reply.response);
    assert!(!object.to_string().contains("UklGR"), "the object holds no audio");

    // Also after a restart: the audio is in the log.
    let given = given.restarted().await;
    assert_eq!(bodies(&given.replay(&reply.id).await), bodies(&events));
    assert_eq!(given.api.get(&path).await.body, audio_of(&events));
}

#[tokio::test]
async fn the_audio_grows_while_it_is_made() {
    let (given, voice) = given(Fault::None).await;
    voice.pace(Duration::from_millis(10));
    given.upstream.on("tea", script(&[SENTENCES[0], " ", SENTENCES[1]], Duration::from_millis(20)));
    let mut stream = given.api.stream(spoken("tea")).await;
    let id = stream.response_id();
    let mut audio = given.api.follow(&format!("/v1/responses/{id}/audio")).await;
    let first = soon("the first audio", audio.chunk()).await.expect("audio");
    assert!(first.starts_with(b"RIFF"));
    let running = given.api.get(&format!("/v1/responses/{id}/audio")).await;
    let events = read(&mut stream).await;
    check_reply(&events);
    assert_eq!(running.body, audio_of(&events));
}

/// All events of a stream.
pub(crate) async fn read(stream: &mut Events) -> Vec<Event> {
    let mut events = Vec::new();
    read_on(stream, Place::Responses, &mut events).await;
    events
}

#[tokio::test]
async fn markdown_code_and_thoughts_are_not_spoken() {
    let (given, voice) = given(Fault::None).await;
    let text = "**Look** at [this](http://x.y/z):\n```rust\nfn main() {}\n```\n| a | b |\n|---|---|\n\nDone, e.g. 29.99 of it.";
    given.upstream.on("tea", script(&["<think>Hm. Well.</think>", text], Duration::ZERO));
    let events = given.events(spoken("tea")).await;
    assert_eq!(check_reply(&events).text, text);
    assert_eq!(voice.texts().join("|"), "Look at this:|Done, e.g. 29.99 of it.");
    assert_eq!(transcript_of(&events), "Look at this: Done, e.g. 29.99 of it.");
}

#[tokio::test]
async fn a_reply_without_anything_to_say_is_no_failure() {
    let (given, voice) = given(Fault::None).await;
    given.upstream.on("tea", script(&["```\nlet x = 1;\n```"], Duration::ZERO));
    let events = given.events(spoken("tea")).await;
    let reply = check_reply(&events);
    assert!(audio_of(&events).is_empty() && voice.heard().is_empty());
    assert!(reply.response["rejoinder"].get("degraded").is_none());
    let heard = given.api.get(&format!("/v1/responses/{}/audio", reply.id)).await;
    assert_eq!((heard.status.as_u16(), heard.json()["error"]["code"].as_str()), (404, Some("not_spoken")));
}

#[tokio::test]
async fn the_next_turn_waits_for_no_audio_and_ends_what_is_still_spoken() {
    let (given, voice) = given(Fault::None).await;
    voice.pace(Duration::from_millis(200));
    let conversation = given.conversation().await;
    given.upstream.on("tea", script(&SENTENCES, Duration::ZERO));
    let turn = with(spoken("tea"), json!({"conversation": conversation}));
    let mut first = given.api.stream(turn.clone()).await;
    let id = first.response_id();
    let mut events = first.read_until(|event| event.kind == "response.output_item.done").await;
    // The text is over: the object says so, and the conversation is free.
    let object =
        given.server.poll(&format!("/v1/responses/{id}"), |answer| answer.json()["status"] == "completed").await;
    assert_eq!(object.json()["output"][0]["content"][0]["text"], SENTENCES.concat());
    assert!(!events.last().unwrap().is_terminal());
    voice.pace(Duration::ZERO);
    let second = given.api.stream(turn).await;
    read_on(&mut first, Place::Responses, &mut events).await;
    let reply = check_reply(&events);
    assert_eq!(reply.status, "completed");
    let heard = samples_of_any(&audio_of(&events));
    assert!(
        heard < sounds([SENTENCES.concat().as_str()]).len(),
        "the first was not spoken to its end: {heard} samples"
    );
    let second = second.collect().await.into_events();
    assert_eq!(check_reply(&second).status, "completed");
    assert_eq!(bodies(&given.replay(&id).await), bodies(&events), "what was seen stays");
}

fn samples_of_any(wav: &[u8]) -> usize {
    if wav.is_empty() { 0 } else { samples_of(wav).len() }
}

#[tokio::test]
async fn a_cancel_ends_text_and_speech() {
    let (given, voice) = given(Fault::None).await;
    voice.pace(Duration::from_millis(200));
    // While the text runs …
    given
        .upstream
        .on("tea", script(&["This is the first sentence of it. And", " more", " more"], Duration::from_secs(20)));
    let mut stream = given.api.stream(spoken("tea")).await;
    let id = stream.response_id();
    let mut events = stream.read_until(|event| event.kind == "response.audio.delta").await;
    assert_eq!(given.api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok()["status"], "cancelled");
    read_on(&mut stream, Place::Responses, &mut events).await;
    assert_eq!(check_reply(&events).status, "cancelled");

    // … and when it is over: then it is the speech that ends.
    given.upstream.on("coffee", script(&SENTENCES, Duration::ZERO));
    let mut stream = given.api.stream(spoken("coffee")).await;
    let id = stream.response_id();
    let mut events = stream.read_until(|event| event.kind == "response.output_item.done").await;
    given.server.poll(&format!("/v1/responses/{id}"), |answer| answer.json()["status"] == "completed").await;
    assert_eq!(given.api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok()["status"], "completed");
    read_on(&mut stream, Place::Responses, &mut events).await;
    assert_eq!(check_reply(&events).status, "completed");
}

#[tokio::test]
async fn a_reply_that_is_not_streamed_does_not_wait_for_its_audio() {
    let (given, voice) = given(Fault::None).await;
    voice.pace(Duration::from_millis(100));
    given.upstream.on("tea", script(&SENTENCES, Duration::ZERO));
    let mut request = spoken("tea");
    request["stream"] = json!(false);
    let object = given.api.post("/v1/responses", request).await.ok();
    assert_eq!(object["status"], "completed");
    let id = object["id"].as_str().unwrap();
    voice.pace(Duration::ZERO);
    let events = follow(&given.api, id, Place::Responses, Vec::new()).await;
    assert!(!samples_of(&audio_of(&events)).is_empty());
    let mut again = check_reply(&events).response;
    assert_eq!(again["rejoinder"].take(), object["rejoinder"]);
}

#[tokio::test]
async fn a_reply_that_is_not_stored_is_spoken_too() {
    let (given, _voice) = given(Fault::None).await;
    given.upstream.on("tea", script(&[SENTENCES[0], " ", SENTENCES[1]], Duration::ZERO));
    let events = given.events(with(spoken("tea"), json!({"store": false}))).await;
    check_reply(&events);
    assert!(is_like(&samples_of(&audio_of(&events)), &sounds(SENTENCES)));
}

#[tokio::test]
async fn audio_goes_with_the_chain_and_its_events_stay_empty_with_their_numbers() {
    let voice = Voice::start(Fault::None).await;
    let given = Given::with(|config| {
        let config = config.env("TTS_BASE_URL", voice.base_url()).env("TTS_COMMAND", "off");
        config.env("REPLAY_WINDOW", "3s").env("REPLY_DEADLINE", "2s")
    })
    .await;
    given.upstream.on("tea", script(&SENTENCES, Duration::ZERO));
    let events = given.events(spoken("tea")).await;
    let reply = check_reply(&events);
    let replayed = until("the chain to expire", async || {
        let replayed = given.replay(&reply.id).await;
        audio_of(&replayed).is_empty().then_some(replayed)
    })
    .await;
    check_numbers(&replayed, 0);
    let kinds = |events: &[Event]| events.iter().map(|event| event.kind.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&replayed), kinds(&events));
    assert_eq!(check_reply(&replayed).text, reply.text);
    let heard = given.api.get(&format!("/v1/responses/{}/audio", reply.id)).await;
    assert_eq!((heard.status.as_u16(), heard.json()["error"]["code"].as_str()), (404, Some("audio_expired")));
}

#[tokio::test]
async fn a_deleted_reply_is_silent() {
    let (given, voice) = given(Fault::None).await;
    voice.pace(Duration::from_millis(200));
    given.upstream.on("tea", script(&SENTENCES, Duration::ZERO));
    let mut stream = given.api.stream(spoken("tea")).await;
    let id = stream.response_id();
    let mut events = stream.read_until(|event| event.kind == "response.audio.delta").await;
    assert_eq!(given.api.delete(&format!("/v1/responses/{id}")).await.ok()["deleted"], true);
    read_on(&mut stream, Place::Responses, &mut events).await;
    check_reply(&events);
    assert_eq!(given.api.get(&format!("/v1/responses/{id}/audio")).await.status, 404);
}

#[tokio::test]
async fn what_is_asked_of_a_voice_is_checked() {
    let (given, voice) = given(Fault::None).await;
    let refused = async |more: Value, param: &str| {
        let answer = given.api.post("/v1/responses", with(whole("tea"), more.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"]["param"].as_str()), (400, Some(param)), "{more}");
    };
    let both = json!(["text", "audio"]);
    refused(json!({"modalities": ["audio"]}), "modalities").await;
    refused(json!({"modalities": []}), "modalities").await;
    refused(json!({"modalities": ["text", "video"]}), "modalities[1]").await;
    refused(json!({"modalities": "audio"}), "modalities").await;
    refused(json!({"modalities": both, "audio": {"format": "midi"}}), "audio.format").await;
    refused(json!({"modalities": both, "audio": {"voice": ""}}), "audio.voice").await;
    refused(json!({"modalities": both, "audio": {"voice": 3}}), "audio.voice").await;
    refused(json!({"modalities": both, "audio": "nova"}), "audio").await;
    refused(json!({"audio": {"voice": "nova", "format": "wav"}}), "audio").await;
    refused(json!({"modalities": both, "text": {"format": {"type": "json_object"}}}), "modalities").await;
    let plain = given.api.post("/v1/responses", with(whole("tea"), json!({"modalities": ["text"]}))).await.ok();
    assert!(plain["rejoinder"].get("audio").is_none());
    assert_eq!(given.api.get(&format!("/v1/responses/{}/audio", plain["id"].as_str().unwrap())).await.status, 404);
    assert!(voice.heard().is_empty());

    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": ""}), "input"),
        (json!({"input": "x".repeat(4097)}), "input"),
        (json!({"input": "Hi.", "response_format": "midi"}), "response_format"),
        (json!({"input": "Hi.", "speed": 5}), "speed"),
        (json!({"input": "Hi.", "speed": 0.1}), "speed"),
        (json!({"input": "Hi.", "stream_format": "sse"}), "stream_format"),
    ] {
        let answer = given.api.post("/v1/audio/speech", body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"]["param"].as_str()), (400, Some(param)), "{body}");
    }
}

#[tokio::test]
async fn a_text_by_itself_is_spoken_as_it_is() {
    let (given, voice) = given(Fault::None).await;
    let request =
        json!({"model": "tts-9", "input": "Tea, **please**.", "voice": "nova", "response_format": "wav", "speed": 1.5});
    let heard = given.api.post("/v1/audio/speech", request).await;
    assert_eq!((heard.status.as_u16(), &heard.headers["content-type"]), (200, &"audio/wav".parse().unwrap()));
    assert!(is_like(&samples_of(&heard.body), &sound("Tea, **please**.")));
    let asked = &voice.heard()[0].body;
    assert_eq!((&asked["model"], &asked["speed"]), (&json!("tts-9"), &json!(1.5)));
    let pcm = given.api.post("/v1/audio/speech", json!({"input": "Tea.", "response_format": "pcm"})).await;
    assert_eq!(pcm.body.len(), sound("Tea.").len() * 2);
    voice.set(Fault::Status(400));
    let refused = given.api.post("/v1/audio/speech", json!({"input": "Tea."})).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"]["message"].as_str()), (400, Some("No such voice.")));
}

/// Text, with its times, of replies that are asked for at once.
async fn token_times(api: &Api, requests: usize, body: &Value) -> Vec<Duration> {
    let mut replies = tokio::task::JoinSet::new();
    for _ in 0..requests {
        let (api, body) = (api.clone(), body.clone());
        replies.spawn(async move {
            let begun = Instant::now();
            let mut stream = api.try_open(Method::POST, "/v1/responses", body.to_string()).await.expect("a stream");
            stream.read_until(|event| event.kind == "response.output_item.done").await;
            begun.elapsed()
        });
    }
    let mut times = replies.join_all().await;
    times.sort_unstable();
    times
}

#[tokio::test]
async fn text_does_not_wait_for_a_speech_server_that_hangs() {
    let (given, _voice) = given(Fault::Hang).await;
    let tokens: Vec<_> = (0..20).map(|_| "So it goes on. ").collect();
    given.upstream.on("tea", script(&tokens, Duration::from_millis(20)));
    let alone = token_times(&given.api, 20, &streamed("tea")).await;
    let beside = token_times(&given.api, 20, &spoken("tea")).await;
    // A figure for a busy machine; the exact one is measured, see README.
    assert!(beside[19] < alone[19] * 3 + Duration::from_secs(2), "{alone:?}\n{beside:?}");
}

#[tokio::test]
async fn a_malformed_address_stops_the_start_and_one_that_nobody_answers_does_not() {
    let wrong = Server::bare().env("TTS_BASE_URL", "localhost:1").try_start().await;
    assert!(wrong.is_err());
    let server = Server::bare().env("TTS_BASE_URL", "http://127.0.0.1:9/v1").env("TTS_COMMAND", "off").start().await;
    let health = server.poll("/healthz", |answer| answer.json()["speech"]["mode"] == "off").await;
    assert_eq!(health.json()["status"], "degraded");
    until("the gauge", async || (server.api().gauge("rejoinder_speech_degraded").await == 1).then_some(())).await;
}
