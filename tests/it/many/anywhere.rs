//! A reply that one instance says is followed, read, stopped and gone on from on any other.

use super::followed;
use crate::support::{
    check::output_text,
    follower::Place,
    sse::{Frame, as_event},
    upstream::Manner,
    *,
};

#[tokio::test]
async fn a_running_reply_is_followed_and_read_on_every_instance() {
    let cluster = Cluster::new().await;
    cluster.upstream.on("everywhere", Manner::paced(20));
    let prompt = prompt(60, "everywhere");
    let mut posted = cluster.api(0).stream(streamed(&prompt)).await;
    let id = posted.response_id();
    let mut events = posted.read_words(5).await;
    let half = events.last().expect("an event").number;

    let sources = [
        followed(cluster.api(1), &id, Place::Responses),
        followed(cluster.api(2), &id, Place::EventSource),
        followed(cluster.api(1), &id, Place::EventSource),
    ];
    let later = cluster.api(2).follow(&format!("/v1/responses/{id}?stream=true&starting_after={half}")).await;
    for number in [1, 2] {
        let shown = cluster.api(number).get(&format!("/v1/responses/{id}")).await.ok();
        assert_eq!(shown["status"], "in_progress");
        let path = format!("/v1/responses/{id}/input_items");
        assert_eq!(cluster.api(number).get(&path).await.ok()["data"][0]["content"][0]["text"], prompt);
    }

    events.extend(posted.collect().await.into_events());
    assert_eq!(check_reply(&events).text, truth(&prompt));
    for source in sources {
        assert_eq!(bodies(&source.await.expect("no panic")), bodies(&events));
    }
    let rest = usize::try_from(half).unwrap() + 1;
    assert_eq!(bodies(&later.collect().await.into_events()), bodies(&events[rest..]));
    assert_eq!(cluster.same_everywhere(&id).await.text, truth(&prompt));
    assert_eq!(cluster.upstream.heard("everywhere").len(), 1, "one instance said it");
}

#[tokio::test]
async fn a_conversation_goes_from_instance_to_instance_with_each_turn() {
    let cluster = Cluster::new().await;
    let conversation = cluster.conversation().await;
    let mut expected = Vec::new();
    for turn in 0..12 {
        let prompt = prompt(6, &format!("turn {turn}"));
        let request = with(streamed(&prompt), json!({"conversation": conversation}));
        // The next turn follows right after the end, and others look on, who know less than the owner.
        let api = cluster.api(turn % 3);
        let mut posted = api.stream(request).await;
        let watcher = followed(cluster.api((turn + 1) % 3), &posted.response_id(), Place::Responses);
        let events = posted.read_until(Event::is_terminal).await;
        assert_eq!(check_reply(&events).text, truth(&prompt));
        expected.extend([prompt.clone(), truth(&prompt)]);
        let items = conversation_items(&cluster.api((turn + 2) % 3), &conversation).await;
        let said = items.iter().map(|item| item["content"][0]["text"].as_str().expect("text").to_owned());
        assert_eq!(said.collect::<Vec<_>>(), expected);
        drop(watcher);
    }
    let asked = cluster.upstream.heard("turn 11").pop().expect("a request");
    let told: Vec<_> = asked.messages().iter().map(|message| message["content"].to_string()).collect();
    assert_eq!(told.len(), 23, "all turns before are its context: {told:?}");
}

#[tokio::test]
async fn a_running_turn_locks_its_conversation_on_every_instance() {
    let cluster = Cluster::new().await;
    cluster.upstream.on("locks", Manner::paced(20));
    let conversation = cluster.conversation().await;
    let request = with(streamed(&prompt(300, "locks")), json!({"conversation": conversation}));
    let mut posted = cluster.api(0).stream(request.clone()).await;
    posted.read_words(2).await;
    let id = posted.response_id();
    for number in [1, 2] {
        let error = cluster.api(number).post("/v1/responses", request.clone()).await;
        let error = error.refused(400, "conversation_locked", "conversation");
        assert!(error["message"].as_str().expect("text").contains(&id), "{error}");
        let after = with(streamed("more"), json!({"previous_response_id": id}));
        let error = cluster.api(number).post("/v1/responses", after).await;
        error.refused(400, Value::Null, "previous_response_id");
    }
    cluster.api(1).post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    let next = with(whole("and now"), json!({"conversation": conversation}));
    assert_eq!(output_text(&cluster.api(2).post("/v1/responses", next).await.ok()), truth("and now"));
}

