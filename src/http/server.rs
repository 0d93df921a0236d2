//! The server: connections in, answers out; HTTP/1.1 and, with prior knowledge, HTTP/2.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Edge;
use super::respond::Answer;

/// How long a client may take to send the head of a request. Also how long a connection may stay without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);

/// Bytes read ahead of a connection at most.
const READ_BUFFER: usize = 64 * 1024;

/// Pause after a failure to accept a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// TCP keepalive: finds out clients that are gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(40);

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Clients.
    Public,
    /// Probes and figures: whoever reaches it may have them.
    Admin,
}

/// How a server is stopped: first politely, then for good.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// No new connections; open ones end after the answer that they are giving.
    pub(crate) drain: CancellationToken,
    /// All connections end now.
    pub(crate) abort: CancellationToken,
}

/// Serves until it is drained, and all connections have ended.
pub(crate) async fn serve(listener: TcpListener, edge: Edge, side: Side, stop: Stop) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.drain.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                prepare(&stream, edge.inner.config.client_stall_timeout);
                let answers = Answers { edge: edge.clone(), side, peer: peer.ip() };
                connections.spawn(connection(stream, answers, stop.clone()));
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
async fn connection(stream: TcpStream, answers: Answers, stop: Stop) {
    let version = tokio::time::timeout(HEADER_TIMEOUT, speaks_http2(&stream)).await;
    match version {
        Ok(Ok(true)) => Box::pin(serve_http2(stream, answers, stop)).await,
        Ok(Ok(false)) => Box::pin(serve_http1(stream, answers, stop)).await,
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

async fn serve_http1(stream: TcpStream, answers: Answers, stop: Stop) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(READ_BUFFER);
    run(builder.serve_connection(TokioIo::new(stream), answers), stop).await;
}

async fn serve_http2(stream: TcpStream, answers: Answers, stop: Stop) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE);
    run(builder.serve_connection(TokioIo::new(stream), answers), stop).await;
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
struct Answers {
    edge: Edge,
    side: Side,
    peer: IpAddr,
}

impl Service<Request<Incoming>> for Answers {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (edge, side, peer) = (self.edge.clone(), self.side, self.peer);
        Box::pin(async move { Ok(edge.answer(request, side, peer).await) })
    }
}
