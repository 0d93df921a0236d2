//! Bare hyper, to compare a server with: it answers what `rejoinder bench` asks for with prepared bytes, and does nothing
//! else. No log, no store, no model, no JSON.
//!
//! ```text
//! cargo run --release --example bare -- 127.0.0.1:9090 [threads]
//! rejoinder bench http://127.0.0.1:9090 --model prepared
//! ```

#![expect(clippy::print_stdout, reason = "it tells where it listens")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Words of a prepared reply.
const WORDS: usize = 20;
/// The pace of a reply that is followed.
const PACE: Duration = Duration::from_millis(20);

static NEXT_ID: AtomicU64 = AtomicU64::new(0);
static RESPONSE: LazyLock<Vec<Bytes>> = LazyLock::new(response_events);
static CHAT: LazyLock<Vec<Bytes>> = LazyLock::new(chat_chunks);
static FOLLOWED: LazyLock<Mutex<HashMap<String, Followed>>> = LazyLock::new(Mutex::default);

/// A reply that is being said: what was sent, for those who join later, and whom to send the rest to.
#[derive(Clone)]
struct Followed(Arc<Mutex<Vec<Bytes>>>, broadcast::Sender<Bytes>);

impl Followed {
    fn say(&self, event: Bytes) {
        let mut said = self.0.lock();
        said.push(event.clone());
        // Nobody has to be there.
        let _ = self.1.send(event);
    }

    fn join(&self) -> Response<Answer> {
        let said = self.0.lock();
        events(Answer::Broadcast(said.clone().into_iter(), BroadcastStream::new(self.1.subscribe())))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let addr: SocketAddr = args.next().as_deref().unwrap_or("127.0.0.1:9090").parse()?;
    let threads = args.next().map_or(Ok(2), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        println!("http://{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let path = request.uri().path().to_owned();
    let post = request.method() == Method::POST;
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(match (post, path.as_str()) {
        (true, "/v1/responses") if contains(&body, b"\"background\":true") => {
            start_broadcast(body.split(|b| *b == b' ').count())
        }
        (true, "/v1/responses") => events(Answer::Prepared(&RESPONSE, 0)),
        (true, "/v1/chat/completions") => events(Answer::Prepared(&CHAT, 0)),
        (true, "/v1/conversations") => {
            json(format!(r#"{{"id":"conv_{}","object":"conversation"}}"#, NEXT_ID.fetch_add(1, Relaxed)))
        }
        (false, path) if path.starts_with("/v1/conversations/") => events(Answer::Idle),
        (false, path) => match path.strip_prefix("/v1/responses/").and_then(|id| FOLLOWED.lock().get(id).cloned()) {
            Some(reply) => reply.join(),
            None => not_found(),
        },
        _ => not_found(),
    })
}

/// Says a reply at its pace to whoever follows; the answer is the first to do so.
fn start_broadcast(words: usize) -> Response<Answer> {
    let id = format!("resp_{}", NEXT_ID.fetch_add(1, Relaxed));
    let reply = Followed(Arc::default(), broadcast::channel(1024).0);
    FOLLOWED.lock().insert(id.clone(), reply.clone());
    reply.say(event("response.created", 0, &format!(r#""response":{{"id":"{id}"}}"#)));
    let answer = reply.join();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PACE);
        for number in 1..=words as u64 {
            ticks.tick().await;
            reply.say(event("response.output_text.delta", number, DELTA));
        }
        reply.say(event("response.completed", words as u64 + 1, r#""response":{}"#));
        reply.say(DONE);
        FOLLOWED.lock().remove(&id);
    });
    answer
}

const DELTA: &str = r#""item_id":"msg_00000000000000000000000000000000","output_index":0,"content_index":0,"delta":"word ","logprobs":[]"#;
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// A body of one of the kinds that are compared with.
enum Answer {
    Prepared(&'static [Bytes], usize),
    Idle,
    Broadcast(std::vec::IntoIter<Bytes>, BroadcastStream<Bytes>),
    Json(Full<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Prepared(frames, next) => {
                let frame = frames.get(*next).cloned();
                *next += 1;
                Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Idle => Poll::Pending,
            Self::Broadcast(said, stream) => loop {
                if let Some(bytes) = said.next() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                match std::task::ready!(tokio_stream::Stream::poll_next(Pin::new(stream), cx)) {
                    Some(Ok(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    // A follower that is too slow skips, and goes on.
                    Some(Err(_lagged)) => {}
                    None => return Poll::Ready(None),
                }
            },
            Self::Json(full) => Pin::new(full).poll_frame(cx),
        }
    }
}

fn events(answer: Answer) -> Response<Answer> {
    typed("text/event-stream; charset=utf-8", answer)
}

fn json(text: String) -> Response<Answer> {
    typed("application/json", Answer::Json(Full::new(text.into())))
}

fn typed(kind: &'static str, answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn not_found() -> Response<Answer> {
    let mut response =
        json(r#"{"error":{"message":"not here","type":"invalid_request_error","param":null,"code":null}}"#.into());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn event(kind: &str, number: u64, fields: &str) -> Bytes {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{fields}}}\n\n").into()
}

/// The events of a whole reply as a real server sends them, each a frame of its own.
fn response_events() -> Vec<Bytes> {
    let text = "word ".repeat(WORDS);
    let item = r#""item_id":"msg_00000000000000000000000000000000","output_index":0"#;
    let response = r#""response":{"id":"resp_0","object":"response","created_at":0,"status":"in_progress","model":"prepared","output":[]}"#;
    let part = format!(r#"{{"type":"output_text","text":"{text}","annotations":[],"logprobs":[]}}"#);
    let message = format!(
        r#"{{"id":"msg_00000000000000000000000000000000","type":"message","role":"assistant","status":"completed","content":[{part}]}}"#
    );
    let empty_part = part.replace(&text, "");
    let empty_message = message.replace(&part, "");
    let opening = [
        ("response.created", response.to_owned()),
        ("response.in_progress", response.to_owned()),
        ("response.output_item.added", format!(r#""output_index":0,"item":{empty_message}"#)),
        ("response.content_part.added", format!(r#"{item},"content_index":0,"part":{empty_part}"#)),
    ];
    let closing = [
        ("response.output_text.done", format!(r#"{item},"content_index":0,"text":"{text}","logprobs":[]"#)),
        ("response.content_part.done", format!(r#"{item},"content_index":0,"part":{part}"#)),
        ("response.output_item.done", format!(r#""output_index":0,"item":{message}"#)),
        ("response.completed", response.replace("in_progress", "completed").replace("[]", &format!("[{message}]"))),
    ];
    let deltas = std::iter::repeat_n(("response.output_text.delta", DELTA.to_owned()), WORDS);
    let all = opening.into_iter().chain(deltas).chain(closing);
    all.zip(0..).map(|((kind, fields), number)| event(kind, number, &fields)).chain([DONE]).collect()
}

/// The same reply as a Chat Completions server sends it: an upstream that answers at once.
fn chat_chunks() -> Vec<Bytes> {
    let chunk = |delta: &str, reason: &str| {
        format!(
            r#"data: {{"id":"chatcmpl-0","object":"chat.completion.chunk","created":0,"model":"prepared","choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}"#
        ) + "\n\n"
    };
    let first = chunk(r#"{"role":"assistant","content":""}"#, "null");
    let words = std::iter::repeat_n(chunk(r#"{"content":"word "}"#, "null"), WORDS);
    let last = chunk("{}", "\"stop\"");
    std::iter::once(first).chain(words).chain([last]).map(Bytes::from).chain([DONE]).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
