//! Items that refer to stored items, and what these hold: images that stand apart, and JSON as deep as a request may have.

use crate::support::{nats::Nats, *};

fn image() -> String {
    format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(20_000))
}

fn with_image(text: &str) -> Value {
    json!([{"role": "user", "content": [
        {"type": "input_text", "text": text}, {"type": "input_image", "image_url": image(), "detail": "auto"},
    ]}])
}

/// The image of the first message that the upstream heard about something.
fn heard_image(given: &Given, about: &str) -> Value {
    let heard = given.upstream.heard(about);
    heard.last().expect("it was asked").messages()[0]["content"][1]["image_url"]["url"].clone()
}

async fn item_with_image(given: &Given, text: &str) -> (String, String) {
    let made = given.api.post("/v1/responses", with(whole(text), json!({"input": with_image(text)}))).await.ok();
    let id = made["id"].as_str().unwrap().to_owned();
    let items = given.api.get(&format!("/v1/responses/{id}/input_items")).await.ok();
    (id, items["data"][0]["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_item_reference_brings_its_image_along_into_another_thread() {
    let nats = Nats::start().await;
    for url in ["", &nats.url] {
        let given = Given::with(|config| config.env("NATS_URL", url)).await;
        let (origin, item) = item_with_image(&given, "look at this").await;
        let conversation = given.conversation().await;
        let input = json!([{"type": "item_reference", "id": item}, {"role": "user", "content": "once more"}]);
        let request = with(whole("-"), json!({"input": input, "conversation": conversation}));
        given.api.post("/v1/responses", request).await.ok();
        assert_eq!(heard_image(&given, "once more"), image());
        // Also into a conversation's items; and it stays when the first one goes.
        let other = given.conversation().await;
        let items = json!({"items": [{"type": "item_reference", "id": item}]});
        given.api.post(&format!("/v1/conversations/{other}/items"), items).await.ok();
        given.api.delete(&format!("/v1/responses/{origin}")).await.ok();
        for conversation in [&conversation, &other] {
            let items = given.api.get(&format!("/v1/conversations/{conversation}/items?order=asc")).await.ok();
            assert_eq!(items["data"][0]["content"][1]["image_url"], image());
            let next = with(whole("and again"), json!({"conversation": conversation}));
            given.api.post("/v1/responses", next).await.ok();
            assert_eq!(heard_image(&given, "and again"), image());
        }
    }
}

/// The log has nothing of it any more; the store has all.
#[tokio::test]
async fn an_item_reference_brings_its_image_along_from_the_store() {
    let nats = Nats::start().await;
    let given = Given::with(|config| config.env("NATS_URL", &nats.url)).await;
    let (origin, item) = item_with_image(&given, "look at this").await;
    given.server.poll("/healthz", |answer| answer.json()["store"]["lag_records"] == 0).await;
    let empty = Nats::start().await;
    let server = given.server.restart_with(|config| config.env("NATS_URL", &empty.url)).await;
    let given = Given { api: server.api(), server, upstream: given.upstream };
    given.api.get(&format!("/v1/responses/{origin}")).await.ok();
    let conversation = json!({"conversation": given.conversation().await});
    let input = json!([{"type": "item_reference", "id": item}, {"role": "user", "content": "once more"}]);
    given.api.post("/v1/responses", with(with(whole("-"), json!({"input": input})), conversation.clone())).await.ok();
    assert_eq!(heard_image(&given, "once more"), image());
    given.api.post("/v1/responses", with(whole("and again"), conversation)).await.ok();
    assert_eq!(heard_image(&given, "and again"), image());
}

#[tokio::test]
async fn an_image_that_nobody_has_any_more_is_shown_as_such_and_the_conversation_goes_on() {
    let given = Given::new().await;
    let conversation = given.conversation().await;
    let request = json!({"input": with_image("look at this"), "conversation": conversation});
    given.api.post("/v1/responses", with(whole("-"), request)).await.ok();
    let blobs = given.server.data_dir().join("data/log/blobs");
    let server = given.server.restart_with(|config| {
        std::fs::remove_dir_all(&blobs).expect("it is there");
        // A store that has nothing of it either.
        config.env("DATABASE_URL", "sqlite:another.db")
    });
    let server = server.await;
    let given = Given { api: server.api(), server, upstream: given.upstream };
    let items = given.api.get(&format!("/v1/conversations/{conversation}/items?order=asc")).await.ok();
    assert!(items["data"][0]["content"][1]["text"].as_str().unwrap().contains("no longer available"), "{items}");
    given.api.post("/v1/responses", with(whole("and?"), json!({"conversation": conversation}))).await.ok();
    assert!(given.upstream.heard_once("and?").messages()[0].to_string().contains("no longer available"));
}

/// How a record keeps images is no address for clients.
#[tokio::test]
async fn a_client_cannot_name_a_kept_image() {
    let given = Given::new().await;
    let url = format!("blob:{}", "ab".repeat(32));
    let input = json!([{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]);
    let answer = given.api.post("/v1/responses", with(whole("-"), json!({"input": input}))).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let conversation = given.conversation().await;
    let answer = given.api.post(&format!("/v1/conversations/{conversation}/items"), json!({"items": input})).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

/// A record wraps what a client sent, and so is deeper: what was accepted is read again.
#[tokio::test]
async fn what_is_nested_as_deeply_as_a_request_may_be_is_read_again() {
    let given = Given::new().await;
    let mut accepted = 0;
    for depth in 100..128 {
        let conversation = given.conversation().await;
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = format!(
            r#"{{"items":[{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":"deep","annotations":[{deep}]}}]}}]}}"#
        );
        let path = format!("/v1/conversations/{conversation}/items");
        let answer = given.api.call(hyper::Method::POST, &path, body).await;
        if answer.status != 200 {
            assert_eq!(answer.status, 400, "{depth}: {answer:?}");
            continue;
        }
        accepted += 1;
        given.api.get(&path).await.ok();
        given.api.post("/v1/responses", with(whole("go on"), json!({"conversation": conversation}))).await.ok();
    }
    assert!(accepted > 5, "{accepted}");
}