#[tokio::test]
async fn replies_follow_one_another_by_previous_response_id_on_any_instance() {
    let cluster = Cluster::new().await;
    let mut previous = Value::Null;
    for turn in 0..7 {
        let prompt = prompt(5, &format!("step {turn}"));
        let request = with(whole(&prompt), json!({"previous_response_id": previous}));
        let answer = cluster.api(turn % 3).post("/v1/responses", request).await.ok();
        assert_eq!(output_text(&answer), truth(&prompt));
        previous = answer["id"].clone();
    }
    assert_eq!(cluster.upstream.heard_once("step 6").messages().len(), 13);
}

#[tokio::test]
async fn a_conversation_is_followed_on_another_instance_than_it_is_held_on() {
    let cluster = Cluster::new().await;
    let conversation = cluster.conversation().await;
    let path = format!("/v1/conversations/{conversation}/events");
    let (mut feed, mut other) = (cluster.api(2).follow(&path).await, cluster.api(1).follow(&path).await);
    for turn in 0..3 {
        let prompt = prompt(8, &format!("turn {turn}"));
        let request = with(streamed(&prompt), json!({"conversation": conversation}));
        let posted = cluster.api(turn % 2).stream(request).await.collect().await.into_events();
        let told = turn_of(&mut feed).await;
        let events: Vec<_> = told.iter().filter(|frame| frame.id.is_some()).map(as_event).collect();
        assert_eq!(bodies(&events), bodies(&posted));
        assert!(told[0].data.contains("conversation.items.added") && told[0].data.contains(&prompt), "{:?}", told[0]);
        let same: Vec<_> = turn_of(&mut other).await.into_iter().map(|frame| (frame.id, frame.data)).collect();
        assert_eq!(same, told.into_iter().map(|frame| (frame.id, frame.data)).collect::<Vec<_>>());
    }
    let items = json!({"items": [{"role": "user", "content": "said elsewhere"}]});
    cluster.api(0).post(&format!("/v1/conversations/{conversation}/items"), items).await.ok();
    assert!(feed.next().await.expect("a feed goes on").data.contains("said elsewhere"));
}

/// What a conversation's feed tells up to the end of a reply.
async fn turn_of(feed: &mut Events) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.last().is_none_or(|frame: &Frame| !frame.data.contains("\"response.completed\"")) {
        frames.push(feed.next().await.expect("a feed goes on"));
    }
    frames
}

#[tokio::test]
async fn a_second_post_under_one_key_joins_the_first_on_another_instance() {
    let cluster = Cluster::new().await;
    cluster.upstream.on("twice", Manner::paced(15));
    let request = streamed(&prompt(40, "twice"));
    let keyed = |number| cluster.api(number).header("idempotency-key", "k-1");
    let mut first = keyed(0).stream(request.clone()).await;
    let mut events = first.read_words(3).await;
    let second = keyed(1).stream(request.clone()).await;
    assert_eq!(second.response_id(), first.response_id());
    events.extend(first.collect().await.into_events());
    assert_eq!(bodies(&second.collect().await.into_events()), bodies(&events));
    let third = keyed(2).stream(request).await;
    assert_eq!(bodies(&third.collect().await.into_events()), bodies(&events), "also when it is over");
    assert_eq!(cluster.upstream.heard("twice").len(), 1);
}

#[tokio::test]
async fn of_many_posts_under_one_key_at_once_one_is_asked_and_all_are_told() {
    let cluster = Cluster::new().await;
    cluster.upstream.on("crowd", Manner::paced(5));
    for round in 0..5 {
        let prompt = prompt(10, &format!("a crowd {round}"));
        let tasks: Vec<_> = (0..9)
            .map(|number| {
                let api = cluster.api(number % 3).header("idempotency-key", &format!("k-{round}"));
                let request = whole(&prompt);
                tokio::spawn(async move { api.post("/v1/responses", request).await.ok() })
            })
            .collect();
        let mut told = Vec::new();
        for task in tasks {
            told.push(task.await.expect("no panic"));
        }
        assert!(told.iter().all(|response| *response == told[0]), "{told:#?}");
        assert_eq!(output_text(&told[0]), truth(&prompt));
    }
}
