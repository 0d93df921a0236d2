//! HTTP to one model server: its endpoints, how it wants its key, and how a failed exchange reads as an
//! [`UpstreamError`].

use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Request, Response, Url};

use super::Server;
use super::delta::UpstreamError;
use super::dialect::Dialect;
use super::failure::{self, Answer};
use crate::config::values::Secret;
use crate::services::{self, Permit, SendError, Service};
use crate::telemetry::causes;

/// The most of an error's body that is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long an error's body may take.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest list of models that is read.
const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;

/// The server's address or key cannot be used, or its client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The key cannot be sent in a header.
    #[error("the key has a character that cannot be sent in a header")]
    Key,
    /// The model is no built-in one, and there is no server.
    #[error("the model {model:?} needs a model server, and no address of one is set")]
    Model {
        /// Its name.
        model: String,
    },
    /// The address or the certificates cannot be used, or the like.
    #[error("{name}: {error}")]
    Service {
        /// Which server.
        name: String,
        /// Why not.
        error: services::BuildError,
    },
}

/// A client of one model server.
#[derive(Debug, Clone)]
pub(super) struct Client {
    service: Service,
    dialect: Dialect,
    chat: Url,
    batch: Url,
    models: Url,
}

impl Client {
    pub(super) fn build(dialect: Dialect, server: &Server) -> Result<Self, BuildError> {
        let base = &server.base_url;
        let config = services::Config {
            name: server.name.clone(),
            capability: services::TEXT,
            base_url: base.clone(),
            keys: server.keys.clone(),
            connect: server.timeouts.connect,
            limits: server.limits,
            ca_file: server.ca_file.clone(),
            observer: std::sync::Arc::clone(&server.observer),
        };
        // A key that cannot be sent is reported now, and not with the first reply.
        for key in &server.keys {
            headers(dialect, base, Some(key))?;
        }
        let unusable = |error| BuildError::Service { name: server.name.clone(), error };
        Ok(Self {
            service: Service::build(config).map_err(unusable)?,
            dialect,
            chat: endpoint(base, &["chat", "completions"]),
            batch: endpoint(base, &["chat", "completions", "batch"]),
            models: endpoint(base, &["models"]),
        })
    }

    pub(super) const fn service(&self) -> &Service {
        &self.service
    }

    /// Sends a request; returns the answer as soon as its headers are there, if it is a 200.
    pub(super) async fn chat(&self, permit: &mut Permit, body: Vec<u8>) -> Result<Response, UpstreamError> {
        accept(self.post(permit, &self.chat, body).await?).await
    }

    /// Sends several requests as one; returns the answer as soon as its headers are there, whatever its status.
    pub(super) async fn batch(&self, permit: &mut Permit, body: Vec<u8>) -> Result<Response, UpstreamError> {
        self.post(permit, &self.batch, body).await
    }

    async fn post(&self, permit: &mut Permit, url: &Url, body: Vec<u8>) -> Result<Response, UpstreamError> {
        let body = Bytes::from(body);
        let request = |key: Option<&Secret>| {
            let mut request = Request::new(Method::POST, url.clone());
            *request.headers_mut() = headers(self.dialect, self.service.base_url(), key).unwrap_or_default();
            *request.body_mut() = Some(body.clone().into());
            request
        };
        permit.send(request).await.map_err(not_sent)
    }

    /// The answer that holds the server's list of models, once its headers are there.
    pub(super) async fn models_head(&self) -> Result<Response, UpstreamError> {
        let request = |key: Option<&Secret>| {
            let mut request = Request::new(Method::GET, self.models.clone());
            let headers = headers_of_list(self.dialect, self.service.base_url(), key);
            *request.headers_mut() = headers.unwrap_or_default();
            request
        };
        accept(self.service.get(request).await.map_err(not_sent)?).await
    }

    /// The server's list of models, as JSON text.
    pub(super) async fn models(&self) -> Result<Vec<u8>, UpstreamError> {
        list_body(self.models_head().await?).await
    }
}

