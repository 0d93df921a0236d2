//! A plain HTTP client of the server, which is found at the same address after a restart.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// How long the head of an answer may take, or a stream may be silent (the server's heartbeat is 15 s).
const PATIENCE: Duration = Duration::from_secs(20);

/// A client with its connections.
#[derive(Debug)]
pub(crate) struct Client {
    base: String,
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Cut(String),
    #[error("nothing came for {PATIENCE:?}")]
    Silent,
    #[error("{status}: {body}")]
    Refused { status: StatusCode, body: String },
}

/// A whole answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// The body of an answer as it comes.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) status: StatusCode,
    /// The reply that it is about.
    pub(crate) reply: Option<String>,
    body: Incoming,
}

/// What is sent with a request, beside its body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Header<'a> {
    None,
    IdempotencyKey(&'a str),
    LastEventId(&'a str),
}

impl Client {
    pub(crate) fn new(base: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { base, inner: legacy::Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// A request and its whole answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        header: Header<'_>,
    ) -> Result<Answer, Error> {
        let stream = self.open(method, path, body, header).await?;
        let body = timeout(PATIENCE, stream.body.collect()).await.map_err(|_| Error::Silent)?;
        let body = body.map_err(|error| Error::Cut(causes(&error)))?.to_bytes();
        Ok(Answer { status: stream.status, body })
    }

    /// A request, and the head of its answer.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        header: Header<'_>,
    ) -> Result<Stream, Error> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = match header {
            Header::None => request,
            Header::IdempotencyKey(key) => request.header("idempotency-key", key),
            Header::LastEventId(id) => request.header("last-event-id", id),
        };
        let request = request.body(Full::new(body.into())).map_err(|error| Error::Cut(causes(&error)))?;
        let response = timeout(PATIENCE, self.inner.request(request)).await.map_err(|_| Error::Silent)?;
        let (head, body) = response.map_err(|error| Error::Cut(causes(&error)))?.into_parts();
        let reply = head.headers.get("x-response-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(Stream { status: head.status, reply, body })
    }
}

impl Answer {
    /// The body, if all is well.
    pub(crate) fn ok(self) -> Result<Bytes, Error> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(Error::Refused { status: self.status, body: String::from_utf8_lossy(&self.body).into_owned() })
    }
}

impl Stream {
    /// The next bytes; `None` at a clean end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            return match timeout(PATIENCE, self.body.frame()).await {
                Err(_) => Err(Error::Silent),
                Ok(None) => Ok(None),
                Ok(Some(Err(error))) => Err(Error::Cut(causes(&error))),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(_trailers) => continue,
                },
            };
        }
    }

    /// The stream, if all is well.
    pub(crate) async fn ok(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let body = timeout(PATIENCE, self.body.collect()).await.map_err(|_| Error::Silent)?;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(Error::Refused { status: self.status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// An error with its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
