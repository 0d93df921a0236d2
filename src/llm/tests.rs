//! The client against a server that misbehaves on demand: the real bytes over a real socket.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use url::Url;

use super::call::Prefix;
use super::delta::{FinishReason, UpstreamErrorKind as Kind};
use super::dialect::Dialect;
use super::server::Server as Settings;
use super::testing::{after, call, user};
use super::*;
use crate::config::ContinuationPolicy;
use crate::config::values::Secret;
use crate::services::{Observer, Outcome};

/// What the server does with a request, in order.
#[derive(Clone)]
enum Step {
    /// Writes this.
    Send(String),
    /// Writes this, over and over, so often.
    Repeat(String, Duration),
    Wait(Duration),
    /// Does nothing until the client is gone.
    Hang,
    /// Closes the connection.
    Close,
}

use Step::{Close, Hang, Repeat, Send, Wait};

#[derive(Default)]
struct Server {
    /// What is done with each request for a chat; the last also with those after it.
    chats: Vec<Vec<Step>>,
    models: Vec<Step>,
    bodies: Mutex<Vec<Value>>,
    connections: AtomicUsize,
    lists: AtomicUsize,
    gone: Notify,
}

impl Server {
    async fn start(chats: Vec<Vec<Step>>, models: Vec<Step>) -> (Arc<Self>, Url) {
        let server = Arc::new(Self { chats, models, ..Self::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
        let this = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                this.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(Arc::clone(&this).serve(socket));
            }
        });
        (server, url)
    }

    async fn serve(self: Arc<Self>, mut socket: TcpStream) {
        while let Some((head, body)) = read_request(&mut socket).await {
            let steps = if head.starts_with("GET /v1/models ") {
                self.lists.fetch_add(1, Ordering::Relaxed);
                self.models.clone()
            } else {
                assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
                let mut bodies = self.bodies.lock();
                bodies.push(serde_json::from_slice(&body).unwrap());
                self.chats[(bodies.len() - 1).min(self.chats.len() - 1)].clone()
            };
            for step in steps {
                let alive = match step {
                    Send(text) => socket.write_all(text.as_bytes()).await.is_ok(),
                    Repeat(text, pause) => loop {
                        if socket.write_all(text.as_bytes()).await.is_err() {
                            break false;
                        }
                        sleep(pause).await;
                    },
                    Wait(pause) => {
                        sleep(pause).await;
                        true
                    }
                    Hang => socket.read(&mut [0]).await.is_ok_and(|read| read > 0),
                    Close => false,
                };
                if !alive {
                    self.gone.notify_one();
                    return;
                }
            }
        }
    }

    fn body(&self, index: usize) -> Value {
        self.bodies.lock()[index].clone()
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    while body.len() < length.unwrap_or(0) {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

/// A whole answer with a length.
fn answer(status: &str, headers: &str, body: &str) -> Step {
    Send(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

fn refusal(status: &str, message: &str) -> Vec<Step> {
    vec![answer(status, "", &json!({"error": {"message": message}}).to_string())]
}

/// The beginning of a stream.
fn headers() -> Step {
    Send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned())
}

/// A piece of a stream, as a chunk of the transfer encoding.
fn piece(text: &str) -> Step {
    Send(format!("{:x}\r\n{text}\r\n", text.len()))
}

fn content(text: &str) -> Step {
    piece(&format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]})))
}

