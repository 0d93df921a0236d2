//! A model server of our own that speaks Chat Completions and is **not polite**: it says a known text, repeats
//! itself, chats before it continues, breaks off, hangs, and answers in every dialect met in the wild.
//!
//! A test scripts it by what a prompt contains, and reads afterwards what it was asked.

mod behaviour;
mod speech;
mod wire;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{HeaderMap, Method, Request, Response, Version, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

pub use behaviour::{Behaviour, Break, Manner, Prefill, Step, Tokens};
pub use wire::Wire;

use wire::ScriptBody;

/// The upstream, running in the test's own runtime until dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Running,
    Answered,
    /// The client hung up before the answer was over.
    HungUp,
}

/// A request for a completion.
#[derive(Debug, Clone)]
pub struct Heard {
    pub body: Value,
    pub headers: HeaderMap,
    #[allow(dead_code, reason = "one of the binaries looks at it")]
    pub version: Version,
    pub fate: Fate,
}

impl Heard {
    /// The messages, as they were sent.
    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().expect("a list of messages")
    }

    /// The role of each message.
    pub fn roles(&self) -> Vec<&str> {
        self.messages().iter().map(|message| message["role"].as_str().expect("a role")).collect()
    }
}

#[derive(Debug)]
struct Rule {
    about: String,
    behaviours: Vec<Behaviour>,
    used: usize,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    models: Mutex<Vec<String>>,
    heard: Mutex<Vec<Heard>>,
    complaints: Mutex<Vec<String>>,
}

impl Upstream {
    /// Starts it on a free port of this machine, polite as long as nothing else is said.
    pub async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// The same at this address.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared::default());
        *lock(&shared.models) = vec!["truth".to_owned(), "other".to_owned()];
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    /// The address for `LLM_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Lists further models.
    pub fn add_models(&self, names: impl IntoIterator<Item = String>) {
        lock(&self.shared.models).extend(names);
    }

    /// To prompts that contain `about`, behaves in this way.
    pub fn on(&self, about: &str, behaviour: impl Into<Behaviour>) {
        self.on_each(about, [behaviour.into()]);
    }

    /// To the requests for prompts that contain `about`, behaves in these ways in turn; the last one stays.
    pub fn on_each(&self, about: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        let behaviours: Vec<_> = behaviours.into_iter().collect();
        assert!(!behaviours.is_empty(), "at least one behaviour");
        lock(&self.shared.rules).insert(0, Rule { about: about.to_owned(), behaviours, used: 0 });
    }

    /// Everything that was asked about `about`, in order.
    pub fn heard(&self, about: &str) -> Vec<Heard> {
        let heard = lock(&self.shared.heard);
        heard.iter().filter(|heard| heard.body["messages"].to_string().contains(about)).cloned().collect()
    }

    /// The one request that was made about `about`.
    #[track_caller]
    pub fn heard_once(&self, about: &str) -> Heard {
        let mut heard = self.heard(about);
        assert_eq!(heard.len(), 1, "requests about {about}");
        heard.remove(0)
    }

    /// What a faithful upstream could not have been asked: a prefix that it never said, for one.
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.shared.complaints).clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
        if !std::thread::panicking() {
            assert_eq!(*lock(&self.shared.complaints), Vec::<String>::new(), "complaints of the upstream");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let socket = Arc::new(socket2::SockRef::from(&stream).try_clone().expect("a second handle"));
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&shared), Arc::clone(&socket)));
            // An error here is a broken connection, which is what some behaviours are about.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Body = Either<Full<Bytes>, ScriptBody>;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    socket: Arc<socket2::Socket>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    Ok(match (&head.method, head.uri.path()) {
        (&Method::GET, "/v1/models") => {
            let models = lock(&shared.models).clone();
            let data: Vec<_> = models.iter().map(|id| json!({"id": id, "object": "model", "owned_by": "us"})).collect();
            plain(200, &[], json!({"object": "list", "data": data}).to_string())
        }
        (&Method::POST, "/v1/chat/completions") => {
            let Ok(body) = body.collect().await else { return Ok(plain(400, &[], "cut short".to_owned())) };
            let body = serde_json::from_slice(&body.to_bytes()).expect("the server sends JSON");
            complete(body, (head.version, head.headers), shared, socket).await
        }
        _ => plain(404, &[], json!({"error": {"message": "no such path", "code": 404}}).to_string()),
    })
}

async fn complete(
    body: Value,
    (version, headers): (Version, HeaderMap),
    shared: Arc<Shared>,
    socket: Arc<socket2::Socket>,
) -> Response<Body> {
    let asked = speech::Asked::read(&body);
    let behaviour = choose(&shared, &asked.prompt);
    let number = {
        let mut heard = lock(&shared.heard);
        heard.push(Heard { body: body.clone(), headers, version, fate: Fate::Running });
        heard.len() - 1
    };
    let guard = FateGuard { shared: Arc::clone(&shared), number, answered: false };
    match behaviour {
        Behaviour::Status { status, headers, body } => {
            guard.answered();
            plain(status, &headers, body)
        }
        Behaviour::Hang => {
            let _guard = guard;
            std::future::pending().await
        }
        Behaviour::Any(..) => unreachable!("one of them was chosen"),
        Behaviour::Script(steps, wire) => ScriptBody::start(steps, wire, guard, socket),
        Behaviour::Say(manner) => match speech::say(&asked, &body, &manner) {
            Ok(steps) => ScriptBody::start(steps, manner.wire, guard, socket),
            Err(speech::Refusal::Politely(body)) => {
                guard.answered();
                plain(400, &[], body)
            }
            Err(speech::Refusal::Complaint(complaint)) => {
                lock(&shared.complaints).push(complaint.clone());
                plain(400, &[], complaint)
            }
        },
    }
}

fn choose(shared: &Shared, prompt: &str) -> Behaviour {
    let mut rules = lock(&shared.rules);
    let Some(rule) = rules.iter_mut().find(|rule| prompt.contains(&rule.about)) else {
        return Manner::polite().into();
    };
    let turn = rule.used.min(rule.behaviours.len() - 1);
    rule.used += 1;
    let mut behaviour = &rule.behaviours[turn];
    while let Behaviour::Any(chance, all) = behaviour {
        behaviour = &all[lock(chance).usize(..all.len())];
    }
    behaviour.clone()
}

fn plain(status: u16, headers: &[(&str, &str)], body: String) -> Response<Body> {
    let mut response = Response::builder().status(status);
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        response = response.header("content-type", "application/json");
    }
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Either::Left(Full::new(body.into()))).expect("a valid response")
}

/// Notes what became of a request when its answer is dropped.
#[derive(Debug)]
struct FateGuard {
    shared: Arc<Shared>,
    number: usize,
    answered: bool,
}

impl FateGuard {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for FateGuard {
    fn drop(&mut self) {
        let fate = if self.answered { Fate::Answered } else { Fate::HungUp };
        lock(&self.shared.heard)[self.number].fate = fate;
    }
}
