//! An instance that is frozen for a while is taken for dead, and does no harm when it comes back.

use super::{followed, go_on, longest_pause};
use crate::support::{
    follower::Place,
    upstream::{Break, Manner},
    *,
};

#[tokio::test]
async fn what_a_frozen_instance_says_when_it_wakes_up_is_seen_by_nobody() {
    let cluster = Cluster::new().await;
    cluster.settled().await;
    cluster.upstream.on_each("frozen", [Manner::paced(15).into(), Manner::paced(5).into()]);
    let prompt = prompt(500, "frozen");
    let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
    let id = posted.response_id();
    let seen = posted.read_words(5).await;
    let watchers = [followed(cluster.api(1), &id, Place::Responses), followed(cluster.api(2), &id, Place::EventSource)];
    let frozen = cluster.instances[0].freeze();
    // Its own client hears nothing, and goes on when it wakes up.
    let posted = go_on(posted, seen, vec![cluster.api(0)]);
    until("another to go on", async || (cluster.upstream.heard("frozen").len() == 2).then_some(())).await;
    drop(frozen);
    let own = posted.await.expect("no panic");
    assert_eq!(check_reply(&own).text, truth(&prompt));
    for watcher in watchers {
        let events = watcher.await.expect("no panic");
        assert_eq!(bodies(&events), bodies(&own));
        println!("a pause of {:?} after a freeze", longest_pause(&events));
    }
    assert_eq!(cluster.same_everywhere(&id).await.text, truth(&prompt));
    assert_eq!(cluster.upstream.heard("frozen").len(), 2, "the one that woke up left it to the other");
    let noticed = "another instance generates the reply now";
    until("it to be fenced off", async || cluster.instances[0].output().contains(noticed).then_some(())).await;

    let again = cluster.api(0).post("/v1/responses", whole("hello again")).await.ok();
    assert_eq!(check::output_text(&again), truth("hello again"));
    let next = with(whole("and again"), json!({"previous_response_id": id}));
    cluster.api(0).post("/v1/responses", next).await.ok();
}

#[tokio::test]
async fn a_frozen_instance_whose_upstream_is_silent_notices_that_it_was_replaced() {
    let cluster = Cluster::new().await;
    cluster.upstream.on_each("mute", [Manner::polite().breaking(5, Break::Silent).into(), Manner::paced(10).into()]);
    let prompt = prompt(60, "mute");
    let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
    let id = posted.response_id();
    let seen = posted.read_words(5).await;
    let frozen = cluster.instances[0].freeze();
    let elsewhere = followed(cluster.api(1), &id, Place::Responses).await.expect("no panic");
    assert_eq!(check_reply(&elsewhere).text, truth(&prompt));
    drop(frozen);
    let own = go_on(posted, seen, vec![cluster.api(0)]).await.expect("no panic");
    assert_eq!(bodies(&own), bodies(&elsewhere));
    until("the instance to be free of it", async || {
        (cluster.api(0).gauge("rejoinder_replies_running").await == 0).then_some(())
    })
    .await;
}
