//! `GET /v1/conversations`: the caller's, the newest activity first, from log and store as one.

use crate::support::{nats::Nats, postgres::shared, server::Server, *};

async fn list(api: &Api, query: &str) -> Value {
    api.get(&format!("/v1/conversations{query}")).await.ok()
}

async fn made(api: &Api, body: Value) -> String {
    api.post("/v1/conversations", body).await.ok()["id"].as_str().expect("an id").to_owned()
}

async fn say(api: &Api, conversation: &str, text: &str) {
    let request = json!({"model": "echo", "input": text, "conversation": conversation});
    assert_eq!(api.post("/v1/responses", request).await.ok()["status"], "completed");
}

fn titles(list: &Value) -> Vec<Option<&str>> {
    list["data"].as_array().expect("a list").iter().map(|one| one["title"].as_str()).collect()
}

/// Waits until the store has what the log has.
async fn projected(api: &Api) {
    let caught_up = async || (api.get("/healthz").await.ok()["store"]["lag_records"] == 0).then_some(());
    until("the store to catch up", caught_up).await;
}

/// Whatever stands in the log and whatever in the store.
async fn tells_all(api: &Api, elsewhere: &Api) {
    let tea = made(api, json!({"metadata": {"topic": "tea"}})).await;
    let rain = made(api, json!({"metadata": {"topic": "rain", "title": "Weather"}})).await;
    let bare = made(api, json!({})).await;
    // They may be of one millisecond.
    let made_now = list(elsewhere, "").await;
    let mut made_now = titles(&made_now);
    made_now.sort_unstable();
    assert_eq!(made_now, [None, None, Some("Weather")]);
    say(api, &tea, "What   is\nthe best tea?").await;
    say(api, &rain, "Will it rain?").await;
    say(api, &tea, "And the second best?").await;
    let all = list(elsewhere, "").await;
    assert_eq!(titles(&all), [Some("What is the best tea?"), Some("Weather"), None]);
    assert_eq!((&all["object"], &all["has_more"]), (&json!("list"), &json!(false)));
    assert_eq!((&all["first_id"], &all["last_id"]), (&json!(tea), &json!(bare)));
    let first = &all["data"][0];
    assert_eq!((&first["object"], &first["metadata"]), (&json!("conversation"), &json!({"topic": "tea"})));
    assert!(first["active_at"].as_u64() >= first["created_at"].as_u64(), "{first}");

    // Part in the store, part in the log.
    projected(api).await;
    projected(elsewhere).await;
    assert_eq!(list(elsewhere, "").await, all);
    let items = json!([{"type": "message", "role": "user", "content": "Something else"}]);
    api.post(&format!("/v1/conversations/{bare}/items"), json!({"items": items})).await.ok();
    let expected = [Some("Something else"), Some("What is the best tea?"), Some("Weather")];
    assert_eq!(titles(&list(elsewhere, "").await), expected);

    // Page by page, both ways, and by what the metadata say.
    for (order, ids) in [("desc", [&bare, &tea, &rain]), ("asc", [&rain, &tea, &bare])] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = list(elsewhere, &format!("?limit=1&order={order}{after}")).await;
            found.extend(page["last_id"].as_str().map(str::to_owned));
            after = format!("&after={}", page["last_id"].as_str().unwrap_or_default());
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), ids, "{order}");
    }
    assert_eq!(list(elsewhere, "?metadata[topic]=tea").await["first_id"], json!(tea));
    assert_eq!(titles(&list(elsewhere, "?metadata%5Btopic%5D=rain&metadata[title]=Weather").await), [Some("Weather")]);
    assert_eq!(list(elsewhere, "?metadata[topic]=snow").await["data"], json!([]));

    // What is deleted is gone at once, and so is its text.
    api.delete(&format!("/v1/conversations/{tea}")).await.ok();
    let renamed = json!({"metadata": {"title": "Rain"}});
    api.post(&format!("/v1/conversations/{rain}"), renamed).await.ok();
    let left = [Some("Something else"), Some("Rain")];
    assert_eq!(titles(&list(elsewhere, "").await), left);
    projected(elsewhere).await;
    projected(api).await;
    assert_eq!(titles(&list(elsewhere, "").await), left);
    let refused = elsewhere.get(&format!("/v1/conversations?after={tea}")).await;
    refused.refused(400, "invalid_value", "after");
    elsewhere.get("/v1/conversations?after=x").await.refused(400, "invalid_value", "after");
    elsewhere.get("/v1/conversations?limit=0").await.refused(400, "integer_below_min_value", "limit");
}

#[tokio::test]
async fn conversations_are_listed_from_log_and_store_as_one() {
    let server = Server::bare().start().await;
    tells_all(&server.api(), &server.api()).await;
    let before = list(&server.api(), "").await;
    let server = server.restart().await;
    assert_eq!(list(&server.api(), "").await, before);
}

#[tokio::test]
async fn every_instance_lists_what_any_has_with_a_store_for_each_or_one_for_all() {
    let database = shared().url(&shared().database());
    for store in [None, Some(database)] {
        let nats = Nats::start().await;
        let with = |config: crate::support::server::Config| match &store {
            None => config.env("NATS_URL", &nats.url),
            Some(url) => config.env("NATS_URL", &nats.url).env("DATABASE_URL", url),
        };
        let (one, other) = (with(Server::bare()).start().await, with(Server::bare()).start().await);
        tells_all(&one.api(), &other.api()).await;
    }
}

#[tokio::test]
async fn a_list_that_the_store_cannot_complete_is_refused_and_not_cut_short() {
    let database = shared().database();
    let server = Server::bare().env("DATABASE_URL", shared().url(&database)).start().await;
    let api = server.api();
    let id = made(&api, json!({})).await;
    assert_eq!(list(&api, "").await["first_id"], json!(id));
    shared().sql(&database, "ALTER TABLE conversations RENAME TO away");
    let refused = api.get("/v1/conversations").await;
    refused.refused(503, "service_unavailable", Value::Null);
    assert_eq!(refused.header("retry-after"), Some("1"));
    shared().sql(&database, "ALTER TABLE away RENAME TO conversations");
    let back = async || (api.get("/v1/conversations").await.status == 200).then_some(());
    until("the list to be back", back).await;
}
