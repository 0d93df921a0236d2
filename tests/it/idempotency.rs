//! With an `Idempotency-Key`, a second POST finds the first, however it went.

use crate::support::{
    follower::{Place, follow, read_on},
    upstream::Manner,
    *,
};

fn keyed(given: &Given, key: &str) -> Api {
    given.api.clone().header("idempotency-key", key)
}

#[tokio::test]
async fn a_second_post_joins_the_running_reply_from_its_first_event() {
    let given = Given::new().await;
    given.upstream.on("twice", Manner::paced(15));
    let request = streamed(&prompt(25, "twice"));
    let mut first = keyed(&given, "k-1").stream(request.clone()).await;
    let mut events = first.read_words(3).await;
    let second = keyed(&given, "k-1").stream(request).await;
    assert_eq!(second.response_id(), first.response_id());
    events.extend(first.collect().await.into_events());
    assert_eq!(bodies(&second.collect().await.into_events()), bodies(&events));
    assert_eq!(given.upstream.heard("twice").len(), 1);
}

#[tokio::test]
async fn a_second_post_finds_the_finished_reply_also_after_a_restart() {
    let given = Given::new().await;
    let first = keyed(&given, "k-1").post("/v1/responses", whole("hello")).await.ok();
    assert_eq!(keyed(&given, "k-1").post("/v1/responses", whole("hello")).await.ok(), first);
    let given = given.restarted().await;
    assert_eq!(keyed(&given, "k-1").post("/v1/responses", whole("hello")).await.ok(), first);
    assert_eq!(given.upstream.heard("hello").len(), 1);
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let given = Given::new().await;
    keyed(&given, "k-1").post("/v1/responses", whole("hello")).await.ok();
    let other = keyed(&given, "k-1").post("/v1/responses", whole("goodbye")).await;
    other.refused(400, "idempotency_key_reused", other.json()["error"]["param"].clone());
    assert!(given.upstream.heard("goodbye").is_empty());
}

#[tokio::test]
async fn a_key_whose_reply_was_deleted_makes_no_other() {
    let given = Given::new().await;
    let conversation = given.conversation().await;
    for place in [json!({}), json!({"conversation": conversation})] {
        let api = given.api.clone().header("idempotency-key", &place.to_string());
        let request = with(whole("hello"), place);
        let id = api.post("/v1/responses", request.clone()).await.ok()["id"].as_str().expect("an id").to_owned();
        given.api.delete(&format!("/v1/responses/{id}")).await.ok();
        assert_eq!(api.post("/v1/responses", request).await.status, 404);
    }
    assert_eq!(given.upstream.heard("hello").len(), 2);
    assert_eq!(conversation_items(&given.api, &conversation).await, Vec::<Value>::new());
}

#[tokio::test]
async fn another_key_is_another_reply() {
    let given = Given::new().await;
    let first = keyed(&given, "k-1").post("/v1/responses", whole("hello")).await.ok();
    let second = keyed(&given, "k-2").post("/v1/responses", whole("hello")).await.ok();
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn of_many_posts_at_once_one_is_asked_and_all_are_told() {
    let given = Given::new().await;
    given.upstream.on("crowd", Manner::paced(5));
    let prompt = prompt(20, "a crowd");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (api, request) = (keyed(&given, "k-1"), whole(&prompt));
            tokio::spawn(async move { api.post("/v1/responses", request).await.ok() })
        })
        .collect();
    let mut told = Vec::new();
    for task in tasks {
        told.push(task.await.expect("no panic"));
    }
    assert!(told.iter().all(|response| *response == told[0]), "{told:#?}");
    assert_eq!(check::output_text(&told[0]), truth(&prompt));
    assert_eq!(given.upstream.heard("a crowd").len(), 1);
}

#[tokio::test]
async fn a_post_that_was_cut_by_a_kill_is_joined_by_the_next_one() {
    let given = Given::new().await;
    given.upstream.on("cut", Manner::paced(15));
    let request = streamed(&prompt(30, "a cut"));
    let mut first = keyed(&given, "k-1").stream(request.clone()).await;
    let id = first.response_id();
    let mut seen = first.read_words(4).await;
    let given = given.restarted().await;
    read_on(&mut first, Place::Responses, &mut seen).await;
    let second = keyed(&given, "k-1").stream(request).await;
    assert_eq!(second.response_id(), id);
    let joined = second.collect().await.into_events();
    assert_eq!(bodies(&joined[..seen.len()]), bodies(&seen), "what was seen is never taken back");
    assert_eq!(check_reply(&joined).text, truth(&prompt(30, "a cut")));
    assert_eq!(bodies(&follow(&given.api, &id, Place::Responses, seen).await), bodies(&joined));
}

#[tokio::test]
async fn a_conversation_that_is_locked_by_the_same_post_is_joined() {
    let given = Given::new().await;
    given.upstream.on("again", Manner::paced(15));
    let conversation = given.conversation().await;
    let request = with(streamed(&prompt(20, "again")), json!({"conversation": conversation}));
    let first = keyed(&given, "k-1").stream(request.clone()).await;
    let second = keyed(&given, "k-1").stream(request).await;
    assert_eq!(second.response_id(), first.response_id());
    assert_eq!(bodies(&first.collect().await.into_events()), bodies(&second.collect().await.into_events()));
    assert_eq!(conversation_items(&given.api, &conversation).await.len(), 2);
}
