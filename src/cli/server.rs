//! The server on the other side: its endpoints as the commands need them, and what can go wrong on the way there.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::cli::bench::target;

/// A server that speaks the Responses API. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    http: Client,
    base: Url,
}

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("“{0}” is not the address of a server; try http://127.0.0.1:8080")]
    BadUrl(String),
    #[error("the API key has characters that a header cannot hold")]
    BadKey,
    #[error("cannot set up an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("cannot reach {0}")]
    Unreachable(Url, #[source] reqwest::Error),
    #[error("the connection broke")]
    Broken(#[source] reqwest::Error),
    #[error("the connection broke")]
    Socket(#[source] target::Error),
    #[error("the stream ended before the reply did")]
    EndedEarly,
    #[error("{message}")]
    Refused { status: StatusCode, code: Option<String>, message: String },
    #[error("the server sent an event that no chat can hold")]
    TooLong,
    #[error("the server's answer is not JSON")]
    NotJson(#[source] serde_json::Error),
}

impl Error {
    /// Whether the same request may well succeed in a moment: the server is away or starting.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(..) | Self::Broken(_) | Self::Socket(_) | Self::EndedEarly => true,
            Self::Refused { status, .. } => {
                matches!(
                    *status,
                    StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
                )
            }
            _ => false,
        }
    }

    /// Whether a server took the request and then went away. One that was never there is not waited for.
    pub(crate) fn was_there(&self) -> bool {
        let Self::Broken(error) = self else { return false };
        let mut cause = error.source();
        while let Some(found) = cause {
            let hung_up = found.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
            let kind = found.downcast_ref::<io::Error>().map(io::Error::kind);
            if hung_up || kind == Some(io::ErrorKind::ConnectionReset) {
                return true;
            }
            cause = found.source();
        }
        false
    }

    /// The reply that holds the conversation, when that is why a message was refused. The API has no field for it, but
    /// rejoinder names it in the message.
    pub(crate) fn running_reply(&self) -> Option<&str> {
        let Self::Refused { code: Some(code), message, .. } = self else { return None };
        let start = message.find("resp_").filter(|_| code == "conversation_locked")?;
        message[start..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For requests that are answered at once. A reply has no such limit.
const SHORT: Duration = Duration::from_secs(10);

impl Server {
    /// Reads a server's URL, with or without `/v1`.
    ///
    /// # Errors
    /// When it cannot be one.
    pub(crate) fn new(url: &str, api_key: Option<&str>) -> Result<Self, Error> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let mut base = Url::parse(&with_scheme).map_err(|_| Error::BadUrl(url.into()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(Error::BadUrl(url.into()));
        }
        let path = base.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        base.set_path(&path);
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(key) = api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| Error::BadKey)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // Whoever came first has chosen; reqwest only needs that somebody did.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { http, base })
    }

    /// Makes a conversation; `None` where the server has none.
    pub(crate) async fn create_conversation(&self) -> Result<Option<String>, Error> {
        match self.json(Method::POST, "/v1/conversations", Some(json!({}))).await {
            Ok(conversation) => Ok(conversation["id"].as_str().map(str::to_owned)),
            Err(Error::Refused {
                status: StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last items of a conversation, oldest first.
    pub(crate) async fn items(&self, conversation: &str, limit: usize) -> Result<Vec<Value>, Error> {
        let path = format!("/v1/conversations/{conversation}/items?limit={limit}&order=desc");
        let list = self.json(Method::GET, &path, None).await?;
        Ok(list["data"].as_array().into_iter().flatten().rev().cloned().collect())
    }

    /// The model to use if a request has to name one: the first that the server lists.
    pub(crate) async fn first_model(&self) -> Result<Option<String>, Error> {
        let models = self.json(Method::GET, "/v1/models", None).await?;
        Ok(models["data"][0]["id"].as_str().map(str::to_owned))
    }

    /// Sends a message. The key makes it safe to send it again when it is unknown whether it arrived.
    pub(crate) async fn send_message(&self, body: &Value, idempotency_key: &str) -> Result<Response, Error> {
        let accept = if body["stream"] == true { "text/event-stream" } else { "application/json" };
        self.send_message_at("/v1/responses", accept, body, idempotency_key).await
    }

    /// The same through another API.
    pub(crate) async fn send_message_at(
        &self,
        path: &str,
        accept: &str,
        body: &Value,
        key: &str,
    ) -> Result<Response, Error> {
        let request = self.request(Method::POST, path).header("idempotency-key", key);
        self.send(request.header(ACCEPT, accept).body(body.to_string())).await
    }

    /// A stream of events.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response, Error> {
        self.send(self.request(Method::GET, path).header(ACCEPT, "text/event-stream")).await
    }

    /// Goes on with a reply's stream behind an event, or from its beginning.
    pub(crate) async fn rejoin(&self, reply: &str, after: Option<u64>) -> Result<Response, Error> {
        let after = after.map_or_else(String::new, |number| format!("&starting_after={number}"));
        self.stream(&format!("/v1/responses/{reply}?stream=true{after}")).await
    }

    /// Goes on with a reply as a browser's `EventSource` does, behind an event or from its beginning.
    pub(crate) async fn events(&self, reply: &str, after: Option<u64>) -> Result<Response, Error> {
        let mut request = self.request(Method::GET, &format!("/v1/responses/{reply}/events"));
        if let Some(number) = after {
            request = request.header("last-event-id", number);
        }
        self.send(request.header(ACCEPT, "text/event-stream")).await
    }

    /// A reply as it is now.
    pub(crate) async fn response(&self, reply: &str) -> Result<Value, Error> {
        self.json(Method::GET, &format!("/v1/responses/{reply}"), None).await
    }

    /// Deletes a reply.
    pub(crate) async fn delete(&self, reply: &str) -> Result<(), Error> {
        self.json(Method::DELETE, &format!("/v1/responses/{reply}"), None).await.map(drop)
    }

    /// Whether it says that requests may come.
    pub(crate) async fn is_ready(&self) -> bool {
        self.send(self.request(Method::GET, "/readyz").timeout(SHORT)).await.is_ok()
    }

    /// Stops what is generated in a chat of `useChat`.
    pub(crate) async fn stop_chat(&self, chat: &str) -> Result<(), Error> {
        self.json(Method::POST, &format!("/api/chat/{chat}/stop"), Some(json!({}))).await.map(drop)
    }

    /// Stops a reply.
    pub(crate) async fn cancel(&self, reply: &str) -> Result<(), Error> {
        self.json(Method::POST, &format!("/v1/responses/{reply}/cancel"), Some(json!({}))).await.map(drop)
    }

    async fn json(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Error> {
        let request = self.request(method, path).timeout(SHORT).header(ACCEPT, "application/json");
        let response = self.send(request.body(body.map_or_else(String::new, |body| body.to_string()))).await?;
        read_json(response).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base.as_str().trim_end_matches('/')))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                Error::Unreachable(self.base.clone(), error.without_url())
            } else {
                Error::Broken(error.without_url())
            }
        })?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

/// An answer's body as JSON.
pub(crate) async fn read_json(response: Response) -> Result<Value, Error> {
    let bytes = response.bytes().await.map_err(|error| Error::Broken(error.without_url()))?;
    serde_json::from_slice(&bytes).map_err(Error::NotJson)
}

/// What the server says about why not; where it is no JSON, its status must do.
async fn refusal(response: Response) -> Error {
    let status = response.status();
    let body: Value =
        response.bytes().await.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let error = &body["error"];
    let said = error["message"].as_str().or_else(|| error.as_str()).or_else(|| body["message"].as_str());
    let message = said.map_or_else(|| format!("the server answered {status}"), str::to_owned);
    Error::Refused { status, code: error["code"].as_str().map(str::to_owned), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_as_people_write_it() {
        for url in ["http://h:1", "h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"] {
            assert_eq!(Server::new(url, None).unwrap().to_string(), "http://h:1", "{url}");
        }
        assert!(matches!(Server::new("ftp://h", None), Err(Error::BadUrl(_))));
        assert!(matches!(Server::new("h", Some("a\nb")), Err(Error::BadKey)));
    }

    #[test]
    fn the_reply_that_holds_a_conversation_is_found_in_the_refusal() {
        let refused = |code: &str| Error::Refused {
            status: StatusCode::BAD_REQUEST,
            code: Some(code.into()),
            message: "busy: the response 'resp_0a1b' is in progress.".into(),
        };
        assert_eq!(refused("conversation_locked").running_reply(), Some("resp_0a1b"));
        assert_eq!(refused("something_else").running_reply(), None);
    }

    #[test]
    fn only_a_server_that_is_away_is_waited_for() {
        let refused = |status| Error::Refused { status, code: None, message: String::new() };
        assert!(refused(StatusCode::SERVICE_UNAVAILABLE).may_pass() && Error::EndedEarly.may_pass());
        assert!(!refused(StatusCode::BAD_REQUEST).may_pass() && !refused(StatusCode::INTERNAL_SERVER_ERROR).may_pass());
    }
}
