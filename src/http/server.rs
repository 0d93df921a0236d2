//! The server: connections in, answers out; HTTP/1.1 and, with prior knowledge, HTTP/2.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::Edge;
use super::respond::{self, Answer};
use super::routes::{self, Call, Unrouted};
use crate::domain::ids::random_u64;

/// How long a client may take to send the head of a request. Also how long a connection may stay without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);

/// Bytes read ahead of a connection at most.
const READ_BUFFER: usize = 64 * 1024;

/// Pause after a failure to accept a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// TCP keepalive: finds out clients that are gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(40);

/// How a server is stopped: first politely, then for good.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// No new connections; open ones end after the answer that they are giving.
    pub(crate) drain: CancellationToken,
    /// All connections end now.
    pub(crate) abort: CancellationToken,
}

/// Serves until it is drained, and all connections have ended.
pub(crate) async fn serve(listener: TcpListener, edge: Edge, stop: Stop) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.drain.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                prepare(&stream, edge.inner.config.client_stall_timeout);
                connections.spawn(connection(stream, edge.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn prepare(stream: &TcpStream, stall: Duration) {
    let socket = socket2::SockRef::from(stream);
    // A token is small and must not wait for more.
    let _ = socket.set_tcp_nodelay(true);
    // A client that takes nothing of what it is sent holds its socket, and that not for ever (RFC 5482).
    let _ = socket.set_tcp_user_timeout(Some(stall));
    let _ = socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
}

/// Serves one connection, in the version that its client speaks. Each version is boxed: a connection holds room for its
/// own, and most are HTTP/1.1 and idle.
async fn connection(stream: TcpStream, edge: Edge, stop: Stop) {
    let version = tokio::time::timeout(HEADER_TIMEOUT, speaks_http2(&stream)).await;
    match version {
        Ok(Ok(true)) => Box::pin(serve_http2(stream, edge, stop)).await,
        Ok(Ok(false)) => Box::pin(serve_http1(stream, edge, stop)).await,
        // It went, or never said a word.
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Whether a client begins with the preface of HTTP/2 (RFC 9113, 3.4).
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    // No method of HTTP/1.1 begins so.
    const PREFACE: &[u8] = b"PRI *";
    let mut begin = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut begin).await?;
        if read == 0 || begin[..read] != PREFACE[..read] {
            return Ok(false);
        }
        if read == PREFACE.len() {
            return Ok(true);
        }
        // The rest is on its way.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn serve_http1(stream: TcpStream, edge: Edge, stop: Stop) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(READ_BUFFER);
    run(builder.serve_connection(TokioIo::new(stream), Answers(edge)), stop).await;
}

async fn serve_http2(stream: TcpStream, edge: Edge, stop: Stop) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE);
    run(builder.serve_connection(TokioIo::new(stream), Answers(edge)), stop).await;
}

/// Runs a connection to its end, or to that of the server.
async fn run(connection: impl GracefulConnection, stop: Stop) {
    let mut connection = std::pin::pin!(connection);
    // What ends a connection early (a client that went, a stream that was broken off) is no event for a log.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = stop.abort.cancelled() => {}
    }
}

/// The edge as hyper calls it. What it does is boxed: hyper keeps room for it for as long as the connection is open.
struct Answers(Edge);

impl Service<Request<Incoming>> for Answers {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let edge = self.0.clone();
        Box::pin(async move { Ok(edge.answer(request).await) })
    }
}

impl Edge {
    /// Answers any request.
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let id = request_id(request.headers().get("x-request-id"));
        let cors = if request.method() == Method::OPTIONS {
            self.inner.config.cors_origins.preflight(request.headers())
        } else {
            self.inner.config.cors_origins.headers(request.headers().get(header::ORIGIN))
        };
        let mut answer = self.dispatch(request, &id).await;
        let headers = answer.headers_mut();
        headers.insert(HeaderName::from_static("x-request-id"), id);
        if self.inner.rotate.is_cancelled() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers.extend(cors);
        answer
    }

    async fn dispatch(&self, request: Request<Incoming>, id: &HeaderValue) -> Answer {
        if request.method() == Method::OPTIONS {
            return respond::empty(StatusCode::NO_CONTENT);
        }
        let found = routes::find(request.method(), request.uri().path());
        let upgrade = unspoken_upgrade(request.headers(), found.is_ok());
        let (route, variables) = match found {
            Err(Unrouted::Unknown(error)) => return respond::error(&error),
            _ if upgrade.is_some() => return respond::upgrade_required(upgrade.unwrap_or_default()),
            Ok(found) => found,
            Err(Unrouted::Method { error, allow }) => {
                let mut answer = respond::error(&error);
                answer.headers_mut().extend(HeaderValue::from_str(&allow).map(|value| (header::ALLOW, value)));
                return answer;
            }
        };
        let span = crate::telemetry::request_span(&route.name, id, request.headers());
        let answer = (route.handler)(
            self,
            Call::new(request, crate::domain::caller::Caller::anonymous(crate::domain::caller::Scopes::ALL), variables),
        )
        .instrument(span)
        .await;
        let answer = answer.unwrap_or_else(|failure| failure.answer());
        self.inner.metrics.requests(&route.name, answer.status().as_u16());
        answer
    }
}

/// The protocol that a client wants to go on with and that is not spoken here. What is only offered is none: with a
/// request that is answered all the same, clients of Java offer `h2c`. A WebSocket is never only offered.
fn unspoken_upgrade(headers: &HeaderMap, is_answered: bool) -> Option<&str> {
    let asks = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    if !asks.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let protocols = headers.get(header::UPGRADE)?.to_str().ok()?;
    let is = |name: &str| protocols.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case(name));
    (is("websocket") || !is_answered && !is("h2c")).then_some(protocols)
}

/// The client's own id of the request, if it is one that may stand in a log, or a new one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let fits = |id: &&HeaderValue| id.len() <= 128 && id.to_str().is_ok_and(|id| !id.is_empty());
    given.filter(fits).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&format!("req_{:016x}", random_u64())).expect("hexadecimal digits are ASCII")
    })
}
