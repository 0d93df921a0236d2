//! The model server of a run: it serves Chat Completions, generates a text that is known beforehand, and behaves as
//! [`super::script`] decides. Each instance has an address of its own on it, so that it is known which one calls.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::script::{Asked, Break, INSTRUCTED, Manner, PREFILLED, Refusal};

/// The upstream, until its last handle is dropped.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    shared: Arc<Shared>,
    port: u16,
    _accepting: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    /// Always quick, at this pace.
    polite: Option<Duration>,
    heard: Mutex<HashMap<String, Heard>>,
    nonsense: Mutex<Vec<String>>,
    tasks: TaskTracker,
}

/// What was asked about one prompt.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) calls: Vec<Call>,
    /// The user's earlier messages, whenever they differ.
    pub(super) before: Vec<Vec<String>>,
    /// Instances whose last call may have brought nothing: counted for each by itself.
    barren: HashSet<usize>,
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) instance: usize,
    pub(super) begun: Instant,
    /// When its first token went out.
    pub(super) first_token: Option<Instant>,
    /// When it was over, or its client hung up.
    pub(super) over: Option<Instant>,
}

impl Upstream {
    /// Listens on a free port of this machine.
    pub(super) async fn start(seed: u64, polite: Option<Duration>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (heard, nonsense, tasks) = (Mutex::default(), Mutex::default(), TaskTracker::new());
        let shared = Arc::new(Shared { seed, polite, heard, nonsense, tasks });
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, Arc::clone(&shared))));
        Ok(Self { shared, port, _accepting: Arc::new(accepting) })
    }

    /// Its address for an instance.
    pub(super) fn url(&self, instance: usize) -> String {
        format!("http://127.0.0.1:{}/i{instance}/v1", self.port)
    }

    /// What was asked about a prompt.
    pub(super) fn heard(&self, prompt: &str) -> Heard {
        self.shared.heard.lock().get(prompt).cloned().unwrap_or_default()
    }

    /// What no correct server would have asked.
    pub(super) fn nonsense(&self) -> Vec<String> {
        self.shared.nonsense.lock().clone()
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.shared.heard.lock().values().map(|heard| heard.calls.len()).sum()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.tasks.spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Ok(socket) = SockRef::from(&stream).try_clone().map(Arc::new) else { return };
    let service = service_fn(move |request| answer(request, Arc::clone(&shared), Arc::clone(&socket)));
    // An error here is a broken connection, which is often the intention.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answer = Response<Either<Full<Bytes>, Stream>>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>, socket: Arc<Socket>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let (instance, path) = path.trim_start_matches("/i").split_once('/').unwrap_or_default();
    Ok(match path {
        "v1/models" => {
            let models = [PREFILLED, INSTRUCTED].map(|id| json!({"id": id, "object": "model"}));
            plain(200, &json!({"object": "list", "data": models}))
        }
        "v1/chat/completions" => {
            let Ok(body) = request.into_body().collect().await else { return Ok(refuse(400, "cut short")) };
            match serde_json::from_slice::<Value>(&body.to_bytes()) {
                Ok(body) => complete(&Asked::read(&body), instance.parse().unwrap_or(0), &shared, socket),
                Err(_) => refuse(400, "not JSON"),
            }
        }
        _ => refuse(404, "no such path"),
    })
}

fn complete(asked: &Asked, instance: usize, shared: &Arc<Shared>, socket: Arc<Socket>) -> Answer {
    if asked.lacks_instruction() {
        // It is asked again at once: that is the call that counts.
        return refuse(400, "Prefill is not supported by this model: it takes no final assistant message.");
    }
    let (manner, call) = shared.hear(asked, instance);
    let over = Over { shared: Arc::clone(shared), prompt: asked.prompt.clone(), call };
    match manner.refuses {
        Some(Refusal::Broken) => return refuse(500, "out of order"),
        Some(Refusal::Busy) => {
            let mut busy = refuse(429, "too many requests");
            busy.headers_mut().insert("retry-after", hyper::header::HeaderValue::from_static("1"));
            return busy;
        }
        None => {}
    }
    match asked.answer(&manner) {
        Ok(tokens) => {
            let (pieces, received) = mpsc::channel(1);
            shared.tasks.spawn(generate(tokens, manner, pieces, socket, over));
            let stream = Either::Right(Stream(received));
            Response::builder().header("content-type", "text/event-stream").body(stream).expect("a plain answer")
        }
        Err(nonsense) => {
            let refused = refuse(400, &nonsense.0);
            shared.nonsense.lock().push(nonsense.0);
            refused
        }
    }
}

