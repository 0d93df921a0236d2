//! `kill -9` at random points, again and again: with many replies running, each followed by three clients that come
//! back by themselves, nobody loses, doubles or changes a letter, whatever the upstream's manners.
//!
//! `KILL_ROUNDS` sets how often (100), `KILL_SEED` repeats a run that failed.

use std::{env, ops::Range, sync::Arc, time::Duration};

use fastrand::Rng;
use hyper::Method;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    follower::{Place, follow, read_on},
    server::Server,
    upstream::Manner,
    wait::Patience,
    *,
};

const REPLIES: usize = 20;
const WORDS: Range<usize> = 25..45;
/// Milliseconds between two tokens; with [`WORDS`], a reply takes about a second.
const PACE: u64 = 15;
/// Rounds run in so many lanes, each with a server of its own that lives through all its rounds.
const LANES: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_follower_of_every_reply_survives_kill_9_at_random_points() {
    let rounds: u64 = env::var("KILL_ROUNDS").map_or(100, |rounds| rounds.parse().expect("a number"));
    let seed: u64 =
        env::var("KILL_SEED").map_or_else(|_| fastrand::u64(..1 << 32), |seed| seed.parse().expect("a number"));
    println!("KILL_SEED={seed}");
    let started = Instant::now();
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let rounds: Vec<_> = (0..rounds).skip(lane).step_by(LANES).collect();
        lanes.spawn(run_lane(seed, rounds));
    }
    while let Some(lane) = lanes.join_next().await {
        lane.expect("each lane goes through");
    }
    println!("{rounds} rounds in {:?}", started.elapsed());
}

async fn run_lane(seed: u64, rounds: Vec<u64>) {
    let upstream = Upstream::start().await;
    let manners = Manner::all_bad();
    // Each manner is that of a model of its own: the server learns which of them refuse to go on.
    upstream.add_models((0..manners.len()).map(model));
    for (number, manner) in manners.iter().enumerate() {
        upstream.on(&format!("{} ", model(number)), manner.clone().at_pace(PACE));
    }
    let mut server = Server::before(&upstream).start().await;
    for &round in &rounds {
        let started = Instant::now();
        server = run_round(server, manners.len(), Rng::with_seed(seed.wrapping_add(round)), round).await;
        assert_eq!(upstream.complaints(), Vec::<String>::new(), "round {round}");
        println!("round {round}: {:?}", started.elapsed());
    }
    let continued = upstream.heard("manner-").iter().filter(|heard| heard.roles().contains(&"assistant")).count();
    println!("{continued} continuations in {} rounds", rounds.len());
    assert!(continued >= 2 * rounds.len(), "too few for a test of continuations: {continued}");
}

fn model(number: usize) -> String {
    format!("manner-{number}")
}

async fn run_round(server: Server, manners: usize, mut random: Rng, round: u64) -> Server {
    let api = Arc::new(server.api());
    let mut replies = JoinSet::new();
    for number in 0..REPLIES {
        let model = model(number % manners);
        let prompt = prompt(random.usize(WORDS), &format!("{model} round {round} reply {number}"));
        let request = with(streamed(&prompt), json!({"model": model}));
        replies.spawn(follow_three_times(Arc::clone(&api), request, random.fork()));
    }
    // A random moment: from before acceptance to after the end.
    sleep(Duration::from_millis(random.u64(0..800))).await;
    let server = kill_and_start(server, &mut random).await;
    while let Some(reply) = replies.join_next().await {
        reply.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    server
}

/// Kills the server and starts it again, now and then killing it once more while it takes over.
async fn kill_and_start(server: Server, random: &mut Rng) -> Server {
    let config = server.stop();
    if random.u8(..) < 80 {
        let moment = Duration::from_millis(random.u64(0..250));
        // When this is over, whatever has started is killed.
        let _ = timeout(moment, async {
            let _half = config.clone().try_start().await;
            std::future::pending::<()>().await;
        })
        .await;
    }
    config.start().await
}

/// Requests one reply, and follows it three times: with the POST itself, by number, and as an `EventSource`.
async fn follow_three_times(api: Arc<Api>, request: Value, mut random: Rng) {
    let (id, mut posted) = post(&api, &request, &format!("key-{}", random.u64(..))).await;
    let others = [Place::Responses, Place::EventSource].map(|place| {
        let (api, id) = (Arc::clone(&api), id.clone());
        tokio::spawn(async move { follow(&api, &id, place, Vec::new()).await })
    });
    let mut seen = Vec::new();
    read_on(&mut posted, Place::Responses, &mut seen).await;
    let seen = follow(&api, &id, Place::Responses, seen).await;
    let reply = check_reply(&seen);
    let prompt = request["input"].as_str().expect("a prompt");
    assert_eq!((reply.text, reply.status.as_str()), (truth(prompt), "completed"), "{prompt}");
    for other in others {
        assert_eq!(bodies(&other.await.expect("no panic")), bodies(&seen), "all see the same of {prompt}");
    }
}

/// POSTs until it is accepted, under one key: so it is generated once, whether or not a killed server had accepted it.
async fn post(api: &Api, request: &Value, key: &str) -> (String, Events) {
    let api = api.clone().header("idempotency-key", key);
    let mut wait = Patience::with("the reply to be accepted");
    loop {
        wait.wait().await;
        let posted = api.try_open(Method::POST, "/v1/responses", request.to_string()).await;
        let Ok(stream) = posted else { continue };
        if stream.status != 503 {
            assert_eq!(stream.status, 200, "{request}");
            return (stream.response_id(), stream);
        }
    }
}