fn stops() -> Step {
    piece("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
}

fn done() -> Step {
    Send(format!("{:x}\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", "data: [DONE]\n\n".len()))
}

fn speech(text: &str) -> Vec<Step> {
    vec![headers(), content(text), stops(), done()]
}

fn list(ids: &[&str], owner: &str) -> Vec<Step> {
    let models: Vec<_> = ids.iter().map(|id| json!({"id": id, "owned_by": owner})).collect();
    vec![answer("200 OK", "", &json!({"data": models}).to_string())]
}

/// The only server of an upstream.
fn only(server: Settings) -> Upstream {
    try_only(server).unwrap()
}

fn try_only(server: Settings) -> Result<Upstream, BuildError> {
    Upstream::build(Config { servers: vec![server], ..Config::default() })
}

/// An upstream that soon gives up. What the server does in time, it does in a fraction of it.
fn impatient(base_url: Url) -> Upstream {
    let limit = Duration::from_millis(600);
    let timeouts = Timeouts { first_content: limit, between_chunks: limit, ..Timeouts::default() };
    only(Settings { timeouts, ..Settings::at(base_url) })
}

fn upstream(base_url: Url) -> Upstream {
    only(Settings::at(base_url))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn hear(mut started: Started) -> (String, Result<FinishReason, UpstreamError>) {
    let (mut text, mut finish) = (String::new(), None);
    while let Some(delta) = started.deltas.next().await {
        match delta {
            Ok(Delta::Content { text: piece, .. }) => text += &piece,
            Ok(Delta::Finish(reason)) => finish = Some(reason),
            Ok(_) => {}
            Err(error) => {
                assert!(started.deltas.next().await.is_none(), "an error is the last item");
                return (text, Err(error));
            }
        }
    }
    (text, Ok(finish.expect("a proper end")))
}

async fn ask(upstream: &Upstream) -> (String, Result<FinishReason, UpstreamError>) {
    match upstream.ask(call("m", vec![user("Hi")]), soon()).await {
        Ok(started) => hear(started).await,
        Err(error) => (String::new(), Err(error)),
    }
}

/// One call of a server that does this; it has to fail.
async fn failure_of(steps: Vec<Step>) -> (String, UpstreamError) {
    let (_server, url) = Server::start(vec![steps], vec![]).await;
    let (text, result) = ask(&impatient(url)).await;
    (text, result.unwrap_err())
}

const STOP: Result<FinishReason, UpstreamError> = Ok(FinishReason::Stop);

fn is_stop(result: &Result<FinishReason, UpstreamError>) -> bool {
    matches!((result, STOP), (Ok(reason), Ok(stop)) if *reason == stop)
}

#[tokio::test]
async fn calls_share_a_connection_and_carry_the_key() {
    let (server, url) = Server::start(vec![speech("Hello")], vec![]).await;
    let upstream = only(Settings { keys: vec![Secret::new("sk")], ..Settings::at(url) });
    for _ in 0..5 {
        let (text, result) = ask(&upstream).await;
        assert!(text == "Hello" && is_stop(&result), "{result:?}");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
    assert_eq!(server.body(0)["messages"], json!([{"role": "user", "content": "Hi"}]));
}

#[tokio::test]
async fn bytes_that_come_one_by_one_are_the_same_speech() {
    let Send(whole) = content("Grüße!") else { unreachable!() };
    let data = whole.split_once("\r\n").unwrap().1.trim_end_matches("\r\n").to_owned() + "\n\ndata: [DONE]\n\n";
    let mut steps = vec![Send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned())];
    steps.extend(data.chars().map(|character| Send(character.to_string())));
    steps.push(Close);
    let (_server, url) = Server::start(vec![steps], vec![]).await;
    let (text, result) = ask(&upstream(url)).await;
    assert!(text == "Grüße!" && is_stop(&result), "{text} {result:?}");
}

#[tokio::test]
async fn comments_do_not_put_off_the_first_content() {
    let comments = Repeat("5\r\n: hm\n\r\n".to_owned(), Duration::from_millis(20));
    let begun = Instant::now();
    let (_, error) = failure_of(vec![headers(), comments]).await;
    assert!(error.error.message.contains("did not begin") && matches!(error.kind, Kind::Retry { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn comments_after_it_are_signs_of_life() {
    let mut steps = vec![headers(), content("a")];
    for _ in 0..8 {
        steps.extend([Wait(Duration::from_millis(100)), piece(": alive\n\n")]);
    }
    steps.extend([content("b"), stops(), done()]);
    let (_server, url) = Server::start(vec![steps], vec![]).await;
    let (text, result) = ask(&impatient(url)).await;
    assert!(text == "ab" && is_stop(&result), "{result:?}");
}

#[tokio::test]
async fn a_stalled_server_is_a_failure_before_and_after_the_headers_and_in_the_middle() {
    for (steps, output, words) in [
        (vec![Hang], "", "did not answer in time"),
        (vec![headers(), Hang], "", "did not begin"),
        (vec![headers(), content("a"), Hang], "a", "fell silent"),
    ] {
        let (text, error) = failure_of(steps).await;
        assert!(text == output && error.error.message.contains(words), "{error:?}");
        assert!(matches!(error.kind, Kind::Retry { .. }));
    }
}

#[tokio::test]
async fn a_broken_connection_is_a_failure_unless_the_output_is_complete() {
    let (text, error) = failure_of(vec![headers(), content("a"), Close]).await;
    assert!(text == "a" && matches!(error.kind, Kind::Retry { .. }), "{error:?}");
    let ended_early = vec![headers(), content("a"), Send("0\r\n\r\n".to_owned())];
    assert!(failure_of(ended_early).await.1.error.message.contains("broke off"));
    for end in [vec![stops(), Close], vec![stops(), Hang], vec![piece("data: [DONE]\n\n"), Close]] {
        let (_server, url) = Server::start(vec![[vec![headers(), content("a")], end].concat()], vec![]).await;
        let (text, result) = ask(&impatient(url)).await;
        assert!(text == "a" && is_stop(&result), "{result:?}");
    }
}

#[tokio::test]
async fn done_ends_a_stream_that_its_server_keeps_open() {
    let (_server, url) =
        Server::start(vec![vec![headers(), content("a"), piece("data: [DONE]\n\n"), Hang]], vec![]).await;
    let begun = Instant::now();
    let (text, result) = ask(&upstream(url)).await;
    assert!(text == "a" && is_stop(&result), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_unreachable_server_is_a_failure_at_once_and_hides_its_address() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_, result) = ask(&upstream(format!("http://{address}/v1?key=hidden").parse().unwrap())).await;
    let error = result.unwrap_err();
    assert!(error.error.message.contains("cannot be reached") && matches!(error.kind, Kind::Retry { .. }));
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
}

#[tokio::test]
async fn statuses_other_than_200_are_sorted() {
    let (_, error) = failure_of(vec![answer("502 Bad Gateway", "", "<html>")]).await;
    assert!(error.error.message.contains("web page"));
    let (_, error) = failure_of(vec![answer("429 Slow", "retry-after: 7\r\n", "{}")]).await;
    assert_eq!(error.kind, Kind::Retry { after: Some(Duration::from_secs(7)) });
    let (_, error) = failure_of(refusal("401 No", "bad key")).await;
    assert_eq!(error.kind, Kind::Credentials);
    let (_, error) = failure_of(vec![answer("302 Found", "location: http://elsewhere/\r\n", "")]).await;
    assert_eq!(error.kind, Kind::Request);
    let endless = vec![
        Send("HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()),
        Repeat(format!("1000\r\n{}\r\n", "x".repeat(0x1000)), Duration::ZERO),
    ];
    let (_, error) = failure_of(endless).await;
    assert!(error.cause.len() < 1000 && matches!(error.kind, Kind::Retry { .. }));
}

#[tokio::test]
async fn an_event_without_end_is_a_failure() {
    let endless = Repeat(format!("10000\r\n{}\r\n", "x".repeat(0x10000)), Duration::ZERO);
    let (_, error) = failure_of(vec![headers(), piece("data: "), endless]).await;
    assert!(error.error.message.contains("too much at once"), "{error:?}");
}

#[tokio::test]
async fn the_deadline_ends_a_server_that_still_generates() {
    let comments = Repeat("10\r\n: aaaaaaaaaaaaa\n\r\n".to_owned(), Duration::from_millis(10));
    let (_server, url) = Server::start(vec![vec![headers(), content("a"), comments]], vec![]).await;
    let deadline = Instant::now() + Duration::from_millis(500);
    let started = upstream(url).ask(call("m", vec![user("Hi")]), deadline).await.unwrap();
    let (text, result) = timeout(Duration::from_secs(20), hear(started)).await.expect("an end");
    assert!(text == "a" && result.unwrap_err().error.message.contains("too long"));
}

#[tokio::test]
async fn a_connection_that_died_while_it_idled_is_replaced() {
    let (server, url) = Server::start(vec![speech("a"), vec![Close], speech("b")], vec![]).await;
    let upstream = upstream(url);
    assert_eq!(ask(&upstream).await.0, "a");
    assert_eq!(ask(&upstream).await.0, "b");
    assert_eq!(server.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn dropping_the_stream_ends_the_call() {
    let (server, url) = Server::start(vec![vec![headers(), content("a"), Hang]], vec![]).await;
    let mut started = upstream(url).ask(call("m", vec![user("Hi")]), soon()).await.unwrap();
    assert!(started.deltas.next().await.unwrap().is_ok());
    drop(started);
    timeout(Duration::from_secs(20), server.gone.notified()).await.expect("the server sees it");
}

#[tokio::test]
async fn nothing_is_lost_when_next_is_dropped_over_and_over() {
    let words = (0..20).flat_map(|word| [Wait(Duration::from_millis(3)), content(&format!("{word} "))]);
    let steps = [vec![headers()], words.collect(), vec![stops(), done()]].concat();
    let (_server, url) = Server::start(vec![steps], vec![]).await;
    let mut started = upstream(url).ask(call("m", vec![user("Hi")]), soon()).await.unwrap();
    let mut text = String::new();
    loop {
        match timeout(Duration::from_micros(200), started.deltas.next()).await {
            Ok(Some(Ok(Delta::Content { text: piece, .. }))) => text += &piece,
            Ok(None) => break,
            Ok(Some(delta)) => drop(delta.unwrap()),
            Err(_) => {}
        }
    }
    let words: Vec<u32> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert!(words.into_iter().eq(0..20));
}

#[tokio::test]
async fn a_server_that_does_not_know_stream_options_is_asked_once() {
    let refused = refusal("400 Bad Request", "Unrecognized request argument supplied: stream_options");
    let (server, url) = Server::start(vec![refused, speech("a")], vec![]).await;
    let upstream = upstream(url);
    for _ in 0..2 {
        assert!(is_stop(&ask(&upstream).await.1));
    }
    let asked: Vec<_> = server.bodies.lock().iter().map(|body| body.get("stream_options").is_some()).collect();
    assert_eq!(asked, [true, false, false]);
}

fn interrupted() -> Call {
    after("Once upon", call("m", vec![user("Tell")]))
}

#[tokio::test]
async fn a_server_that_refuses_to_continue_is_instructed_in_words_from_then_on() {
    let refused = refusal("400 Bad Request", "roles must alternate, or something nobody foresaw");
    let (server, url) = Server::start(vec![refused, speech("upon a time")], list(&["m"], "x")).await;
    let upstream = upstream(url);
    for _ in 0..2 {
        let started = upstream.ask(interrupted(), soon()).await.unwrap();
        assert_eq!(started.continuation, Continuation::Instruct);
        assert!(is_stop(&hear(started).await.1));
    }
    let roles = |index: usize| server.body(index)["messages"].as_array().unwrap().last().unwrap()["role"].clone();
    assert_eq!([roles(0), roles(1), roles(2)], ["assistant", "user", "user"]);
    assert_eq!(server.bodies.lock().len(), 3);
}

#[tokio::test]
async fn a_request_that_is_wrong_in_either_form_stays_wrong_and_teaches_nothing() {
    let refused = refusal("400 Bad Request", "no such tool");
    let (server, url) = Server::start(vec![refused.clone(), refused, speech("x")], list(&["m"], "x")).await;
    let upstream = upstream(url);
    assert_eq!(upstream.ask(interrupted(), soon()).await.unwrap_err().kind, Kind::Request);
    assert_eq!(upstream.ask(interrupted(), soon()).await.unwrap().continuation, Continuation::Prefill);
    assert_eq!(server.bodies.lock().len(), 3);
}

#[tokio::test]
async fn a_refusal_in_the_stream_is_remembered_too() {
    let error = json!({"error": {"code": 400, "message": "Assistant response prefill is incompatible with thinking."}});
    let refused = vec![headers(), piece(&format!("data: {error}\n\n")), done()];
    let (_server, url) = Server::start(vec![refused, speech("upon a time")], list(&["m"], "x")).await;
    let upstream = upstream(url);
    let (_, result) = hear(upstream.ask(interrupted(), soon()).await.unwrap()).await;
    assert_eq!(result.unwrap_err().kind, Kind::Retry { after: None });
    let started = upstream.ask(interrupted(), soon()).await.unwrap();
    assert_eq!(started.continuation, Continuation::Instruct);
}

#[tokio::test]
async fn the_policy_and_the_server_decide_how_a_reply_is_continued() {
    let flags = json!(true);
    for (policy, owner, continuation, flagged) in [
        (ContinuationPolicy::Auto, "library", Continuation::Prefill, None),
        (ContinuationPolicy::Auto, "vllm", Continuation::Prefill, Some(&flags)),
        (ContinuationPolicy::Auto, "llamacpp", Continuation::Prefill, Some(&flags)),
        (ContinuationPolicy::Prefill, "library", Continuation::Prefill, Some(&flags)),
        (ContinuationPolicy::Instruct, "vllm", Continuation::Instruct, None),
    ] {
        let (server, url) = Server::start(vec![speech("x")], list(&["m"], owner)).await;
        let upstream = only(Settings { continuation: policy, ..Settings::at(url) });
        let started = upstream.ask(interrupted(), soon()).await.unwrap();
        assert_eq!(started.continuation, continuation);
        assert_eq!(server.body(0).get("continue_final_message"), flagged, "{policy:?} {owner}");
    }
    let (server, url) = Server::start(vec![speech("x")], vec![]).await;
    let off = only(Settings { continuation: ContinuationPolicy::Off, ..Settings::at(url.clone()) });
    assert_eq!(off.ask(interrupted(), soon()).await.unwrap_err().kind, Kind::Request);
    let open = Call { prefix: Some(Prefix::default()), ..interrupted() };
    assert_eq!(off.ask(open, soon()).await.unwrap().continuation, Continuation::Fresh);
    let openai = Settings { dialect: Some(Dialect::OpenAi), ..Settings::at(url) };
    let started = only(openai).ask(interrupted(), soon()).await.unwrap();
    assert_eq!((started.continuation, server.bodies.lock().len()), (Continuation::Instruct, 2));
}

#[tokio::test]
async fn models_are_resolved_against_the_list_where_there_is_one() {
    let (server, url) = Server::start(vec![speech("x")], list(&["nomic-embed", "qwen", "echo"], "library")).await;
    let upstream = upstream(url.clone());
    assert_eq!(upstream.resolve_model(None).await.unwrap(), "qwen");
    assert_eq!(upstream.resolve_model(Some("qwen")).await.unwrap(), "qwen");
    assert_eq!(upstream.resolve_model(Some("eliza")).await.unwrap(), "eliza");
    let unknown = upstream.resolve_model(Some("gpt")).await;
    assert!(matches!(unknown, Err(ResolveError::Unknown { model }) if model == "gpt"));
    assert_eq!(server.lists.load(Ordering::Relaxed), 1, "a name that is not in it is no reason to fetch it at once");
    let ids: Vec<_> = upstream.models().await.unwrap().into_iter().map(|model| model.id).collect();
    assert_eq!(ids, ["nomic-embed", "qwen", "echo", "eliza", "echo-50ms"]);

    let started = upstream.ask(call("echo", vec![user("Hi")]), soon()).await.unwrap();
    assert_eq!(hear(started).await.0, "x", "what the server lists is the server's");
    let started = upstream.ask(call("eliza", vec![user("Hello")]), soon()).await.unwrap();
    assert_eq!(hear(started).await.0, "HOW DO YOU DO. PLEASE STATE YOUR PROBLEM");

    let configured = only(Settings { model: Some("gpt".into()), ..Settings::at(url) });
    assert_eq!(configured.resolve_model(None).await.unwrap(), "gpt");
    assert_eq!(configured.resolve_model(Some("gpt")).await.unwrap(), "gpt");
}

#[tokio::test]
async fn without_a_list_names_are_passed_on_and_nobody_waits_long() {
    let (_server, url) = Server::start(vec![speech("x")], refusal("404 Not Found", "no list")).await;
    let upstream = upstream(url);
    assert_eq!(upstream.resolve_model(Some("any")).await.unwrap(), "any");
    assert!(matches!(upstream.resolve_model(None).await, Err(ResolveError::Upstream(_))));
    assert!(upstream.models().await.is_err());
    let (_server, url) = Server::start(vec![speech("x")], vec![Hang]).await;
    let begun = Instant::now();
    assert_eq!(self::upstream(url).resolve_model(Some("any")).await.unwrap(), "any");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_a_server_there_are_the_built_in_models() {
    let upstream = Upstream::build(Config::default()).unwrap();
    assert_eq!(upstream.resolve_model(None).await.unwrap(), "eliza");
    assert_eq!(upstream.resolve_model(Some("echo-3ms")).await.unwrap(), "echo-3ms");
    assert!(upstream.resolve_model(Some("gpt")).await.is_err());
    assert_eq!(upstream.models().await.unwrap().len(), 3);
    let started = upstream.ask(after("one", call("echo", vec![user("one two")])), soon()).await.unwrap();
    assert_eq!(started.continuation, Continuation::Prefill);
    assert_eq!(hear(started).await.0, " two");
    let with = |model: &str| Upstream::build(Config { model: Some(model.to_owned()), ..Config::default() });
    assert_eq!(with("echo-50ms").unwrap().resolve_model(None).await.unwrap(), "echo-50ms");
    assert!(matches!(with("gpt"), Err(BuildError::Model { model }) if model == "gpt"));
}

#[derive(Debug, Default)]
struct Notes(Mutex<Vec<&'static str>>);

impl Observer for Notes {
    fn answered(&self, _: Duration) {
        self.0.lock().push("answered");
    }

    fn began(&self, _: Duration) {
        self.0.lock().push("began");
    }

    fn ended(&self, outcome: Outcome, _: Duration) {
        self.0.lock().push(match outcome {
            Outcome::Completed => "completed",
            Outcome::Failed(kind) => kind,
            Outcome::Dropped => "dropped",
        });
    }
}

#[tokio::test]
async fn every_call_is_observed_from_its_start_to_its_one_end() {
    let chats =
        vec![speech("a"), vec![headers(), content("a"), Hang], vec![headers(), done()], refusal("400 No", "no")];
    let (_server, url) = Server::start(chats, vec![]).await;
    let notes = Arc::new(Notes::default());
    let observer = Arc::clone(&notes) as Arc<dyn Observer>;
    let upstream = only(Settings { observer, ..Settings::at(url) });
    let heard = || std::mem::take(&mut *notes.0.lock());
    ask(&upstream).await.1.unwrap();
    assert_eq!(heard(), ["answered", "began", "completed"]);
    let mut started = upstream.ask(call("m", vec![user("Hi")]), soon()).await.unwrap();
    started.deltas.next().await;
    drop(started);
    assert_eq!(heard(), ["answered", "began", "dropped"]);
    ask(&upstream).await.1.unwrap_err();
    assert_eq!(heard(), ["answered", "unavailable"]);
    ask(&upstream).await.1.unwrap_err();
    assert_eq!(heard(), ["request"]);
}

#[test]
fn an_address_or_a_key_that_cannot_be_used_is_refused() {
    let build = |url: &str, key: &str| {
        try_only(Settings { keys: vec![Secret::new(key)], ..Settings::at(url.parse().unwrap()) }).map(drop)
    };
    assert!(matches!(build("ftp://localhost/v1", ""), Err(BuildError::Service { .. })));
    assert!(matches!(build("http://localhost/v1", "a\nb"), Err(BuildError::Key)));
    assert!(build("https://localhost/v1", "sk").is_ok());
}
