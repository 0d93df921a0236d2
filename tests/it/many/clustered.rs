//! The log on a cluster of three NATS servers: one of them may go at any time, and nothing is lost but time.

use tokio::task::JoinSet;

use super::{followed, go_on, longest_pause, post_anywhere};
use crate::support::{follower::Place, nats::NatsCluster, server::Server, upstream::Manner, *};

const CHAIN: &str = "REJOINDER_CHAIN_0";
const STREAMS: [&str; 4] = [CHAIN, "REJOINDER_TRANSCRIPT_0", "REJOINDER_TICKETS", "REJOINDER_SNAPSHOT_0"];

/// Instances on a cluster.
struct Site {
    instances: Vec<Server>,
    upstream: Upstream,
    nats: NatsCluster,
}

impl Site {
    async fn new(instances: usize) -> Self {
        let (upstream, nats) = tokio::join!(Upstream::start(), NatsCluster::start());
        let mut site = Self { instances: Vec::new(), upstream, nats };
        for _ in 0..instances {
            let config = Server::before(&site.upstream).env("NATS_URL", &site.nats.url).env("LOG_REPLICAS", 3);
            site.instances.push(config.env("HEARTBEAT", "200ms").start().await);
        }
        for stream in STREAMS {
            site.nats.whole(stream).await;
        }
        site
    }

    fn apis(&self) -> Vec<Api> {
        self.instances.iter().map(Server::api).collect()
    }

    /// Nobody was taken for dead, which nobody was.
    fn all_lived(&self) {
        for server in &self.instances {
            assert!(!server.output().contains("instance failed"), "nobody was presumed dead");
        }
    }
}

/// A reply that is being said, with followers on other instances.
struct Running {
    prompt: String,
    clients: Vec<tokio::task::JoinHandle<Vec<Event>>>,
}

impl Running {
    async fn start(site: &Site, number: usize, words: usize, about: &str) -> Self {
        let apis = site.apis();
        let prompt = prompt(words, &format!("{about} {number}"));
        let mut posted = apis[number % apis.len()].stream(streamed(&prompt)).await;
        let id = posted.response_id();
        let seen = posted.read_words(2).await;
        let other = |next: usize| apis[(number + next) % apis.len()].clone();
        let clients = vec![
            followed(other(1), &id, Place::Responses),
            followed(other(2), &id, Place::EventSource),
            go_on(posted, seen, apis.clone()),
        ];
        Self { prompt, clients }
    }

    /// Waits for the end; all saw the same, and the truth. Gives what one on another instance saw.
    async fn end(self) -> Vec<Event> {
        let mut told: Vec<Vec<Event>> = Vec::new();
        for client in self.clients {
            told.push(client.await.expect("no panic"));
        }
        for other in &told[1..] {
            assert_eq!(bodies(other), bodies(&told[0]));
        }
        let reply = check_reply(&told[0]);
        assert_eq!((reply.text, reply.status.as_str()), (truth(&self.prompt), "completed"));
        told.remove(0)
    }
}

#[tokio::test]
async fn replies_wait_while_the_leader_of_their_stream_is_gone_and_another_is_elected() {
    let mut site = Site::new(2).await;
    site.upstream.on("leaderless", Manner::paced(25));
    let mut running = Vec::new();
    for number in 0..6 {
        running.push(Running::start(&site, number, 700, "leaderless").await);
    }
    let mut refused = 0;
    for round in 0..2 {
        let leader = site.nats.leader(CHAIN).await;
        site.nats.kill(leader);
        // Whoever asks meanwhile waits, or is told to come again; under one key, the reply is one.
        let prompt = prompt(10, &format!("round {round}"));
        let api = site.instances[round].api().header("idempotency-key", &format!("round {round}"));
        let answer = until("a reply to be accepted", async || {
            let answer = api.post("/v1/responses", whole(&prompt)).await;
            if answer.status == 503 {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                refused += 1;
                return None;
            }
            Some(answer.ok())
        })
        .await;
        assert_eq!(check::output_text(&answer), truth(&prompt));
        site.nats.start_again(leader).await;
        site.nats.whole(CHAIN).await;
    }
    for reply in running {
        println!("a pause of {:?}", longest_pause(&reply.end().await));
    }
    println!("{refused} requests were told to come again");
    assert_eq!(site.upstream.heard("leaderless").len(), 6, "nobody took anything over");
    site.all_lived();
}

#[tokio::test]
async fn a_single_server_that_is_away_costs_nothing() {
    let mut site = Site::new(2).await;
    site.upstream.on("one away", Manner::paced(25));
    // One that leads nothing.
    let away = 2;
    for stream in STREAMS {
        while site.nats.leader(stream).await == away {
            site.nats.step_down(stream).await;
        }
    }
    let mut running = Vec::new();
    for number in 0..4 {
        running.push(Running::start(&site, number, 300, "one away").await);
    }
    site.nats.kill(away);
    let api = site.instances[0].api().header("idempotency-key", "one away");
    // The instance may have to connect to another server.
    let answer = until("a reply to be accepted", async || {
        let answer = api.post("/v1/responses", whole("Say 9 words.")).await;
        (answer.status != 503).then(|| answer.ok())
    })
    .await;
    assert_eq!(check::output_text(&answer), truth("Say 9 words."));
    for reply in running {
        let pause = longest_pause(&reply.end().await);
        println!("a pause of {pause:?}");
    }
    assert_eq!(site.upstream.heard("one away").len(), 4, "nobody took anything over");
    site.all_lived();
    site.nats.start_again(away).await;
    site.nats.whole(CHAIN).await;
}

#[tokio::test]
async fn leaders_that_step_down_under_load_lose_nothing() {
    const CLIENTS: usize = 6;
    let site = Site::new(2).await;
    site.upstream.on("step", Manner::paced(4));
    let apis = site.apis();
    let mut clients = JoinSet::new();
    let stop = tokio_util::sync::CancellationToken::new();
    for client in 0..CLIENTS {
        let (mut apis, stop) = (apis.clone(), stop.clone());
        apis.rotate_left(client % 2);
        clients.spawn(async move {
            let (mut previous, mut turns) = (Value::Null, 0);
            while !stop.is_cancelled() {
                let prompt = prompt(40, &format!("step {client} {turns}"));
                let request = with(streamed(&prompt), json!({"previous_response_id": previous}));
                let posted = post_anywhere(&apis, &request, &format!("{client}-{turns}")).await;
                previous = json!(posted.response_id());
                let events = go_on(posted, Vec::new(), apis.clone()).await.expect("no panic");
                let reply = check_reply(&events);
                assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"), "{prompt}");
                turns += 1;
            }
            turns
        });
    }
    for _ in 0..2 {
        for stream in STREAMS {
            site.nats.step_down(stream).await;
        }
    }
    stop.cancel();
    let mut turns = 0;
    while let Some(client) = clients.join_next().await {
        turns += client.expect("no panic");
    }
    println!("{turns} turns while leaders stepped down");
    assert!(turns >= CLIENTS);
    site.all_lived();
}
