//! Webhooks: ends of replies are posted to the endpoints of their owners, whatever becomes of the server or of the endpoints.

use crate::support::{
    Api, Value,
    hook::{Does, Hook, Posted},
    json,
    server::{Config, Server},
    until,
};

mod carriers;
mod endpoints;
mod faults;
mod figures;

/// A server with the built-in models that may call this machine.
fn calling() -> Config {
    Server::bare().env("WEBHOOK_ALLOW_PRIVATE", "on").env("TTS_COMMAND", "")
}

/// An endpoint for all events, and its secret.
async fn endpoint(api: &Api, url: &str) -> (String, String) {
    let types = ["response.completed", "response.failed", "response.incomplete", "response.cancelled"];
    endpoint_for(api, url, &types).await
}

async fn endpoint_for(api: &Api, url: &str, types: &[&str]) -> (String, String) {
    let new = json!({"name": "test", "url": url, "event_types": types});
    let made = api.post("/v1/webhook_endpoints", new).await.ok();
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("id"), text("signing_secret"))
}

/// A reply that is said at once; its id.
async fn reply(api: &Api) -> String {
    let said = api.post("/v1/responses", json!({"model": "echo", "input": "hello"})).await.ok();
    said["id"].as_str().expect("an id").to_owned()
}

/// What is told of an endpoint.
async fn state(api: &Api, id: &str) -> Value {
    api.get(&format!("/v1/webhook_endpoints/{id}")).await.ok()["rejoinder"].clone()
}

/// Waits until what is told of an endpoint is so.
async fn until_state(api: &Api, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, async || Some(state(api, id).await).filter(&is_so)).await
}

/// The replies that were told of, each once, however often they were.
fn replies(posted: &[Posted]) -> std::collections::BTreeSet<String> {
    posted.iter().map(Posted::reply).collect()
}
