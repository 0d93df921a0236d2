//! The instance that says a reply dies or leaves, and another goes on where it was.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{go_on, longest_pause};
use crate::support::{
    follower::{Place, follow_anywhere},
    upstream::{Manner, Tokens},
    *,
};

/// Asked a second time, the upstream says the rest faster.
fn then_faster(cluster: &Cluster, about: &str) {
    cluster.upstream.on_each(about, [Manner::paced(15).into(), Manner::paced(3).into()]);
}

async fn asked_again(cluster: &Cluster, about: &str, times: usize) {
    until("the reply to be asked for again", async || (cluster.upstream.heard(about).len() >= times).then_some(()))
        .await;
}

#[tokio::test]
async fn a_follower_elsewhere_sees_but_a_pause_when_the_instance_that_says_a_reply_is_killed() {
    let mut cluster = Cluster::new().await;
    cluster.settled().await;
    then_faster(&cluster, "killed");
    let prompt = prompt(500, "killed");
    let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
    let id = posted.response_id();
    let seen = posted.read_words(5).await;
    let path = format!("/v1/responses/{id}");
    let streams = [cluster.api(1), cluster.api(2)].map(|api| {
        let path = format!("{path}?stream=true");
        tokio::spawn(async move { api.follow(&path).await.collect().await.into_events() })
    });
    let source = cluster.api(2).follow(&format!("{path}/events")).await;
    let source = tokio::spawn(async move { source.collect().await.into_source_events() });
    cluster.instances[0].kill();
    let posted = go_on(posted, seen, cluster.others(0)).await.expect("no panic");

    let reply = check_reply(&posted);
    assert_eq!((reply.text, reply.output.len()), (truth(&prompt), 1), "the same item is gone on with");
    for stream in streams {
        let events = stream.await.expect("it does not break off");
        assert_eq!(bodies(&events), bodies(&posted));
        println!("a pause of {:?} after a kill", longest_pause(&events));
    }
    let source: Vec<_> = source.await.expect("it does not break off").into_iter().map(|(_, event)| event).collect();
    assert_eq!(bodies(&source), bodies(&posted));
    assert_eq!(cluster.upstream.heard("killed").len(), 2, "one of them took it over, and only once");
    cluster.instances.remove(0);
    cluster.same_everywhere(&id).await;
}

#[tokio::test]
async fn a_reply_goes_on_when_its_instance_is_killed_and_then_the_one_that_took_it_over() {
    let mut cluster = Cluster::new().await;
    cluster.upstream.on("killed twice", Manner::paced(10).tokens(Tokens::Letters(5)));
    let prompt = prompt(250, "killed twice");
    let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
    let id = posted.response_id();
    let seen = posted.read_words(5).await;
    let everywhere: Vec<_> = (0..3).map(|number| cluster.api(number)).collect();
    let mut clients = vec![go_on(posted, seen, everywhere.clone())];
    for place in [Place::Responses, Place::EventSource] {
        let (apis, id) = (everywhere.clone(), id.clone());
        clients.push(tokio::spawn(async move { follow_anywhere(&apis, &id, place, Vec::new()).await }));
    }
    cluster.instances[0].kill();
    asked_again(&cluster, "killed twice", 2).await;
    let heir = cluster.speaker([1, 2]).await;
    cluster.instances[heir].kill();
    asked_again(&cluster, "killed twice", 3).await;
    assert_eq!(cluster.speaker([3 - heir]).await, 3 - heir);
    for client in clients {
        let reply = check_reply(&client.await.expect("no panic"));
        assert_eq!((reply.text, reply.output.len()), (truth(&prompt), 1));
    }
    assert_eq!(cluster.upstream.heard("killed twice").len(), 3);
}

#[tokio::test]
async fn an_instance_that_starts_when_all_are_dead_goes_on_with_everything() {
    let mut cluster = Cluster::new().await;
    cluster.upstream.on_each("all dead", [Manner::paced(50).into(), Manner::paced(50).into(), Manner::polite().into()]);
    let conversation = cluster.conversation().await;
    let mut running = Vec::new();
    for number in 0..2 {
        let prompt = prompt(60, &format!("all dead {number}"));
        let request = with(
            streamed(&prompt),
            json!({"conversation": if number == 0 { json!(conversation) } else { Value::Null }}),
        );
        let mut posted = cluster.api(number).stream(request).await;
        let seen = posted.read_words(3).await;
        running.push((posted.response_id(), prompt, seen));
    }
    cluster.instances.iter_mut().for_each(server::Server::kill);
    cluster.instances = vec![cluster.another().await];
    for (id, prompt, seen) in running {
        let events = follow_anywhere(&[cluster.api(0)], &id, Place::Responses, seen).await;
        assert_eq!(check_reply(&events).text, truth(&prompt));
        cluster.same_everywhere(&id).await;
    }
    let next = with(whole("and now"), json!({"conversation": conversation}));
    cluster.api(0).post("/v1/responses", next).await.ok();
    assert_eq!(conversation_items(&cluster.api(0), &conversation).await.len(), 4);
}

