//! A reply is stopped or deleted from any instance, whatever becomes of the one that says it.

use fastrand::Rng;
use hyper::Method;

use super::{followed, go_on};
use crate::support::{
    follower::Place,
    upstream::{Break, Fate, Manner},
    wait::Patience,
    *,
};

async fn cancel(api: &Api, id: &str) -> Value {
    let cancelled = api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    cancelled
}

/// The upstream is listened to by nobody any more.
async fn left(cluster: &Cluster, about: &str) {
    until("the upstream to be left", async || {
        cluster.upstream.heard(about).iter().all(|heard| heard.fate != Fate::Running).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reply_is_stopped_from_another_instance_at_any_point_of_its_life() {
    let cluster = Cluster::new().await;
    let silent = Manner::polite().breaking(4, Break::Silent).into();
    for (number, (about, behaviour)) in
        [("unheard", Behaviour::Hang), ("midway", Manner::paced(20).into()), ("silent", silent)].into_iter().enumerate()
    {
        cluster.upstream.on(about, behaviour);
        let prompt = prompt(400, about);
        let mut posted = cluster.api(number).stream(streamed(&prompt)).await;
        let id = posted.response_id();
        let mut events = if about == "unheard" { Vec::new() } else { posted.read_words(4).await };
        let watcher = followed(cluster.api((number + 1) % 3), &id, Place::EventSource);
        let cancelled = cancel(&cluster.api((number + 2) % 3), &id).await;
        events.extend(posted.collect().await.into_events());
        assert_eq!(check_reply(&events).response, cancelled);
        assert!(truth(&prompt).starts_with(&check_reply(&events).text));
        assert_eq!(bodies(&watcher.await.expect("no panic")), bodies(&events));
        assert_eq!(cluster.same_everywhere(&id).await.response, cancelled);
        assert_eq!(cancel(&cluster.api((number + 1) % 3), &id).await, cancelled, "a second time");
        left(&cluster, about).await;
        assert_eq!(cluster.upstream.heard(about).len(), 1, "it was its own instance that ended it");
    }
}

#[tokio::test]
async fn a_background_reply_is_stopped_elsewhere_before_it_begins() {
    let cluster = Cluster::new().await;
    cluster.upstream.on("queued", Behaviour::Hang);
    let request = with(whole("queued"), json!({"background": true}));
    let id = cluster.api(0).post("/v1/responses", request).await.ok()["id"].as_str().expect("an id").to_owned();
    let cancelled = cancel(&cluster.api(1), &id).await;
    assert_eq!(cluster.same_everywhere(&id).await.response, cancelled);
    left(&cluster, "queued").await;
}

#[tokio::test]
async fn a_reply_whose_instance_was_just_killed_is_stopped_and_stays_so() {
    let mut cluster = Cluster::new().await;
    cluster.upstream.on("dead owner", Manner::paced(20));
    let conversation = cluster.conversation().await;
    let prompt = prompt(400, "dead owner");
    let request = with(streamed(&prompt), json!({"conversation": conversation}));
    let mut posted = cluster.api(0).stream(request).await;
    let id = posted.response_id();
    let seen = posted.read_words(4).await;
    let watcher = followed(cluster.api(2), &id, Place::Responses);
    cluster.instances[0].kill();
    // Nobody knows yet that it is dead.
    let cancelled = cancel(&cluster.api(1), &id).await;
    let events = go_on(posted, seen, cluster.others(0)).await.expect("no panic");
    assert_eq!(check_reply(&events).response, cancelled);
    assert_eq!(bodies(&watcher.await.expect("no panic")), bodies(&events));
    let next = with(whole("and now"), json!({"conversation": conversation}));
    cluster.api(2).post("/v1/responses", next).await.ok();
    cluster.instances.remove(0);
    assert_eq!(cluster.same_everywhere(&id).await.response, cancelled);
    left(&cluster, "dead owner").await;
}

#[tokio::test]
async fn a_reply_whose_instance_is_frozen_is_stopped_and_stays_so() {
    let cluster = Cluster::new().await;
    cluster.upstream.on("frozen owner", Manner::paced(20));
    let prompt = prompt(400, "frozen owner");
    let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
    let id = posted.response_id();
    let seen = posted.read_words(4).await;
    let frozen = cluster.instances[0].freeze();
    let cancelled = cancel(&cluster.api(1), &id).await;
    drop(frozen);
    let events = go_on(posted, seen, vec![cluster.api(0)]).await.expect("no panic");
    assert_eq!(check_reply(&events).response, cancelled);
    assert_eq!(cluster.same_everywhere(&id).await.response, cancelled);
    left(&cluster, "frozen owner").await;
}

#[tokio::test]
async fn stops_that_race_with_each_other_and_with_the_end_agree() {
    let seed =
        std::env::var("MANY_SEED").map_or_else(|_| fastrand::u64(..1 << 32), |seed| seed.parse().expect("a number"));
    println!("MANY_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let cluster = Cluster::new().await;
    cluster.upstream.on("races", Manner::paced(4));
    let mut stopped = 0;
    for round in 0..25 {
        let prompt = prompt(12, &format!("races {round}"));
        let mut posted = cluster.api(round % 3).stream(streamed(&prompt)).await;
        let id = posted.response_id();
        let mut events = posted.read_words(random.usize(1..=12)).await;
        let path = format!("/v1/responses/{id}/cancel");
        let stops: Vec<_> = (0..3)
            .map(|number| {
                let (api, path) = (cluster.api(number), path.clone());
                tokio::spawn(async move { api.post(&path, json!({})).await.ok() })
            })
            .collect();
        events.extend(posted.collect().await.into_events());
        let reply = check_reply(&events);
        for stop in stops {
            assert_eq!(stop.await.expect("no panic"), reply.response, "round {round}");
        }
        assert_eq!(cluster.api(round % 2).get(&format!("/v1/responses/{id}")).await.ok(), reply.response);
        assert!(truth(&prompt).starts_with(&reply.text));
        stopped += usize::from(reply.status == "cancelled");
    }
    println!("{stopped} of 25 were stopped before their end");
}

#[tokio::test]
async fn stops_that_race_with_a_takeover_stop_the_reply_once() {
    let seed =
        std::env::var("MANY_SEED").map_or_else(|_| fastrand::u64(..1 << 32), |seed| seed.parse().expect("a number"));
    println!("MANY_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut cluster = Cluster::new().await;
    cluster.upstream.on("overtaken", Manner::paced(15));
    let mut running = Vec::new();
    for number in 0..12 {
        let prompt = prompt(300, &format!("overtaken {number}"));
        let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
        let head = posted.read_words(2).await;
        running.push((posted.response_id(), prompt, go_on(posted, head, cluster.others(0))));
    }
    cluster.instances[0].kill();
    let begun = tokio::time::Instant::now();
    let stops: Vec<_> = running
        .iter()
        .map(|(id, _, _)| {
            let (id, api) = (id.clone(), cluster.api(random.usize(1..3)));
            // Around the time at which the instance is found to be dead.
            let moment = std::time::Duration::from_millis(random.u64(600..1500));
            tokio::spawn(async move {
                tokio::time::sleep_until(begun + moment).await;
                stop_at_last(&api, &id).await
            })
        })
        .collect();
    for ((id, prompt, client), stop) in running.into_iter().zip(stops) {
        let cancelled = stop.await.expect("no panic");
        let reply = check_reply(&client.await.expect("no panic"));
        assert_eq!(reply.response, cancelled, "{id}");
        assert!(truth(&prompt).starts_with(&reply.text));
    }
    left(&cluster, "overtaken").await;
}

/// Cancels until it is done; 503 is an invitation to come again.
async fn stop_at_last(api: &Api, id: &str) -> Value {
    let mut patience = Patience::with("a reply to be stopped");
    loop {
        patience.wait().await;
        let answer = api.call(Method::POST, &format!("/v1/responses/{id}/cancel"), "").await;
        if answer.status != 503 {
            return answer.ok();
        }
    }
}

#[tokio::test]
async fn a_reply_is_deleted_from_another_instance_running_or_not() {
    let cluster = Cluster::new().await;
    cluster.upstream.on("deleted", Manner::paced(20));
    let conversation = cluster.conversation().await;
    for runs in [true, false] {
        let prompt = prompt(if runs { 300 } else { 3 }, "deleted");
        let request = with(streamed(&prompt), json!({"conversation": conversation}));
        let mut posted = cluster.api(0).stream(request).await;
        let id = posted.response_id();
        let events = posted.read_words(3).await;
        // Before it is deleted: afterwards there is nothing to follow.
        let watcher = cluster.api(1).follow(&format!("/v1/responses/{id}?stream=true")).await;
        if runs {
            cluster.api(2).delete(&format!("/v1/responses/{id}")).await.ok();
            let mut all = events;
            all.extend(posted.collect().await.into_events());
            assert_eq!(check_reply(&all).status, "cancelled");
            assert_eq!(check_reply(&watcher.collect().await.into_events()).status, "cancelled");
        } else {
            posted.collect().await.into_events();
            watcher.collect().await.into_events();
            cluster.api(2).delete(&format!("/v1/responses/{id}")).await.ok();
        }
        for number in 0..3 {
            cluster.api(number).get(&format!("/v1/responses/{id}")).await.unknown("response_id");
            assert_eq!(conversation_items(&cluster.api(number), &conversation).await, Vec::<Value>::new());
        }
        left(&cluster, "deleted").await;
    }
    let next = with(whole("and now"), json!({"conversation": conversation}));
    cluster.api(1).post("/v1/responses", next).await.ok();
}
