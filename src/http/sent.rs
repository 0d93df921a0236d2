//! An answer's body on its way through a connection: in pieces, within the budget of memory, and watched.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

use super::body::Body;
use super::budget::Budget;
use super::progress::Progress;
use crate::replies::feed::BrokenOff;

/// The longest piece that a connection is given: that a client takes the next one shows that it reads.
const PIECE: usize = 64 << 10;

/// See the module.
pub(super) struct Sent {
    held: Held,
    /// Whether all of it was given to the connection.
    ended: bool,
    budget: Arc<Budget>,
    progress: Arc<Progress>,
}

enum Held {
    /// HTTP/1: the socket tells whether the client reads.
    Here(InPieces),
    /// HTTP/2: a stream has a window of its own.
    Watched(Arc<Delivery>),
}

/// An answer over HTTP/2.
pub(super) struct Delivery {
    /// Since when the client has not taken what it was given, see [`Progress::now`]. 0: it waits for us.
    since: AtomicU64,
    body: Mutex<InPieces>,
}

struct InPieces {
    body: Body,
    /// Of something longer than a piece, what was not given yet.
    rest: Bytes,
}

impl Sent {
    /// Of a request that is not answered yet.
    pub(super) fn new(budget: &Arc<Budget>, progress: Arc<Progress>) -> Self {
        let held = if progress.is_http1() {
            Held::Here(InPieces::default())
        } else {
            let delivery = Arc::new(Delivery { since: AtomicU64::new(0), body: Mutex::default() });
            progress.look_after(Arc::clone(&delivery));
            Held::Watched(delivery)
        };
        Self { held, ended: false, budget: Arc::clone(budget), progress }
    }

    /// The answer is this.
    pub(super) fn with(mut self, body: Body) -> Self {
        let pieces = InPieces { body, rest: Bytes::new() };
        self.ended = pieces.is_end();
        match &mut self.held {
            Held::Here(held) => *held = pieces,
            Held::Watched(delivery) => {
                *delivery.body.lock() = pieces;
                delivery.since.store(self.progress.now(), Ordering::Relaxed);
            }
        }
        self
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        match &self.held {
            Held::Here(_) => self.progress.answered(None, true),
            Held::Watched(delivery) => self.progress.answered(Some(delivery), self.ended),
        }
    }
}

impl Delivery {
    pub(super) fn waits_since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Gives up what it holds. When it is asked for more, the stream is reset.
    pub(super) fn cut(&self) {
        *self.body.lock() = InPieces { body: Body::Cut, rest: Bytes::new() };
    }
}

impl Default for InPieces {
    fn default() -> Self {
        Self { body: Body::Whole(Bytes::new()), rest: Bytes::new() }
    }
}

impl InPieces {
    fn poll(&mut self, cx: &mut Context<'_>, budget: &Arc<Budget>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                Some(Ok(frame)) => frame,
            };
            self.rest = frame.into_data().unwrap_or_default();
            // What is whole was counted when it was made.
            if self.rest.len() > PIECE && !matches!(self.body, Body::Whole(_)) {
                let mut share = budget.share();
                if share.try_grow(self.rest.len()).is_err() {
                    // It can be rejoined when there is room.
                    self.rest = Bytes::new();
                    self.body = Body::Cut;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.rest = share.around(std::mem::take(&mut self.rest));
            }
        }
        Poll::Ready(Some(Ok(self.rest.split_to(self.rest.len().min(PIECE)))))
    }

    fn is_end(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.size_hint().exact() {
            Some(size) => SizeHint::with_exact(size + self.rest.len() as u64),
            None => SizeHint::default(),
        }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        let next = match &mut this.held {
            Held::Here(pieces) => pieces.poll(cx, &this.budget),
            Held::Watched(delivery) => {
                let next = delivery.body.lock().poll(cx, &this.budget);
                delivery.since.store(if next.is_pending() { 0 } else { this.progress.now() }, Ordering::Relaxed);
                next
            }
        };
        // What is known to be the end is not asked for.
        this.ended = matches!(next, Poll::Ready(None)) || this.is_end_stream();
        next.map(|bytes| bytes.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.held {
            Held::Here(pieces) => pieces.is_end(),
            Held::Watched(delivery) => delivery.body.lock().is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.held {
            Held::Here(pieces) => pieces.size_hint(),
            Held::Watched(delivery) => delivery.body.lock().size_hint(),
        }
    }
}