impl Shared {
    /// Notes a call, and decides how it is answered.
    fn hear(&self, asked: &Asked, instance: usize) -> (Manner, usize) {
        let mut all = self.heard.lock();
        let heard = all.entry(asked.prompt.clone()).or_default();
        if heard.before.last() != Some(&asked.before) {
            heard.before.push(asked.before.clone());
        }
        let number = heard.calls.len();
        let manner = match self.polite {
            Some(pace) => Manner::polite(pace),
            None => Manner::choose(
                self.seed,
                asked,
                u32::try_from(number).unwrap_or(u32::MAX),
                heard.barren.contains(&instance),
            ),
        };
        if manner.may_be_barren() {
            heard.barren.insert(instance);
        } else {
            heard.barren.remove(&instance);
        }
        heard.calls.push(Call { instance, begun: Instant::now(), first_token: None, over: None });
        (manner, number)
    }
}

/// Notes when a call is over, however that comes.
#[derive(Debug)]
struct Over {
    shared: Arc<Shared>,
    prompt: String,
    call: usize,
}

impl Over {
    fn note(&self, note: impl FnOnce(&mut Call)) {
        if let Some(call) = self.shared.heard.lock().get_mut(&self.prompt).and_then(|one| one.calls.get_mut(self.call))
        {
            note(call);
        }
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.note(|call| call.over = Some(Instant::now()));
    }
}

/// The connection is to break here.
#[derive(Debug, thiserror::Error)]
#[error("broken off on purpose")]
struct Broken;

type Pieces = mpsc::Sender<Result<Bytes, Broken>>;

/// Sends the tokens, until they end, or it breaks off, or the client is gone.
async fn generate(tokens: Vec<String>, manner: Manner, pieces: Pieces, socket: Arc<Socket>, over: Over) {
    if !rest(&pieces, manner.thinks).await {
        return;
    }
    for (number, token) in tokens.iter().enumerate() {
        if let Some((_, how)) = manner.breaks.filter(|(after, _)| *after == number) {
            return break_off(how, &pieces, &socket).await;
        }
        let pause = manner.pause.filter(|(after, _)| *after == number).map_or(manner.pace, |(_, pause)| pause);
        if number > 0 && !rest(&pieces, pause).await {
            return;
        }
        if pieces.send(Ok(chunk(&json!({ "content": token }), None))).await.is_err() {
            return;
        }
        if number == 0 {
            over.note(|call| call.first_token = Some(Instant::now()));
        }
    }
    let _ = pieces.send(Ok(chunk(&json!({}), Some("stop")))).await;
    let _ = pieces.send(Ok(Bytes::from_static(b"data: [DONE]\n\n"))).await;
}

/// Waits. `false`: nobody listens any more.
async fn rest(pieces: &Pieces, pause: Duration) -> bool {
    pause.is_zero() || tokio::time::timeout(pause, pieces.closed()).await.is_err()
}

async fn break_off(how: Break, pieces: &Pieces, socket: &Socket) {
    if how == Break::Clean {
        return;
    }
    if how == Break::Reset {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
    let _ = pieces.send(Err(Broken)).await;
}

fn chunk(delta: &Value, reason: Option<&str>) -> Bytes {
    let choices = json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
    let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "truth", "choices": choices});
    format!("data: {chunk}\n\n").into()
}

fn plain(status: u16, body: &Value) -> Answer {
    let status = StatusCode::from_u16(status).expect("a status");
    let body = Either::Left(Full::new(body.to_string().into()));
    Response::builder().status(status).header("content-type", "application/json").body(body).expect("a plain answer")
}

fn refuse(status: u16, message: &str) -> Answer {
    plain(status, &json!({"error": {"message": message, "type": "server_error"}}))
}

/// The body of an answer.
#[derive(Debug)]
struct Stream(mpsc::Receiver<Result<Bytes, Broken>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(ready!(self.0.poll_recv(cx)).map(|piece| piece.map(Frame::data)))
    }
}
