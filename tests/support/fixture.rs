//! The usual beginning of a test: a server in front of an upstream, and a client.

use serde_json::{Value, json};

use super::{
    check::{Reply, check_reply},
    http::Api,
    server::{Config, Server},
    sse::Event,
    upstream::Upstream,
};

/// A server, its upstream, and a client of it.
#[derive(Debug)]
pub struct Given {
    pub api: Api,
    pub server: Server,
    pub upstream: Upstream,
}

impl Given {
    pub async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// With a changed configuration of the server.
    pub async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let upstream = Upstream::start().await;
        let server = change(Server::before(&upstream)).start().await;
        Self { api: server.api(), server, upstream }
    }

    /// `kill -9` and a start on the same data and port.
    pub async fn restarted(self) -> Self {
        let server = self.server.restart().await;
        Self { api: server.api(), server, upstream: self.upstream }
    }

    /// POSTs a request for a streamed reply and reads it to its end.
    pub async fn reply(&self, body: Value) -> Reply {
        check_reply(&self.events(body).await)
    }

    /// All events of a streamed reply.
    pub async fn events(&self, body: Value) -> Vec<Event> {
        self.api.stream(body).await.collect().await.into_events()
    }

    /// All events of a stored reply, from the first on.
    pub async fn replay(&self, id: &str) -> Vec<Event> {
        self.api.follow(&format!("/v1/responses/{id}?stream=true")).await.collect().await.into_events()
    }

    /// A new conversation's id.
    pub async fn conversation(&self) -> String {
        let made = self.api.post("/v1/conversations", json!({})).await.ok();
        made["id"].as_str().expect("an id").to_owned()
    }
}

/// A request for a streamed reply to `prompt`.
pub fn streamed(prompt: &str) -> Value {
    json!({"model": "truth", "input": prompt, "stream": true})
}

/// An input with an image of so many bytes, another one for each number.
pub fn with_image(prompt: &str, number: usize, bytes: usize) -> Value {
    let image_url = format!("data:image/png;base64,{number:08}{}", "A".repeat(bytes / 4 * 4));
    let image = json!({"type": "input_image", "image_url": image_url, "detail": "auto"});
    json!([{"role": "user", "content": [{"type": "input_text", "text": prompt}, image]}])
}

/// A request for a reply to `prompt` in one piece.
pub fn whole(prompt: &str) -> Value {
    json!({"model": "truth", "input": prompt})
}

/// The id of what an answer describes.
pub fn id_of(made: &Value) -> String {
    made["id"].as_str().expect("an id").to_owned()
}

/// `base` with the fields of `more`.
pub fn with(mut base: Value, more: Value) -> Value {
    let fields = base.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    base
}

/// The JSON of events, to compare two readings of one reply.
pub fn bodies(events: &[Event]) -> Vec<&Value> {
    events.iter().map(|event| &event.body).collect()
}
