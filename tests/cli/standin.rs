//! A server that is not rejoinder: it speaks as much of the Responses API as a test tells it to.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::support::{Value, json};

/// What it answers.
pub enum Says {
    Json(u16, Value),
    /// A whole stream of events.
    Events(Vec<Value>),
    /// These events, and then nothing more for as long as the client stays.
    EventsAndSilence(Vec<Value>),
    /// No answer at all.
    Nothing,
}

/// Requests as they came, with their bodies.
type Heard = Arc<Mutex<Vec<(String, Value)>>>;

/// The server, in the test's own runtime.
pub struct StandIn {
    pub base: String,
    heard: Heard,
}

impl StandIn {
    /// Answers a request, such as `POST /v1/responses`, with what `answer` says to it and its body.
    pub async fn start(answer: impl Fn(&str, &Value) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("a bound address"));
        let heard = Heard::default();
        tokio::spawn(accept(listener, Arc::new(answer), Arc::clone(&heard)));
        Self { base, heard }
    }

    /// The bodies of the requests `what`, in order.
    pub fn heard(&self, what: &str) -> Vec<Value> {
        let heard = self.heard.lock().expect("no panic");
        heard.iter().filter(|(asked, _)| asked == what).map(|(_, body)| body.clone()).collect()
    }
}

/// The events of a reply that says `text`.
pub fn reply(id: &str, text: &str) -> Vec<Value> {
    vec![
        json!({"type": "response.created", "sequence_number": 0, "response": {"id": id}}),
        json!({"type": "response.output_text.delta", "sequence_number": 1, "delta": text}),
        json!({"type": "response.completed", "sequence_number": 2, "response": {"id": id, "status": "completed"}}),
    ]
}

/// What a server says to a path that it does not know.
pub fn not_found() -> Says {
    Says::Json(404, json!({"error": {"message": "not here", "code": null}}))
}

async fn accept<F>(listener: TcpListener, answer: Arc<F>, heard: Heard)
where
    F: Fn(&str, &Value) -> Says + Send + Sync + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
        let service = service_fn(move |request| {
            let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
            async move {
                let (what, body) = read(request).await;
                heard.lock().expect("no panic").push((what.clone(), body.clone()));
                say(answer(&what, &body)).await
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn read(request: Request<Incoming>) -> (String, Value) {
    let what = format!("{} {}", request.method(), request.uri().path());
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (what, serde_json::from_slice(&body).unwrap_or_default())
}

type Answer = Response<StreamBody<std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, io::Error>> + Send>>>>;

async fn say(says: Says) -> Result<Answer, Infallible> {
    let frames = |texts: Vec<String>| stream::iter(texts).map(|text| Ok(Frame::data(Bytes::from(text))));
    let lines = |events: Vec<Value>| events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let answer = Response::builder();
    let answer = match says {
        Says::Json(status, body) => answer.status(status).body(StreamBody::new(frames(vec![body.to_string()]).boxed())),
        Says::Events(events) => answer.body(StreamBody::new(frames(lines(events)).boxed())),
        Says::EventsAndSilence(events) => {
            answer.body(StreamBody::new(frames(lines(events)).chain(stream::pending()).boxed()))
        }
        Says::Nothing => std::future::pending().await,
    };
    Ok(answer.expect("a status of ours"))
}