#[tokio::test]
async fn whoever_took_a_reply_over_keeps_it_while_others_look_at_it() {
    let mut cluster = Cluster::new().await;
    then_faster(&cluster, "kept");
    // Long enough for snapshots after the takeover.
    let prompt = prompt(600, "kept");
    let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
    let id = posted.response_id();
    let seen = posted.read_words(5).await;
    cluster.instances[0].kill();
    let posted = go_on(posted, seen, cluster.others(0));
    asked_again(&cluster, "kept", 2).await;
    let heir = cluster.speaker([1, 2]).await;
    // Comes and goes, so that it is followed anew each time.
    let others = [cluster.api(3 - heir)];
    let mut next = 0;
    while !posted.is_finished() {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={next}");
        let mut stream = others[0].follow(&path).await;
        while let Ok(frame) = stream.next().await {
            if frame.data == "[DONE]" {
                break;
            }
            next = sse::as_event(&frame).number;
            if next % 100 == 99 {
                break;
            }
        }
    }
    assert_eq!(check_reply(&posted.await.expect("no panic")).text, truth(&prompt));
    assert_eq!(cluster.upstream.heard("kept").len(), 2, "nobody took it from the one that had it");
}

#[tokio::test]
async fn an_instance_told_to_stop_hands_its_replies_over_at_once() {
    let mut cluster = Cluster::with(|config| config.env("DRAIN_TIMEOUT", "3s")).await;
    let mut replies = Vec::new();
    for number in 0..6 {
        let about = format!("handed-{number}");
        then_faster(&cluster, &about);
        let prompt = prompt(400, &about);
        let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
        let id = posted.response_id();
        let seen = posted.read_words(2).await;
        let followed = cluster.api(1 + number % 2).follow(&format!("/v1/responses/{id}?stream=true")).await;
        let followed = tokio::spawn(async move { followed.collect().await.into_events() });
        replies.push((prompt, about, go_on(posted, seen, cluster.others(0)), followed));
    }
    cluster.instances[0].terminate();
    let mut pauses = Vec::new();
    for (prompt, about, posted, followed) in replies {
        let followed = followed.await.expect("it does not break off");
        assert_eq!(check_reply(&followed).text, truth(&prompt));
        assert_eq!(bodies(&posted.await.expect("no panic")), bodies(&followed));
        assert_eq!(cluster.upstream.heard(&about).len(), 2);
        pauses.push(longest_pause(&followed));
    }
    pauses.sort_unstable();
    println!("pauses of {pauses:?} at a hand-over");
    // Whoever is not told notices after 500 ms that somebody is missing.
    assert!(pauses[0] < Duration::from_millis(500), "{pauses:?}");
    assert!(cluster.instances[0].wait().await.success());
}

#[tokio::test]
async fn a_rolling_restart_under_load_loses_nothing() {
    const CLIENTS: usize = 9;
    let mut cluster = Cluster::with(|config| config.env("DRAIN_TIMEOUT", "3s")).await;
    cluster.upstream.on("rolling", Manner::paced(10));
    // The ports stay, as the addresses of a service do.
    let apis: Vec<_> = (0..3).map(|number| cluster.api(number)).collect();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let mut apis = apis.clone();
        apis.rotate_left(client % 3);
        clients.spawn(converse(apis, client, stop.clone()));
    }
    for number in 0..3 {
        let server = cluster.instances.remove(number);
        server.terminate();
        let mut server = server;
        assert!(server.wait().await.success());
        cluster.instances.insert(number, server.restart().await);
    }
    stop.cancel();
    let mut turns = 0;
    while let Some(client) = clients.join_next().await {
        turns += client.expect("no panic");
    }
    println!("{turns} turns in a rolling restart");
    assert!(turns >= 2 * CLIENTS, "{turns}");
}

/// Turn after turn until it is told to stop; each is checked. Gives how many.
async fn converse(apis: Vec<Api>, client: usize, stop: tokio_util::sync::CancellationToken) -> usize {
    let mut previous = Value::Null;
    let mut turns = 0;
    while !stop.is_cancelled() {
        let prompt = prompt(80, &format!("rolling {client} {turns}"));
        let request = with(streamed(&prompt), json!({"previous_response_id": previous}));
        let key = format!("{client}-{turns}");
        let posted = super::post_anywhere(&apis, &request, &key).await;
        previous = json!(posted.response_id());
        let events = go_on(posted, Vec::new(), apis.clone()).await.expect("no panic");
        let reply = check_reply(&events);
        assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"), "{prompt}");
        turns += 1;
    }
    turns
}
