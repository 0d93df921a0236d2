//! Somebody else's server that webhooks are posted to: it takes note of all that comes, and can be told to misbehave.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::{net::TcpListener, task::JoinHandle};

use super::wait::until;

/// What an endpoint does with what is posted to it.
#[derive(Debug, Clone)]
pub enum Does {
    /// Answers with this status.
    Answers(u16),
    /// Answers with these one after the other, and then always with the last.
    AnswersInTurn(Vec<u16>),
    /// Never answers.
    Hangs,
    /// Answers 200 after so long.
    IsLate(Duration),
    /// Answers 200, with a megabyte.
    AnswersAtLength,
    /// Sends on to another place.
    Redirects(String),
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Posted {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

/// The server, until it is dropped. Its endpoints are paths.
#[derive(Debug)]
pub struct Hook {
    base: String,
    shared: Arc<Mutex<Shared>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    does: BTreeMap<String, Does>,
    posted: BTreeMap<String, Vec<Posted>>,
}

impl Hook {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::<Mutex<Shared>>::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { base, shared, server }
    }

    /// The address of an endpoint.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// What an endpoint does from now on; one that was told nothing answers 204.
    pub fn on(&self, path: &str, does: Does) {
        self.shared.lock().expect("no panic").does.insert(path.to_owned(), does);
    }

    /// What came to an endpoint.
    pub fn posted(&self, path: &str) -> Vec<Posted> {
        self.shared.lock().expect("no panic").posted.get(path).cloned().unwrap_or_default()
    }

    /// Waits until so many requests came to an endpoint.
    pub async fn wait(&self, path: &str, count: usize) -> Vec<Posted> {
        let what = format!("{count} webhooks at {path}");
        until(&what, async || Some(self.posted(path)).filter(|posted| posted.len() >= count)).await
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Posted {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The reply that it is about.
    pub fn reply(&self) -> String {
        self.json()["data"]["id"].as_str().expect("an id").to_owned()
    }

    /// Whether one of its signatures is that of this secret, after the standard's own words.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").expect("the prefix").as_bytes()).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        mac.update(format!("{}.{}.", self.id(), self.header("webhook-timestamp")).as_bytes());
        mac.update(&self.body);
        let expected = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    while let Ok((connection, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let answer = service_fn(move |request| answer(request, Arc::clone(&shared)));
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), answer);
        tokio::spawn(async move {
            let _ = serving.await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Mutex<Shared>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let does = {
        let mut shared = shared.lock().expect("no panic");
        let posted = shared.posted.entry(path.clone()).or_default();
        posted.push(Posted { headers, body, at: Instant::now() });
        let before = posted.len() - 1;
        match shared.does.get(&path).cloned() {
            Some(Does::AnswersInTurn(turns)) => Does::Answers(turns[before.min(turns.len() - 1)]),
            Some(does) => does,
            None => Does::Answers(204),
        }
    };
    let empty = |status: u16| Response::builder().status(status);
    let megabyte = || Full::new(Bytes::from(vec![b'x'; 1 << 20]));
    let response = match does {
        Does::Answers(status) => empty(status).body(Full::default()),
        Does::AnswersInTurn(_) => unreachable!("it was its turn"),
        Does::Hangs => pending().await,
        Does::IsLate(late) => {
            tokio::time::sleep(late).await;
            empty(200).body(Full::default())
        }
        Does::AnswersAtLength => empty(200).body(megabyte()),
        Does::Redirects(to) => empty(301).header("location", to).body(Full::default()),
    };
    Ok(response.expect("an answer"))
}
