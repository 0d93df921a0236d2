//! Figures of upstreams that fail, for tests/bench/README.md: measured on a release build, by
//! `cargo test --release --test it -- --ignored --nocapture --test-threads=1 upstream_figures`.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use crate::support::{
    server::Server,
    upstream::{Break, Manner, Step, Upstream},
    valve::Valve,
    *,
};

/// One of a hundred takes longer.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100 - 1]
}

fn p50(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long so many replies take, all at once.
async fn at_once(given: &Given, replies: usize, round: usize) -> Vec<Duration> {
    let tries = (0..replies).map(|number| async move {
        let prompt = prompt(40, &format!("healthy {round} {number}"));
        let begun = Instant::now();
        let events = given.api.stream(streamed(&prompt)).await.collect().await.into_events();
        let took = begun.elapsed();
        assert_eq!(check_reply(&events).text, truth(&prompt));
        took
    });
    futures_util::future::join_all(tries).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, of a release build"]
async fn replies_on_a_healthy_upstream_beside_200_that_hang_on_a_dead_one() {
    const ROUNDS: usize = 5;
    let fast = Upstream::start().await;
    fast.on("healthy", Manner::paced(20));
    let other = Upstream::start().await;
    let dead = Valve::before(other.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned()).await;
    dead.shut();
    let upstreams =
        [("dead", &*dead.base_url(), "models = [\"dead\"]"), ("fast", &*fast.base_url(), "models = [\"truth\"]")];
    let server = Server::before_several(&upstreams).start().await;
    let given = Given { api: server.api(), server, upstream: fast };
    at_once(&given, 200, 99).await;
    let mut alone = Vec::new();
    for round in 0..ROUNDS {
        alone.extend(at_once(&given, 200, round).await);
    }
    let mut hanging = Vec::new();
    for number in 0..200 {
        hanging.push(given.api.stream(with(streamed(&format!("hangs {number}")), json!({"model": "dead"}))).await);
    }
    let mut beside = Vec::new();
    for round in ROUNDS..2 * ROUNDS {
        beside.extend(at_once(&given, 200, round).await);
    }
    let (alone_p50, beside_p50) = (p50(alone.clone()), p50(beside.clone()));
    let (alone, beside) = (p99(alone), p99(beside));
    println!("200 replies at once, 40 words, one each 20 ms: p50 {alone_p50:?}, p99 {alone:?}");
    println!(
        "… beside 200 that hang: p50 {beside_p50:?}, p99 {beside:?}: {:.3} x",
        beside.as_secs_f64() / alone.as_secs_f64()
    );
}

/// How long first tokens take, one reply after another.
async fn first_tokens(given: &Given, about: &str) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..200 {
        let begun = Instant::now();
        let mut stream = given.api.stream(streamed(&prompt(3, &format!("{about} {number}")))).await;
        stream.read_words(1).await;
        times.push(begun.elapsed());
        stream.collect().await;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, of a release build"]
async fn a_black_hole_is_known_costs_nothing_once_it_is_and_is_used_again_when_it_is_none() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let target = first.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let valve = Valve::before(target).await;
    let upstreams = [("first", &*valve.base_url(), ""), ("second", &*second.base_url(), "")];
    let server = Server::before_several(&upstreams).start().await;
    let given = Given { api: server.api(), server, upstream: first };
    let healthy = first_tokens(&given, "healthy").await;
    assert_eq!(given.upstream.heard("healthy").len(), 200);
    for round in 0..3 {
        valve.shut();
        let begun = Instant::now();
        // Somebody has to find out: one request.
        let api = given.api.clone();
        let victim = tokio::spawn(async move { api.stream(streamed(&prompt(3, "finds out"))).await.collect().await });
        let is_open = |answer: &Answer| answer.json()["upstreams"][0]["breaker"]["state"] == "open";
        given.server.poll("/healthz", is_open).await;
        println!("round {round}: a black hole is known after {:?}", begun.elapsed());
        let about = format!("open {round}");
        let open = first_tokens(&given, &about).await;
        assert_eq!(second.heard(&about).len(), 200);
        println!(
            "first token: healthy p50 {:?}, p99 {:?}; breaker open p50 {:?}, p99 {:?}",
            p50(healthy.clone()),
            p99(healthy.clone()),
            p50(open.clone()),
            p99(open)
        );
        valve.open();
        let begun = Instant::now();
        let about = format!("is it back {round}");
        until("the first to be used again", async || {
            given.reply(streamed(&prompt(3, &about))).await;
            (!given.upstream.heard(&about).is_empty()).then_some(())
        })
        .await;
        println!("used again after {:?}", begun.elapsed());
        victim.await.expect("the one that found out ends, too");
    }
}

/// Seven of ten answers are well.
fn troubled(seed: u64) -> Behaviour {
    let well = Behaviour::from(Manner::polite());
    let cut = |how| Behaviour::from(Manner::polite().breaking(3, how));
    let faults = [
        Behaviour::error(500, "server_error", "no"),
        Behaviour::error(503, "overloaded", "no"),
        Behaviour::Status { status: 429, headers: vec![("retry-after-ms", "50")], body: "{}".to_owned() },
        Behaviour::html(502),
        cut(Break::Clean),
        cut(Break::Closed),
        cut(Break::Reset),
        Behaviour::script([Step::Raw("data: {\"error\":{\"code\":502,\"message\":\"boom\"}}\n\n".to_owned())]),
        cut(Break::Silent),
    ];
    let faults = Behaviour::any(seed, faults.to_vec());
    Behaviour::any(seed + 1, [vec![well; 7], vec![faults; 3]].concat())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, of a release build"]
async fn ten_thousand_replies_with_faults_each_end_once_and_leave_nothing_behind() {
    ten_thousand(troubled).await;
}

/// To compare with what is stored of ten thousand replies anyway.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, of a release build"]
async fn ten_thousand_replies_without_faults() {
    ten_thousand(|_| Manner::polite().into()).await;
}

async fn ten_thousand(manner: fn(u64) -> Behaviour) {
    const REPLIES: usize = 10_000;
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.on("", manner(1));
    second.on("", manner(100));
    let upstreams = [("first", &*first.base_url(), ""), ("second", &*second.base_url(), "")];
    let config = Server::before_several(&upstreams).env("LLM_FIRST_TIMEOUT", "2s").env("LLM_IDLE_TIMEOUT", "2s");
    let server = config.start().await;
    let api = server.api();
    let ask = async |number: usize| {
        let prompt = prompt(12, &format!("reply {number}"));
        let events = api.stream(streamed(&prompt)).await.collect().await.into_events();
        let reply = check_ended(&events, &truth(&prompt));
        let stored = api.get(&format!("/v1/responses/{}", reply.id)).await.ok();
        assert_eq!(stored, reply.response, "as it was seen");
        reply.status
    };
    stream::iter(0..1000).map(&ask).buffer_unordered(100).for_each(async |_| ()).await;
    let before = settled(&server).await;
    let begun = Instant::now();
    let ends: Vec<_> = stream::iter(1000..1000 + REPLIES).map(&ask).buffer_unordered(100).collect().await;
    let took = begun.elapsed();
    let after = settled(&server).await;
    let completed = ends.iter().filter(|status| *status == "completed").count();
    let calls = first.heard("reply").len() + second.heard("reply").len();
    let failed = ends.len() - completed;
    println!("{REPLIES} replies in {took:?}: {completed} completed, {failed} failed; {calls} calls with 1,000 before");
    println!("before: {before:?}\nafter:  {after:?}");
    assert_eq!(ends.len(), REPLIES);
}

/// That a reply ended once, and is no success that is none.
fn check_ended(events: &[Event], whole: &str) -> Reply {
    let ends = ["response.completed", "response.failed", "response.incomplete"];
    assert_eq!(events.iter().filter(|event| ends.iter().any(|end| event.body["type"] == *end)).count(), 1);
    let reply = check_reply(events);
    assert!(whole.starts_with(&reply.text), "{}", reply.text);
    assert!(reply.status != "completed" || reply.text == whole, "a success that is none");
    reply
}

/// What a process holds: descriptors, threads, resident memory in KiB.
#[derive(Debug)]
#[expect(dead_code, reason = "it is printed")]
struct Held {
    descriptors: usize,
    threads: usize,
    resident_kib: u64,
}

/// What the server holds once nothing runs any more, and connections that idle have been closed.
async fn settled(server: &Server) -> Held {
    let quiet = |answer: &Answer| {
        let health = answer.json();
        let upstreams = health["upstreams"].as_array().expect("a list");
        health["replies_running"] == 0
            && health["streams_open"] == 0
            && upstreams.iter().all(|upstream| upstream["in_flight"] == 0 && upstream["queued"] == 0)
    };
    server.poll("/healthz", quiet).await;
    // Idle connections are closed after a minute.
    tokio::time::sleep(Duration::from_secs(70)).await;
    let process = format!("/proc/{}", server.pid());
    let status = fs::read_to_string(format!("{process}/status")).expect("our own child");
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number")
    };
    Held {
        descriptors: fs::read_dir(format!("{process}/fd")).expect("our own child").count(),
        threads: fs::read_dir(format!("{process}/task")).expect("our own child").count(),
        resident_kib: field("VmRSS:"),
    }
}
