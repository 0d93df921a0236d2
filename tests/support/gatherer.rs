//! A model server with vLLM's batch endpoint that answers one request at a time, and several together faster than one after
//! the other: what micro-batches are for. Its batches can be made to fail.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::{rt::TokioExecutor, rt::TokioIo, server::conn::auto};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle, task::JoinSet, time::sleep};

/// What it does with batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// It answers them, the last conversation first.
    Fine,
    /// It has no such endpoint.
    Missing,
    Status(u16),
    /// It sends what is no answer.
    Garbage,
    /// It closes the connection in the middle of the answer.
    Cut,
    /// It leaves out the answer to conversations about this.
    Without(&'static str),
}

/// The server, running in the test's own runtime until dropped.
#[derive(Debug)]
pub struct Gatherer {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    batching: Mutex<Batching>,
    /// How long one request takes by itself.
    pace: Mutex<Duration>,
    /// What it is asked together.
    batches: Mutex<Vec<Value>>,
    /// What it is asked singly.
    singles: Mutex<Vec<Value>>,
    /// It does one thing at a time.
    worker: tokio::sync::Mutex<()>,
}

/// How much faster so many are together than one after the other: four 2.3 times.
fn speed(together: usize) -> f64 {
    let more = u32::try_from(together.saturating_sub(1)).expect("few");
    1.0 + f64::from(more) * 1.3 / 3.0
}

impl Gatherer {
    pub async fn start(batching: Batching, pace: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            batching: Mutex::new(batching),
            pace: Mutex::new(pace),
            batches: Mutex::default(),
            singles: Mutex::default(),
            worker: tokio::sync::Mutex::default(),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Does this with batches from now on.
    pub fn set(&self, batching: Batching) {
        *self.shared.batching.lock().expect("no panic") = batching;
    }

    /// The last words of each conversation of each batch.
    pub fn batches(&self) -> Vec<Vec<String>> {
        let batches = self.shared.batches.lock().expect("no panic");
        batches.iter().map(|body| conversations(body).iter().map(prompt).collect()).collect()
    }

    /// The bodies of all batches.
    pub fn bodies(&self) -> Vec<Value> {
        self.shared.batches.lock().expect("no panic").clone()
    }

    /// The last words of what was asked singly.
    pub fn singles(&self) -> Vec<String> {
        self.shared.singles.lock().expect("no panic").iter().map(|body| prompt(&body["messages"])).collect()
    }
}

impl Drop for Gatherer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn conversations(body: &Value) -> &[Value] {
    body["messages"].as_array().expect("a list of conversations")
}

fn prompt(messages: &Value) -> String {
    let last = messages.as_array().and_then(|messages| messages.last()).expect("a message");
    last["content"].as_str().expect("text").to_owned()
}

/// What it answers.
pub fn answer(prompt: &str) -> String {
    format!("This is about {prompt}, and no more.")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Whoever is connected is let go with the server.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(respond(request, shared).await) }
            });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn send(status: u16, kind: &str, body: impl Into<Bytes>) -> Answer {
    let response = Response::builder().status(status).header("content-type", kind);
    response.body(Full::new(body.into())).expect("a response")
}

async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> Answer {
    if request.method() == Method::GET {
        return send(200, "application/json", r#"{"object":"list","data":[{"id":"truth","object":"model"}]}"#);
    }
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).expect("the server sends JSON");
    let pace = *shared.pace.lock().expect("no panic");
    if path.ends_with("/batch") {
        return batch(body, pace, &shared).await;
    }
    shared.singles.lock().expect("no panic").push(body.clone());
    let _turn = shared.worker.lock().await;
    // The time that a model takes, not a wait for something.
    sleep(pace).await;
    let delta = json!({"choices": [{"index": 0, "delta": {"content": answer(&prompt(&body["messages"]))}}]});
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    send(200, "text/event-stream", format!("data: {delta}\n\ndata: {finish}\n\ndata: [DONE]\n\n"))
}

async fn batch(body: Value, pace: Duration, shared: &Shared) -> Answer {
    shared.batches.lock().expect("no panic").push(body.clone());
    assert!(body.get("stream").is_none(), "a batch is not streamed: {body}");
    let prompts: Vec<_> = conversations(&body).iter().map(prompt).collect();
    let batching = *shared.batching.lock().expect("no panic");
    let without = match batching {
        Batching::Missing => return send(404, "application/json", r#"{"detail":"Not Found"}"#),
        Batching::Status(status) => {
            return send(status, "application/json", r#"{"error":{"message":"One of them is bad."}}"#);
        }
        Batching::Garbage => return send(200, "application/json", r#"{"choices":"none"}"#),
        Batching::Without(about) => Some(about),
        Batching::Cut | Batching::Fine => None,
    };
    let _turn = shared.worker.lock().await;
    let count = u32::try_from(prompts.len()).expect("few");
    sleep(pace.mul_f64(f64::from(count) / speed(prompts.len()))).await;
    let kept =
        prompts.iter().enumerate().rev().filter(|(_, prompt)| without.is_none_or(|about| !prompt.contains(about)));
    let choices: Vec<_> = kept
        .map(|(index, prompt)| json!({"index": index, "message": {"role": "assistant", "content": answer(prompt)}, "finish_reason": "stop"}))
        .collect();
    let usage = json!({"prompt_tokens": 10 * count, "completion_tokens": 8 * count, "total_tokens": 18 * count});
    let answer = json!({"id": "x", "object": "chat.completion", "choices": choices, "usage": usage}).to_string();
    let answer = if batching == Batching::Cut { &answer[..answer.len() / 2] } else { &answer };
    send(200, "application/json", answer.to_owned())
}
