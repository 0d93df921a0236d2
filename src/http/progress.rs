//! What a connection does, and whether its client lets it: read by a sweeper, written by whoever moves bytes.
//!
//! - Until a request's head is there, its client has a time for it.
//! - Over HTTP/2, a client may give up only so many answers in a second, and send only so many frames that carry nothing.
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

use super::frames::{Counts, Frames};
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
    /// It sends frames that carry nothing.
    Frames,
}

/// Answers that a client may reset within a second over HTTP/2: work that it has done for nothing (CVE-2023-44487).
const MOST_RESETS: u32 = 500;

/// Frames over HTTP/2 that carry nothing, of which a client may send so many within a second. Some measure their connection by
/// pings, a few thousand where the way is short.
const MOST_CONTROL: u32 = 5000;

/// That more may be sent, it may say so often: at about a gigabyte in a second.
const MOST_UPDATES: u32 = 50_000;

impl Fault {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::Stalled => "stalled",
            Self::Resets => "resets",
            Self::Frames => "frames",
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
    /// Frames beside requests, since the last look.
    control: AtomicU32,
    updates: AtomicU32,
    fault: Mutex<Option<Fault>>,
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
            control: AtomicU32::new(0),
            updates: AtomicU32::new(0),
            fault: Mutex::default(),
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
            self.end(Fault::Resets);
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
        for count in [&self.resets, &self.control, &self.updates] {
            count.store(0, Ordering::Relaxed);
        }
        if self.fault().is_some() {
            // It is ending.
            return None;
        }
        let fault = if waits(self.head_since.load(Ordering::Relaxed), handshake) {
            Fault::NoRequest
        } else if waits(self.blocked_since.load(Ordering::Relaxed), stall) || self.streams_are_stalled(waits, stall) {
            Fault::Stalled
        } else {
            return None;
        };
        self.over.notify_one();
        Some(fault)
    }

    /// Frames have come beside requests.
    fn framed(&self, Counts { control, updates }: Counts) {
        let control = self.control.fetch_add(control, Ordering::Relaxed).saturating_add(control);
        let updates = self.updates.fetch_add(updates, Ordering::Relaxed).saturating_add(updates);
        if control > MOST_CONTROL || updates > MOST_UPDATES {
            self.end(Fault::Frames);
        }
    }

    /// Ends the connection at once.
    fn end(&self, fault: Fault) {
        *self.fault.lock() = Some(fault);
        self.over.notify_one();
    }

    /// What it was ended for before anybody looked.
    pub(super) fn fault(&self) -> Option<Fault> {
        *self.fault.lock()
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

/// A connection that is in use, though nothing is asked in HTTP.
pub(super) struct Busy(Arc<Progress>);

impl Busy {
    pub(super) fn new(progress: &Arc<Progress>) -> Self {
        progress.asked();
        Self(Arc::clone(progress))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.answered(None, true);
    }
}

/// A socket that tells what it does.
pub(super) struct Watched {
    stream: TcpStream,
    progress: Arc<Progress>,
    /// Of HTTP/2.
    frames: Option<Frames>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, progress: Arc<Progress>) -> Self {
        let frames = (!progress.is_http1()).then(Frames::new);
        Self { stream, progress, frames }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        match &mut this.frames {
            _ if read.is_empty() => {}
            Some(frames) => this.progress.framed(frames.take(read)),
            None => this.progress.read(),
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
