//! Figures of hearing, for tests/bench/README.md:
//!
//! ```sh
//! cargo build --release
//! REJOINDER_BIN=target/release/rejoinder cargo test --test it hearing::measure -- --ignored --nocapture --test-threads 1
//! ```

use crate::{
    speech::script,
    support::voice::{self, Voice},
};

use super::*;

const REPLIES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn from_a_voice_to_the_first_audio() {
    let (ear, voice) = (Ear::start("Is there tea?", Fault::None).await, Voice::start(voice::Fault::None).await);
    let (hears, speaks) = (ear.base_url(), voice.base_url());
    let given = Given::with(|config| {
        let config = config.env("ASR_BASE_URL", hears).env("ASR_COMMAND", "");
        config.env("TTS_BASE_URL", speaks).env("TTS_COMMAND", "")
    })
    .await;
    given.upstream.on("tea", script(&["The tea is ready now. ", "Then drink it."], Duration::ZERO));
    // Five seconds of speech.
    let input = message(&part(&recording(80_000), "wav"));
    let body = json!({"model": "truth", "input": input, "stream": true, "modalities": ["text", "audio"], "audio": {"format": "wav"}});
    let (mut text, mut audio) = (Vec::new(), Vec::new());
    for _ in 0..REPLIES {
        let begun = std::time::Instant::now();
        let events = given.events(body.clone()).await;
        let after = |kind: &str| {
            let event = events.iter().find(|event| event.kind == kind).expect("an event");
            (event.at - begun).as_secs_f64() * 1000.0
        };
        text.push(after("response.output_text.delta"));
        audio.push(after("response.audio.delta"));
    }
    println!("{REPLIES} replies to 5 s of speech, one after the other; all three servers answer at once");
    for (what, mut times) in [("first text", text), ("first audio", audio)] {
        times.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!("POST to {what}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms", at(50), at(90), at(99));
    }
}