/// The JSON text of a list of models.
pub(super) async fn list_body(mut response: Response) -> Result<Vec<u8>, UpstreamError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_LIST_BYTES {
            let cause = format!("its list of models is longer than {MAX_LIST_BYTES} bytes");
            return Err(failure::unreachable("The model server's list of models is too long.", cause));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A request that got no answer.
fn not_sent(error: SendError) -> UpstreamError {
    let message = if error.is_connect() {
        "The model server cannot be reached."
    } else {
        "The connection to the model server broke."
    };
    failure::unreachable(message, error.cause())
}

/// An answer that broke off. Never with the address, which may hold a key.
pub(super) fn broken(error: reqwest::Error) -> UpstreamError {
    failure::unreachable("The connection to the model server broke.", causes::chain(&error.without_url()))
}

/// The answer, if it is a good one.
pub(super) async fn accept(mut response: Response) -> Result<Response, UpstreamError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BYTES - body.len())]);
            if body.len() >= MAX_ERROR_BYTES {
                break;
            }
        }
    };
    // What came in time has to do.
    drop(tokio::time::timeout(ERROR_BODY_TIMEOUT, read).await);
    let retry_after = Permit::retry_after(&response);
    let body = String::from_utf8_lossy(&body);
    Err(failure::of_answer(Answer { status: response.status().as_u16(), retry_after, body: &body }))
}

fn headers(dialect: Dialect, base: &Url, key: Option<&Secret>) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
    if let Some(key) = key {
        match dialect {
            Dialect::Azure => headers.insert("api-key", secret(key.expose().to_owned())?),
            _ => headers.insert(AUTHORIZATION, secret(format!("Bearer {}", key.expose()))?),
        };
    } else if !base.username().is_empty() {
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let name_and_password = decoded(base.username()) + ":" + &decoded(base.password().unwrap_or_default());
        let credentials = BASE64.encode(name_and_password.as_bytes());
        headers.insert(AUTHORIZATION, secret(format!("Basic {credentials}"))?);
    }
    Ok(headers)
}

/// Anthropic's list is not a part of its compatible endpoint.
fn headers_of_list(dialect: Dialect, base: &Url, key: Option<&Secret>) -> Result<HeaderMap, BuildError> {
    let mut headers = headers(dialect, base, key)?;
    headers.remove(CONTENT_TYPE);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let (Dialect::Anthropic, Some(key)) = (dialect, key) {
        headers.remove(AUTHORIZATION);
        headers.insert("x-api-key", secret(key.expose().to_owned())?);
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    Ok(headers)
}

fn secret(value: String) -> Result<HeaderValue, BuildError> {
    let mut value = HeaderValue::try_from(value).map_err(|_| BuildError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An address below the base, which keeps its query (Azure's `api-version`). A base that names the whole endpoint is
/// understood too.
fn endpoint(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // What stands before the host is sent as a header. Neither can fail: the address has a host.
    let _ = (url.set_username(""), url.set_password(None));
    let own = base.path().trim_end_matches('/');
    url.set_path(own.strip_suffix("/chat/completions").unwrap_or(own));
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_lie_below_the_base_and_keep_its_query() {
        for (base, chat) in [
            ("http://localhost:11434/v1", "http://localhost:11434/v1/chat/completions"),
            ("http://localhost:11434/v1/", "http://localhost:11434/v1/chat/completions"),
            ("https://me:pw@api.example.com", "https://api.example.com/chat/completions"),
            ("https://a.example/v1/chat/completions", "https://a.example/v1/chat/completions"),
            ("https://a.example/o/d/x?api-version=1", "https://a.example/o/d/x/chat/completions?api-version=1"),
        ] {
            assert_eq!(endpoint(&base.parse().unwrap(), &["chat", "completions"]).as_str(), chat);
        }
    }

    #[test]
    fn a_key_is_sent_as_each_server_wants_it_and_never_shown() {
        let (key, base) = (Secret::new("sk-1"), "http://me:pass%20word@localhost/v1".parse().unwrap());
        let basic = headers(Dialect::Generic, &base, None).unwrap();
        assert_eq!(basic[AUTHORIZATION], format!("Basic {}", BASE64.encode(b"me:pass word")));
        let azure = headers(Dialect::Azure, &base, Some(&key)).unwrap();
        assert_eq!(azure["api-key"], "sk-1");
        assert!(!format!("{azure:?} {key:?}").contains("sk-1"));
        let open = headers(Dialect::OpenAi, &base, Some(&key)).unwrap();
        assert_eq!(open[AUTHORIZATION], "Bearer sk-1");
        let list = headers_of_list(Dialect::Anthropic, &base, Some(&key)).unwrap();
        assert_eq!((list.get(AUTHORIZATION), &list["x-api-key"]), (None, &HeaderValue::from_static("sk-1")));
    }
}
