//! HTTP to one model server: its own pool, its address and key, and how a failed exchange reads as an
//! [`UpstreamError`].

use std::error::Error as _;
use std::io;
use std::time::Duration;

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, Response, Url};

use super::Config;
use super::delta::UpstreamError;
use super::dialect::Dialect;
use super::failure::{self, Answer};
use crate::values::Secret;

/// The most of an error's body that is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long an error's body may take.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest list of models that is read.
const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;

const TCP_KEEPALIVE: Duration = Duration::from_secs(40);

/// Connections that are kept open with nothing to do.
const MAX_IDLE_CONNECTIONS: usize = 1024;

const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// The server's address or key cannot be used, or its client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The address is no `http` or `https` URL.
    #[error("the model server's address has to begin with http:// or https://")]
    Address,
    /// The key cannot be sent in a header.
    #[error("the key has a character that cannot be sent in a header")]
    Key,
    /// The model is no built-in one, and there is no server.
    #[error("the model {model:?} needs a model server, and no address of one is set")]
    Model {
        /// Its name.
        model: String,
    },
    /// Certificates could not be read, or the like.
    #[error("the HTTP client could not be set up")]
    Client(#[source] reqwest::Error),
}

/// A client of one model server.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    chat: Url,
    models: Url,
    headers: HeaderMap,
    /// Where the list of models asks for the key in another way.
    models_headers: HeaderMap,
}

impl Client {
    pub(super) fn build(base: &Url, dialect: Dialect, config: &Config) -> Result<Self, BuildError> {
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(BuildError::Address);
        }
        // Fails only where the process has chosen a provider before: that one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("rejoinder/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            // One reply, one connection: HTTP/2 would queue replies behind the server's limit of streams.
            .http1_only()
            .tcp_nodelay(true)
            .tcp_keepalive(TCP_KEEPALIVE)
            .connect_timeout(config.timeouts.connect)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT);
        if base.scheme() == "http" {
            // Nothing is encrypted here: reading the system's certificates would only slow the start.
            builder = builder.tls_certs_only([]);
        }
        if is_local(base) {
            builder = builder.no_proxy();
        }
        let headers = headers(dialect, base, config.api_key.as_ref())?;
        Ok(Self {
            http: builder.build().map_err(BuildError::Client)?,
            chat: endpoint(base, &["chat", "completions"]),
            models: endpoint(base, &["models"]),
            models_headers: headers_of_list(&headers, dialect, config.api_key.as_ref())?,
            headers,
        })
    }

    /// Sends a request; gives the answer as soon as its headers are there, if it is a 200.
    pub(super) async fn chat(&self, body: Vec<u8>) -> Result<Response, UpstreamError> {
        let mut request = Request::new(Method::POST, self.chat.clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = Some(body.into());
        let again = request.try_clone();
        let response = match (self.http.execute(request).await, again) {
            // The server closed a connection that had idled, just when it was used: nobody has read the request.
            (Err(error), Some(again)) if died_before_answer(&error) => self.http.execute(again).await,
            (result, _) => result,
        };
        accept(response.map_err(broken)?).await
    }

    /// The server's list of models, as JSON text.
    pub(super) async fn models(&self) -> Result<Vec<u8>, UpstreamError> {
        let mut request = Request::new(Method::GET, self.models.clone());
        *request.headers_mut() = self.models_headers.clone();
        let mut response = accept(self.http.execute(request).await.map_err(broken)?).await?;
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
}

/// A failed exchange, at any stage. Never with the address, which may hold a key.
pub(super) fn broken(error: reqwest::Error) -> UpstreamError {
    let message = if error.is_connect() || error.is_timeout() {
        "The model server cannot be reached."
    } else {
        "The connection to the model server broke."
    };
    let error = error.without_url();
    let mut cause = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        cause = cause + ": " + &error.to_string();
        source = error.source();
    }
    failure::unreachable(message, cause)
}

async fn accept(mut response: Response) -> Result<Response, UpstreamError> {
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
    let retry_after = retry_after(response.headers());
    let body = String::from_utf8_lossy(&body);
    Err(failure::of_answer(Answer { status: response.status().as_u16(), retry_after, body: &body }))
}

fn died_before_answer(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let gone = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let reset = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe));
        if gone || reset {
            return true;
        }
        source = error.source();
    }
    false
}

/// `retry-after-ms`, or `retry-after` in seconds. A date is not read: no model server sends one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let millis = number(&HeaderName::from_static("retry-after-ms")).map(|millis| millis / 1000.0);
    Duration::try_from_secs_f64(millis.or_else(|| number(&RETRY_AFTER))?).ok()
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
fn headers_of_list(headers: &HeaderMap, dialect: Dialect, key: Option<&Secret>) -> Result<HeaderMap, BuildError> {
    let mut headers = headers.clone();
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

fn is_local(base: &Url) -> bool {
    match base.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
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
    fn the_time_to_wait_is_read_from_either_header() {
        let headers = |name: &'static str, value| HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
        for (name, value, wait) in [
            ("retry-after", "2", Some(Duration::from_secs(2))),
            ("retry-after", "0.5", Some(Duration::from_millis(500))),
            ("retry-after-ms", "250", Some(Duration::from_millis(250))),
            ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("retry-after", "-1", None),
        ] {
            assert_eq!(retry_after(&headers(name, HeaderValue::from_static(value))), wait, "{value}");
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
        let list = headers_of_list(&open, Dialect::Anthropic, Some(&key)).unwrap();
        assert_eq!((list.get(AUTHORIZATION), &list["x-api-key"]), (None, &HeaderValue::from_static("sk-1")));
    }
}
