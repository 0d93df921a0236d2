//! Bodies: a whole one, or a stream that follows a reply.
//!
//! A stream ends cleanly only after the terminal event. Anything else must look like the cut that it is, since clients
//! take a clean end for success; so it is an error, on which hyper aborts the connection. Only `EventSource` streams
//! may be ended at any time: their clients come back by themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body as HttpBody, Frame as HttpFrame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{DropGuard, WaitForCancellationFutureOwned};

use crate::protocols::stream::Framing;
use crate::replies::feed::{BrokenOff, Follower, Frame, Stage};
use crate::telemetry::{Metrics, StreamKind};

/// The body of an answer.
pub(super) enum Body {
    /// All of it; taken when it is sent.
    Whole(Bytes),
    /// A reply, as it is generated.
    Reply(Box<ReplyBody>),
    /// Events, as they come: of a conversation that goes on, or of a transcript.
    Events(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
    /// Audio, as it is made.
    Audio(Pin<Box<dyn Stream<Item = Result<Bytes, BrokenOff>> + Send>>),
    /// One that fails when it is polled next.
    Cut,
}

/// Follows a reply for a client.
pub(super) struct ReplyBody {
    pub(super) follower: Follower,
    pub(super) framing: Framing,
    pub(super) pulse: Pulse,
    pub(super) open: OpenStream,
    /// Ends a reply that is not stored when its client goes.
    pub(super) _cancel_on_drop: Option<DropGuard>,
    /// Ends an `EventSource` stream, which comes back.
    pub(super) rotation: Option<Rotation>,
    pub(super) begun: bool,
    pub(super) ended: Ended,
}

/// Where a stream stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Not,
    /// The terminal event was sent; what the format sends after it was not.
    Said,
    /// It ended as the format cannot tell but by a cut.
    Badly,
    Wholly,
}

/// Counts a stream as open for as long as it lives.
pub(super) struct OpenStream {
    metrics: Arc<Metrics>,
    kind: StreamKind,
    opened: std::time::Instant,
}

impl OpenStream {
    pub(super) fn new(metrics: &Arc<Metrics>, kind: StreamKind) -> Self {
        metrics.streams_open.of(kind).inc();
        Self { metrics: Arc::clone(metrics), kind, opened: std::time::Instant::now() }
    }

    /// Notes that an event goes to the client, which is that many events behind.
    pub(super) fn delivered(&self, frame: &Frame, behind: usize) {
        self.metrics.delivery_lag.observe(frame.stored.elapsed());
        self.metrics.buffer_depth.observe(behind as u64);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.metrics.streams_open.of(self.kind).dec();
        self.metrics.stream_age.of(self.kind).observe(self.opened.elapsed());
    }
}

/// A comment now and then on a silent stream, so that nothing between takes it for dead.
pub(super) struct Pulse {
    period: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Pulse {
    pub(super) fn new(period: Duration) -> Self {
        Self { period, sleep: Box::pin(tokio::time::sleep(period)) }
    }

    /// Ready when the stream was silent for a period.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        std::task::ready!(self.sleep.as_mut().poll(cx));
        self.sleep.as_mut().reset(Instant::now() + self.period);
        Poll::Ready(())
    }
}

/// When an `EventSource` stream is ended by us.
pub(super) struct Rotation {
    pub(super) age: Option<Pin<Box<Sleep>>>,
    pub(super) leaving: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Rotation {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(age) = &mut self.age
            && age.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        self.leaving.as_mut().poll(cx)
    }
}

/// What an `EventSource` is told first: how long to wait before it comes back, in milliseconds.
pub(super) fn retry_line() -> Bytes {
    // Spread out, so that a restart does not bring everybody back at once.
    let ms = 500 + crate::domain::ids::random_u64() % 1500;
    format!("retry: {ms}\n\n").into()
}

impl ReplyBody {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if !self.begun {
            self.begun = true;
            if self.rotation.is_some() {
                return Poll::Ready(Some(Ok(retry_line())));
            }
        }
        loop {
            match self.ended {
                Ended::Not => {}
                Ended::Said => {
                    self.ended = Ended::Wholly;
                    return Poll::Ready(self.framing.ending.map(|bytes| Ok(Bytes::from_static(bytes))));
                }
                Ended::Badly => return Poll::Ready(Some(Err(BrokenOff))),
                Ended::Wholly => return Poll::Ready(None),
            }
            match self.follower.poll_next(cx) {
                Poll::Ready(Some(Ok((frame, behind)))) => {
                    self.open.delivered(&frame, behind);
                    if frame.stage != Stage::Running {
                        let is_cut = self.framing.cut_at.contains(&frame.stage);
                        self.ended = if is_cut { Ended::Badly } else { Ended::Said };
                    }
                    if !frame.bytes.is_empty() {
                        return Poll::Ready(Some(Ok(frame.bytes)));
                    }
                }
                Poll::Ready(Some(Err(broken))) if self.rotation.is_none() => {
                    return Poll::Ready(Some(Err(broken)));
                }
                Poll::Ready(Some(Err(_))) => self.ended = Ended::Wholly,
                Poll::Ready(None) => self.ended = Ended::Said,
                Poll::Pending => return self.poll_silence(cx),
            }
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if let Some(rotation) = &mut self.rotation
            && rotation.poll(cx).is_ready()
        {
            self.ended = Ended::Wholly;
            return Poll::Ready(None);
        }
        while self.pulse.poll(cx).is_ready() {
            if let Some(bytes) = self.framing.heartbeat {
                return Poll::Ready(Some(Ok(Bytes::from_static(bytes))));
            }
        }
        Poll::Pending
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<HttpFrame<Bytes>, BrokenOff>>> {
        let next = match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Self::Reply(reply) => reply.poll_bytes(cx),
            Self::Events(stream) => stream.as_mut().poll_next(cx).map(|bytes| bytes.map(Ok)),
            Self::Audio(stream) => stream.as_mut().poll_next(cx),
            Self::Cut => return Poll::Ready(Some(Err(BrokenOff))),
        };
        if let Poll::Ready(Some(Err(BrokenOff))) = next {
            // hyper drops what it holds when a body fails. First it sends the headers and what was said: without those a
            // client would not know that there is a reply, and might ask again.
            *self = Self::Cut;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        next.map(|bytes| bytes.map(|result| result.map(HttpFrame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Reply(_) | Self::Events(_) | Self::Audio(_) | Self::Cut => SizeHint::default(),
        }
    }
}
