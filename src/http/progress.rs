//! What a connection does, and whether its client lets it: read by a sweeper, written by whoever moves bytes.
//!
//! - Until a request's head is there, its client has a time for it.
//! - Over HTTP/2, a client may give up only so many answers in a second.
//! - A socket that takes nothing, and an HTTP/2 stream whose window stays closed, have a time for the next byte. A client
//!   that is slow, but takes something, is never let go.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::sent::Delivery;

/// What is wrong with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not send the head of a request.
    NoRequest,
    /// It takes nothing of what it is sent.
    Stalled,
    /// It resets what it asks for.
    Resets,
}

/// Answers that a client may reset within a second over HTTP/2: work that it has done for nothing (CVE-2023-44487).
const MOST_RESETS: u32 = 500;

impl Fault {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::Stalled => "stalled",
            Self::Resets => "resets",
        }
    }
}

/// See the module. Times are in milliseconds since the server began, and at least 1; 0: not.
pub(super) struct Progress {
    begun: Instant,
    /// Since when the head of a request is awaited.
    head_since: AtomicU64,
    /// Since when the socket takes nothing.
    blocked_since: AtomicU64,
    /// Requests that are not yet answered to their end.
    active: AtomicUsize,
    /// Whether bytes that come while nothing is asked begin a request.
    is_http1: AtomicBool,
    /// Answers over HTTP/2.
    answers: Mutex<Vec<Arc<Delivery>>>,
    /// How many of these were not wanted, since the last look.
    resets: AtomicU32,
    over: Notify,
}

impl Progress {
    /// Of a connection that was just made.
    pub(super) fn new(begun: Instant) -> Self {
        let progress = Self {
            begun,
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            is_http1: AtomicBool::new(true),
            answers: Mutex::default(),
            resets: AtomicU32::new(0),
            over: Notify::new(),
        };
        progress.head_since.store(progress.now(), Ordering::Relaxed);
        progress
    }

    /// The time.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// HTTP/2 is spoken: much that comes is no request.
    pub(super) fn speaks_http2(&self) {
        self.is_http1.store(false, Ordering::Relaxed);
    }

    /// Whether HTTP/1 is spoken.
    pub(super) fn is_http1(&self) -> bool {
        self.is_http1.load(Ordering::Relaxed)
    }

    /// A request has come.
    pub(super) fn asked(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
    }

    /// A request is over: `whole`, or its answer was not wanted any more.
    pub(super) fn answered(&self, delivery: Option<&Arc<Delivery>>, whole: bool) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        let Some(delivery) = delivery else { return };
        self.answers.lock().retain(|other| !Arc::ptr_eq(other, delivery));
        if !whole && self.resets.fetch_add(1, Ordering::Relaxed) >= MOST_RESETS {
            self.over.notify_one();
        }
    }

    /// Looks after an answer.
    pub(super) fn look_after(&self, delivery: Arc<Delivery>) {
        self.answers.lock().push(delivery);
    }

    /// Ready when the connection is to end.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }

    /// Ends the connection if its client makes no progress.
    pub(super) fn sweep(&self, handshake: Duration, stall: Duration) -> Option<Fault> {
        let now = self.now();
        let waits = |since: u64, most: Duration| since != 0 && u128::from(now.saturating_sub(since)) > most.as_millis();
        let fault = if self.resets.swap(0, Ordering::Relaxed) > MOST_RESETS {
            Fault::Resets
        } else if waits(self.head_since.load(Ordering::Relaxed), handshake) {
            Fault::NoRequest
        } else if waits(self.blocked_since.load(Ordering::Relaxed), stall) || self.streams_are_stalled(waits, stall) {
            Fault::Stalled
        } else {
            return None;
        };
        self.over.notify_one();
        Some(fault)
    }

    /// Cuts the answers of which nothing is taken; whether that is all of them.
    fn streams_are_stalled(&self, waits: impl Fn(u64, Duration) -> bool, stall: Duration) -> bool {
        let answers = self.answers.lock();
        let stalled = answers.iter().filter(|delivery| waits(delivery.waits_since(), stall));
        let stalled = stalled.map(|delivery| delivery.cut()).count();
        stalled > 0 && stalled == answers.len()
    }

    fn read(&self) {
        if self.is_http1() && self.active.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn written<T>(&self, result: &Poll<io::Result<T>>) {
        let blocked = self.blocked_since.load(Ordering::Relaxed) != 0;
        match result {
            Poll::Pending if !blocked => self.blocked_since.store(self.now(), Ordering::Relaxed),
            Poll::Ready(_) if blocked => self.blocked_since.store(0, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// A socket that tells what it does.
pub(super) struct Watched {
    stream: TcpStream,
    progress: Arc<Progress>,
}

impl Watched {
    pub(super) const fn new(stream: TcpStream, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.progress.read();
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.progress.written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.progress.written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
