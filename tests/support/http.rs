//! A plain HTTP client for one server: requests with JSON, answers taken apart, streams opened.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use super::{sse::Events, wait::soon};

/// The API of one server, as seen by one client with its own connections.
#[derive(Clone)]
pub struct Api {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
    headers: HeaderMap,
}

impl Api {
    /// A client of the server at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: &str) -> Self {
        Self::with(base, &Client::builder(TokioExecutor::new()))
    }

    /// The same over HTTP/2 without TLS, by prior knowledge.
    pub fn h2c(base: &str) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http2_only(true);
        Self::with(base, &builder)
    }

    fn with(base: &str, builder: &hyper_util::client::legacy::Builder) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { base: base.to_owned(), client: builder.build(connector), headers: HeaderMap::new() }
    }

    /// This client, sending a further header with everything.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, "").await
    }

    pub async fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let what = format!("{method} {path}");
        soon(&what, async { Answer::read(self.send(method, path, body.into()).await?).await })
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// As [`Api::call`], where the server may be gone.
    pub async fn try_call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Answer, String> {
        let what = format!("{method} {path}");
        let answer = async { Answer::read(self.send(method, path, body.into()).await?).await };
        soon(&what, answer).await.map_err(|error| error.to_string())
    }

    /// The value of an instrument without labels.
    pub async fn gauge(&self, name: &str) -> i64 {
        let metrics = self.get("/metrics").await;
        let value = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {}", metrics.text()))
    }

    /// POSTs a request for a reply and returns its event stream, which must have begun well.
    pub async fn stream(&self, body: Value) -> Events {
        self.open(Method::POST, "/v1/responses", body.to_string()).await
    }

    /// GETs an event stream, which must begin well.
    pub async fn follow(&self, path: &str) -> Events {
        self.open(Method::GET, path, String::new()).await
    }

    async fn open(&self, method: Method, path: &str, body: String) -> Events {
        let what = format!("{method} {path}");
        let events = self.try_open(method, path, body).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        if events.status != StatusCode::OK {
            let status = events.status;
            let mut text = String::new();
            let mut events = events;
            while let Ok(bytes) = events.chunk().await {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            panic!("{what}: {status}: {text}");
        }
        events
    }

    /// Opens a stream, where the server may be gone, or may not want to.
    pub async fn try_open(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Events, String> {
        let what = format!("{method} {path}");
        let response = soon(&what, self.send(method, path, body.into())).await.map_err(|error| format!("{error:?}"))?;
        Ok(Events::new(response))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let headers = request.headers_mut().expect("a valid request");
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.extend(self.headers.clone());
        self.client.request(request.body(Full::new(body)).expect("a valid request")).await
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base).finish_non_exhaustive()
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (parts, body) = response.into_parts();
        Ok(Self { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("an answer is UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header is ASCII"))
    }

    /// The JSON of an answer that must be a 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self.json()
    }

    /// That what the parameter `param` of the request names is not there.
    #[track_caller]
    pub fn unknown(&self, param: &str) -> Value {
        self.refused(404, Value::Null, param)
    }

    /// The error object of an answer that must be an `OpenAI` error with this status and, if they are given, this
    /// code and parameter.
    #[track_caller]
    pub fn refused(&self, status: u16, code: impl Into<Value>, param: impl Into<Value>) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert!(self.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{self:?}");
        let error = self.json()["error"].take();
        let keys: Vec<_> = error.as_object().expect("`error` is an object").keys().cloned().collect();
        for key in ["message", "type", "param", "code"] {
            assert!(keys.iter().any(|found| found == key), "`{key}` is missing in {error}");
        }
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "no message in {error}");
        assert!(error["type"].is_string(), "{error}");
        assert_eq!(error["param"], param.into(), "param of {error}");
        let code = code.into();
        if !code.is_null() {
            assert_eq!(error["code"], code, "code of {error}");
        }
        error
    }
}
