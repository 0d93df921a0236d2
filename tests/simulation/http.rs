//! Requests over pipes, with the ends that a network has: an instance that is killed is a connection that is reset, one that
//! stands still says nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::fleet::Instance;

/// How long a client waits for a word.
const PATIENCE: Duration = Duration::from_secs(25);

/// The connection was cut, or is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut;

/// An answer that has begun.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) reply: Option<String>,
    instance: Arc<Instance>,
    body: Incoming,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) key: Option<String>,
    pub(crate) last_event: Option<u64>,
    pub(crate) body: Option<Value>,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), key: None, last_event: None, body: None }
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(path) }
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path).header("host", "localhost");
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(last) = self.last_event {
            request = request.header("last-event-id", last.to_string());
        }
        let body = self.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.header("content-type", "application/json").body(Full::new(body)).expect("a request")
    }
}

/// Waits for something from an instance, as long as it lives and it makes sense.
async fn from<T>(instance: &Instance, what: impl Future<Output = T>) -> Result<T, Cut> {
    let answered = async {
        instance.process.turn().await;
        let what = what.await;
        instance.process.turn().await;
        what
    };
    tokio::select! {
        biased;
        () = instance.process.killed() => Err(Cut),
        answered = tokio::time::timeout(PATIENCE, answered) => answered.map_err(|_| Cut),
    }
}

/// Asks an instance; gives the answer once its head is there.
pub(crate) async fn ask(instance: &Arc<Instance>, ask: &Ask) -> Result<Answer, Cut> {
    let exchange = async {
        let pipe = TokioIo::new(instance.server.connect());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(pipe).await.map_err(|_| Cut)?;
        tokio::spawn(connection);
        sender.send_request(ask.request()).await.map_err(|_| Cut)
    };
    let response: Response<Incoming> = from(instance, exchange).await??;
    let reply = response.headers().get("x-response-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    Ok(Answer { status: response.status(), reply, instance: Arc::clone(instance), body: response.into_body() })
}

impl Answer {
    /// The next piece of the body. `None`: it ended well.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        loop {
            match from(&self.instance, self.body.frame()).await? {
                None => return Ok(None),
                Some(Err(_)) => return Err(Cut),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body, as JSON.
    pub(crate) async fn json(mut self) -> Result<Value, Cut> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next().await? {
            body.extend_from_slice(&bytes);
        }
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }
}

/// A WebSocket for replies.
pub(crate) struct Socket {
    instance: Arc<Instance>,
    stream: WebSocketStream<DuplexStream>,
}

impl Socket {
    pub(crate) async fn open(instance: &Arc<Instance>) -> Result<Self, Cut> {
        let opened = from(instance, client_async("ws://localhost/v1/responses", instance.server.connect())).await?;
        let (stream, _) = opened.map_err(|_| Cut)?;
        Ok(Self { instance: Arc::clone(instance), stream })
    }

    pub(crate) async fn send(&mut self, message: &Value) -> Result<(), Cut> {
        from(&self.instance, self.stream.send(Message::text(message.to_string()))).await?.map_err(|_| Cut)
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Value, Cut> {
        loop {
            match from(&self.instance, self.stream.next()).await? {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap_or_default()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return Err(Cut),
            }
        }
    }
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: Option<u64>,
    pub(crate) data: String,
}

/// Reads server-sent events from pieces of a body.
#[derive(Default)]
pub(crate) struct Reader {
    text: String,
}

impl Reader {
    /// The events that are complete with this piece.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Sent> {
        self.text.push_str(&String::from_utf8_lossy(bytes));
        let mut events = Vec::new();
        while let Some(end) = self.text.find("\n\n") {
            let event: String = self.text.drain(..end + 2).collect();
            let field =
                |name: &'static str| event.lines().filter_map(move |line| line.strip_prefix(name)).map(str::trim_start);
            let data: Vec<_> = field("data:").collect();
            if !data.is_empty() {
                let id = field("id:").next().and_then(|id| id.parse().ok());
                events.push(Sent { id, data: data.join("\n") });
            }
        }
        events
    }
}
