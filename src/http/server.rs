//! The server: connections in, answers out; HTTP/1.1 and, with prior knowledge, HTTP/2.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::UPGRADE;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{Connection, Connections, Limits, Refused, SWEEP};
use super::door::Door;
use super::progress::{Progress, Watched};
use super::sent::Sent;
use crate::telemetry::seldom::Seldom;

#[cfg(feature = "simulation")]
pub(crate) mod pipes;

/// How long a connection may stay without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Bytes read ahead of a connection at most.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// Bytes that wait in a stream of HTTP/2 at most, beside the piece that was given last.
const SEND_BUFFER: usize = 64 * 1024;

/// Pause after a failure to accept a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Between two lines of the log about the same kind of trouble with clients.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

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
pub(crate) async fn serve(listener: TcpListener, door: Door, side: Side, stop: Stop) {
    let tasks = TaskTracker::new();
    let connections = Connections::new(door.limits());
    let line = || Seldom::new(1, BETWEEN_LINES);
    let lines = Lines { failed: line(), refused: line(), ended: line() };
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let accepted = tokio::select! {
            () = stop.drain.cancelled() => break,
            accepted = listener.accept() => accepted,
            _ = sweep.tick() => {
                door.swept(side, &connections, &lines);
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => match connections.open(peer) {
                Ok(connection) => {
                    prepare(&stream, door.config().client_stall_timeout);
                    let (connection, stop) = (Arc::new(connection), stop.clone());
                    let upgrades = Upgrades { connection, stop, tasks: tasks.clone() };
                    let answers = Answers { door: door.clone(), side, peer: peer.ip(), upgrades };
                    tasks.spawn(serve_connection(stream, answers));
                }
                Err(refused) => door.refuse(&stream, refused, &lines),
            },
            Err(error) => {
                if let Some(times) = lines.failed.happened(1) {
                    tracing::warn!(%error, times, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    let ended = tasks.wait();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            _ = sweep.tick() => door.swept(side, &connections, &lines),
        }
    }
}

/// What clients can cause without end is logged now and then.
struct Lines {
    failed: Seldom,
    refused: Seldom,
    ended: Seldom,
}

impl Door {
    fn limits(&self) -> Limits {
        let config = self.config();
        Limits {
            all: config.max_connections,
            per_address: config.max_connections_per_address,
            handshake: config.handshake_timeout,
            stall: config.client_stall_timeout,
        }
    }

    /// Ends connections whose clients make no progress.
    fn swept(&self, side: Side, connections: &Connections, lines: &Lines) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        if side == Side::Public {
            self.metrics().connections_open.set(gauge(connections.count()));
        }
        self.metrics().buffered_bytes.set(gauge(self.budget().used()));
        for (fault, count) in connections.sweep() {
            self.metrics().connections_ended(fault.as_str(), count);
            if let Some(times) = lines.ended.happened(count as u64) {
                tracing::info!(fault = fault.as_str(), times, "ended connections whose clients make no progress");
            }
        }
    }

    /// Answers a connection that is not taken, as far as that can be done at once.
    fn refuse(&self, stream: &TcpStream, refused: Refused, lines: &Lines) {
        const ANSWER: &[u8] =
            b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n";
        let limit = match refused {
            Refused::All => "all",
            Refused::Address => "address",
        };
        self.metrics().connection_refused(limit);
        if let Some(times) = lines.refused.happened(1) {
            tracing::warn!(limit, times, "refused connections: there are as many as there may be");
        }
        let _ = stream.try_write(ANSWER);
    }
}

fn prepare(stream: &TcpStream, stall: Duration) {
    let socket = socket2::SockRef::from(stream);
    // A token is small and must not wait for more.
    let _ = socket.set_tcp_nodelay(true);
    // Finds out machines that are gone (RFC 5482). Whoever is only slow has more time: the system ends also clients that
    // take less than a packet at a time.
    let _ = socket.set_tcp_user_timeout(Some(stall * 4));
    let _ = socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
}

/// Serves one connection, in the version that its client speaks. Each version is boxed: a connection holds room for its
/// own, and most are HTTP/1.1 and idle.
async fn serve_connection(stream: TcpStream, answers: Answers) {
    // It counts until nobody has this any more.
    let Upgrades { connection, stop, .. } = answers.upgrades.clone();
    let progress = &connection.progress;
    let version = tokio::select! {
        version = speaks_http2(&stream) => version.ok(),
        // It never said a word.
        () = progress.over() => None,
        () = stop.drain.cancelled() => None,
    };
    match version {
        Some(true) => {
            progress.speaks_http2();
            Box::pin(serve_http2(stream, answers, stop)).await;
        }
        Some(false) => Box::pin(serve_http1(stream, answers, stop)).await,
        None => {}
    }
}

/// Whether a client begins with the preface of HTTP/2 (RFC 9113, 3.4).
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    // No method of HTTP/1.1 begins so.
    const PREFACE: &[u8] = b"PRI *";
    let mut begin = [0; PREFACE.len()];
    let mut pause = Duration::from_millis(1);
    loop {
        let read = stream.peek(&mut begin).await?;
        if read == 0 || begin[..read] != PREFACE[..read] {
            return Ok(false);
        }
        if read == PREFACE.len() {
            return Ok(true);
        }
        // The rest is on its way; who does not send it is asked less and less often.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

async fn serve_http1(stream: TcpStream, answers: Answers, stop: Stop) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT).max_buf_size(READ_BUFFER);
    let progress = Arc::clone(answers.upgrades.progress());
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&progress)));
    run(builder.serve_connection(io, answers).with_upgrades(), &progress, stop).await;
}

