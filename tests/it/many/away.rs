//! NATS is away for a while: what runs waits and goes on, and nobody is taken for dead.

use super::{followed, go_on};
use crate::support::{
    follower::Place,
    sse::as_event,
    upstream::{Break, Manner},
    *,
};

#[tokio::test]
async fn while_nats_is_away_replies_wait_and_afterwards_everything_goes_on() {
    let mut cluster = Cluster::new().await;
    cluster.upstream.on("waiting", Manner::paced(25));
    let conversation = cluster.conversation().await;
    let mut feed = cluster.api(2).follow(&format!("/v1/conversations/{conversation}/events")).await;
    let long = prompt(450, "waiting");
    let request = with(streamed(&long), json!({"conversation": conversation}));
    let mut posted = cluster.api(0).stream(request).await;
    let id = posted.response_id();
    let mut seen = posted.read_words(4).await;
    let watchers = [followed(cluster.api(1), &id, Place::Responses), followed(cluster.api(2), &id, Place::EventSource)];
    let mut elsewhere = cluster.api(1).follow(&format!("/v1/responses/{id}?stream=true")).await;
    let mut told = elsewhere.read_words(4).await;
    // Another one says all it has to say meanwhile.
    let mut short = cluster.api(1).stream(streamed(&prompt(60, "waiting, too"))).await;
    let short_seen = short.read_words(4).await;

    cluster.nats.kill();
    for number in 0..3 {
        let refused = until("a refusal", async || {
            let answer = cluster.api(number).post("/v1/responses", whole("hello")).await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        refused.refused(503, Value::Null, Value::Null);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }
    // An `EventSource` would take an error for the end of all; another client is told how it is.
    let unseen = format!("/v1/responses/resp_{}/events", "0".repeat(52));
    let answer = cluster.api(0).header("accept", "text/event-stream").get(&unseen).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text().starts_with("retry: "), "{answer:?}");
    cluster.api(0).get(&unseen).await.refused(503, Value::Null, Value::Null);
    // Five to a second: longer than it takes to be presumed dead.
    for stream in [&mut posted, &mut elsewhere] {
        let until = stream.parser.comments + 35;
        while stream.parser.comments < until {
            let bytes = stream.chunk().await.expect("the stream is kept");
            stream.parser.feed(&bytes);
        }
    }
    for number in 0..3 {
        assert_eq!(cluster.api(number).gauge("rejoinder_log_connected").await, 0);
    }
    cluster.nats.start_again().await;

    told.extend(elsewhere.collect().await.into_events());
    let reply = check_reply(&told);
    assert_eq!((reply.text, reply.status.as_str()), (truth(&long), "completed"));
    seen.extend(posted.collect().await.into_events());
    assert_eq!(bodies(&seen), bodies(&told));
    for watcher in watchers {
        assert_eq!(bodies(&watcher.await.expect("no panic")), bodies(&told));
    }
    let short = check_reply(&go_on(short, short_seen, vec![cluster.api(1)]).await.expect("no panic"));
    assert_eq!(short.text, truth(&prompt(60, "waiting, too")));
    assert_eq!(cluster.upstream.heard("waiting").len(), 2, "nobody took anything over");
    for server in &cluster.instances {
        assert!(!server.output().contains("instance failed"), "nobody was presumed dead");
    }

    for number in 0..3 {
        assert_eq!(cluster.api(number).gauge("rejoinder_log_connected").await, 1);
    }

    // The conversation, and who looks on, go on.
    let next = with(streamed("and now"), json!({"conversation": conversation}));
    let posted = until("a POST to be accepted again", async || {
        let open = cluster.api(0).try_open(hyper::Method::POST, "/v1/responses", next.to_string()).await;
        open.ok().filter(|open| open.status == 200)
    })
    .await;
    let next = posted.collect().await.into_events();
    let mut ends = 0;
    let mut told_by_feed = Vec::new();
    while ends < 2 {
        let frame = feed.next().await.expect("a feed goes on");
        if frame.id.is_some() {
            told_by_feed.push(as_event(&frame));
            ends += usize::from(told_by_feed.last().is_some_and(Event::is_terminal));
        }
    }
    told.extend(next);
    assert_eq!(bodies(&told_by_feed), bodies(&told));
}

#[tokio::test]
async fn a_log_that_is_away_when_a_reply_has_to_be_continued_is_no_fault_of_the_model_server() {
    let mut cluster = Cluster::with(|config| config.env("LLM_IDLE_TIMEOUT", "1s")).await;
    cluster.upstream.on("silent", Manner::polite().breaking(8, Break::Silent));
    let prompt = prompt(30, "silent");
    let mut stream = cluster.api(0).stream(streamed(&prompt)).await;
    let mut seen = stream.read_words(7).await;
    cluster.nats.kill();
    cluster.upstream.on("silent", Manner::polite());
    // The model server is given up meanwhile, and what the reply answers to cannot be read.
    let until = stream.parser.comments + 40;
    while stream.parser.comments < until {
        let bytes = stream.chunk().await.expect("the stream is kept");
        stream.parser.feed(&bytes);
    }
    cluster.nats.start_again().await;
    seen.extend(stream.collect().await.into_events());
    let reply = check_reply(&seen);
    assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"));
}

#[tokio::test]
async fn what_is_accepted_while_nats_restarts_is_said_once_and_what_is_refused_can_be_asked_again() {
    let mut cluster = Cluster::new().await;
    cluster.upstream.on("restarts", Manner::paced(2));
    let apis: Vec<_> = (0..3).map(|number| cluster.api(number)).collect();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..6 {
        let mut apis = apis.clone();
        apis.rotate_left(client % 3);
        clients.spawn(async move {
            for turn in 0..12 {
                let prompt = prompt(30, &format!("restarts {client} {turn}"));
                let posted = super::post_anywhere(&apis, &streamed(&prompt), &format!("{client}-{turn}")).await;
                let events = go_on(posted, Vec::new(), apis.clone()).await.expect("no panic");
                let reply = check_reply(&events);
                assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"), "{prompt}");
            }
        });
    }
    for round in 0..3 {
        let said = cluster.upstream.heard("restarts").len();
        let enough = said + 6 + round;
        until("more to be asked", async || {
            (cluster.upstream.heard("restarts").len() >= enough || clients.is_empty()).then_some(())
        })
        .await;
        cluster.nats.kill();
        cluster.nats.start_again().await;
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no panic");
    }
}
