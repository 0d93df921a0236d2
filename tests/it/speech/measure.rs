//! Figures of speech, for tests/bench/README.md:
//!
//! ```sh
//! cargo build --release
//! REJOINDER_BIN=target/release/rejoinder cargo test --test it speech::measure -- --ignored --nocapture --test-threads 1
//! ```

use super::*;

const REPLIES: usize = 200;
const ROUNDS: usize = 5;

/// First token and gaps between tokens, in milliseconds, of replies that are asked for at once.
async fn tokens(api: &Api, body: &Value) -> (Vec<f64>, Vec<f64>) {
    let mut replies = tokio::task::JoinSet::new();
    for _ in 0..REPLIES {
        let (api, body) = (api.clone(), body.clone());
        replies.spawn(async move {
            let begun = std::time::Instant::now();
            let mut stream = api.try_open(Method::POST, "/v1/responses", body.to_string()).await.expect("a stream");
            let events = stream.read_until(|event| event.kind == "response.output_item.done").await;
            let deltas = events.iter().filter(|event| event.delta().is_some());
            (begun, deltas.map(|event| event.at).collect::<Vec<_>>())
        });
    }
    let (mut first, mut gaps) = (Vec::new(), Vec::new());
    for (begun, times) in replies.join_all().await {
        first.push((times[0] - begun).as_secs_f64() * 1000.0);
        gaps.extend(times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1000.0));
    }
    (first, gaps)
}

fn quantiles(mut values: Vec<f64>) -> String {
    values.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| values[(values.len() - 1) * percent / 100];
    format!("p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms", at(50), at(90), at(99))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn text_beside_a_speech_server_that_hangs() {
    let (given, _voice) = given(Fault::Hang).await;
    let sentences: Vec<_> = (0..20).map(|_| "So it goes on. ").collect();
    given.upstream.on("tea", script(&sentences, Duration::from_millis(50)));
    let (plain, loud) = (streamed("tea"), spoken("tea"));
    tokens(&given.api, &plain).await;
    let (mut alone, mut beside) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    // In turn, so that a slow moment of the machine meets both.
    for _ in 0..ROUNDS {
        for (body, into) in [(&plain, &mut alone), (&loud, &mut beside)] {
            let (first, gaps) = tokens(&given.api, body).await;
            into.0.extend(first);
            into.1.extend(gaps);
        }
    }
    println!("{REPLIES} replies at once, {ROUNDS} rounds, a token each 50 ms");
    println!("first token, without voice:  {}", quantiles(alone.0));
    println!("first token, server hangs:   {}", quantiles(beside.0));
    println!("between tokens, without:     {}", quantiles(alone.1));
    println!("between tokens, hangs:       {}", quantiles(beside.1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn first_audio_after_the_first_sentence() {
    let (given, voice) = given(Fault::None).await;
    given
        .upstream
        .on("tea", script(&["This is the first", " sentence of it.", " And", " more."], Duration::from_millis(40)));
    let (mut asked, mut heard) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let begun = voice.heard().len();
        let events = given.events(spoken("tea")).await;
        // The word after the stop makes it a sentence.
        let complete = events.iter().find(|event| event.delta() == Some(" And")).expect("a word").at;
        let audio = events.iter().find(|event| event.kind == "response.audio.delta").expect("audio").at;
        let request = voice.heard()[begun].at.into_std();
        asked.push(request.saturating_duration_since(complete).as_secs_f64() * 1000.0);
        heard.push(audio.saturating_duration_since(complete).as_secs_f64() * 1000.0);
    }
    println!("sentence complete at the client to the speech server asked: {}", quantiles(asked));
    println!("… to first audio at the client (the server's own time is below 1 ms): {}", quantiles(heard));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn a_server_that_dies_and_comes_back() {
    let (given, voice) = given(Fault::None).await;
    given.upstream.on("tea", script(&["This is it. ", "And", " more."], Duration::from_millis(20)));
    let mode = async |mode: &'static str| {
        let begun = Instant::now();
        given.server.poll("/healthz", |answer| answer.json()["speech"]["mode"] == mode).await;
        begun.elapsed()
    };
    for _ in 0..3 {
        given.reply(spoken("tea")).await;
        voice.set(Fault::Hang);
        let asking = tokio::spawn({
            let (api, body) = (given.api.clone(), spoken("tea"));
            async move { api.stream(body).await.collect().await.into_events() }
        });
        println!("black-holed, with a reply: known after {:?}", mode("off").await);
        asking.await.expect("no panic");
        let mut whole = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            given.reply(spoken("tea")).await;
            whole.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        println!("a whole reply of 60 ms meanwhile: {}", quantiles(whole));
        voice.set(Fault::None);
        println!("back: used again after {:?}", mode("server").await);
    }
}