async fn serve_http2(stream: TcpStream, answers: Answers, stop: Stop) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE);
    builder.max_concurrent_streams(answers.door.config().max_http2_streams).max_send_buf_size(SEND_BUFFER);
    let progress = Arc::clone(answers.upgrades.progress());
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&progress)));
    run(builder.serve_connection(io, answers), &progress, stop).await;
}

/// A connection that can be asked to end after the answers that it is giving.
trait Graceful: Future {
    fn end(self: Pin<&mut Self>);
}

impl<I: Read + Write + Unpin + Send + 'static> Graceful for http1::UpgradeableConnection<I, Answers> {
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Graceful for http2::Connection<TokioIo<Watched>, Answers, TokioExecutor> {
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection to its end, or to that of the server.
async fn run(connection: impl Graceful, progress: &Progress, stop: Stop) {
    let mut connection = std::pin::pin!(connection);
    // What ends a connection early (a client that went, a stream that was broken off) is no event for a log.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = progress.over() => return,
        () = stop.drain.cancelled() => connection.as_mut().end(),
    }
    tokio::select! {
        _ = connection => {}
        () = progress.over() => {}
        () = stop.abort.cancelled() => {}
    }
}

/// The door as hyper calls it. What it does is boxed: hyper keeps room for it for as long as the connection is open.
struct Answers {
    door: Door,
    side: Side,
    peer: IpAddr,
    upgrades: Upgrades,
}

/// What a connection needs to go on as something else than HTTP: it stays counted and watched, and ends with the server.
#[derive(Clone)]
pub(super) struct Upgrades {
    connection: Arc<Connection>,
    pub(super) stop: Stop,
    pub(super) tasks: TaskTracker,
}

impl Upgrades {
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.connection.progress
    }
}

impl Service<Request<Incoming>> for Answers {
    type Response = Response<Sent>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Sent>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let progress = self.upgrades.progress();
        progress.asked();
        if request.headers().contains_key(UPGRADE) {
            request.extensions_mut().insert(self.upgrades.clone());
        }
        // Made first: if the answer is dropped before it is made, the request is over, too.
        let sent = Sent::new(self.door.budget(), Arc::clone(progress));
        let (door, side, peer) = (self.door.clone(), self.side, self.peer);
        Box::pin(async move {
            let answer = door.answer(request, side, peer).await;
            Ok(answer.map(|body| sent.with(body)))
        })
    }
}
