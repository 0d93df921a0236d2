//! The answer of a model server as it comes in, and the clocks that it is held against.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::decode::{Decoder, Deltas};
use super::delta::{Delta, UpstreamError};
use super::wire::Wire;
use super::{client, failure, unread};
use crate::services::Permit;

/// How long the end of the body is waited for after `[DONE]`, so that the connection can be used again.
const END_OF_BODY: Duration = Duration::from_millis(20);

/// How long more is waited for once a reason to stop was given: usage, `[DONE]`.
const AFTER_REASON: Duration = Duration::from_secs(10);

/// When an upstream is given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The first content is due; comments are none.
    pub(super) first: Instant,
    /// The longest gap after that; comments end it.
    pub(super) between: Duration,
    /// Everything is due.
    pub(super) total: Instant,
}

/// The deltas of one answer.
pub(super) struct HttpStream {
    body: reqwest::Body,
    wire: Wire,
    ready: Deltas,
    failure: Option<UpstreamError>,
    stage: Stage,
    limits: Limits,
    /// When bytes came last.
    heard: Instant,
    began: bool,
    sleep: Pin<Box<Sleep>>,
    /// Held until the body has ended, or is dropped.
    permit: Permit,
    on_failure: OnFailure,
    /// What was not understood, and was reported already.
    reported: [bool; unread::Piece::ALL.len()],
}

/// What is done with a failure before it is passed on.
pub(super) type OnFailure = Box<dyn Fn(&mut UpstreamError) + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    /// The output is complete; only the end of the body is missing.
    Draining,
    Ended,
}

impl HttpStream {
    pub(super) fn new(
        response: reqwest::Response,
        decoder: Decoder,
        limits: Limits,
        permit: Permit,
        on_failure: OnFailure,
    ) -> Self {
        let body = hyper::Response::<reqwest::Body>::from(response).into_body();
        let now = Instant::now();
        Self {
            body,
            wire: Wire::new(decoder),
            ready: Deltas::new(),
            failure: None,
            stage: Stage::Reading,
            limits,
            heard: now,
            began: false,
            sleep: Box::pin(sleep_until(limits.first.min(limits.total))),
            permit,
            on_failure,
            reported: Default::default(),
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delta, UpstreamError>>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(delta)));
            }
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Some(Err(failure)));
            }
            if self.stage == Stage::Ended {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.heard(&frame),
                Poll::Ready(end) => self.body_ended(end.and_then(Result::err)),
                Poll::Pending => {
                    ready!(self.poll_limit(cx));
                    self.ran_out();
                }
            }
        }
    }

    fn heard(&mut self, frame: &Frame<Bytes>) {
        // What comes after `[DONE]` does not count, and does not put off the end.
        let (Stage::Reading, Some(bytes)) = (self.stage, frame.data_ref()) else { return };
        self.heard = Instant::now();
        self.permit.heard();
        let fed = self.wire.feed(bytes, &mut self.ready);
        if !self.began && self.wire.has_begun() {
            self.began = true;
            self.permit.spoke();
        }
        self.note_unread();
        if fed.is_err() {
            self.conclude(Stage::Ended, fed);
        } else if self.wire.is_done() {
            let ended = self.wire.end(&mut self.ready);
            self.conclude(Stage::Draining, ended);
        }
    }

    fn body_ended(&mut self, error: Option<reqwest::Error>) {
        if self.stage == Stage::Draining {
            self.stage = Stage::Ended;
            return;
        }
        let ended = match error {
            None => self.wire.end(&mut self.ready),
            Some(error) => self.wire.cut(client::broken(error), &mut self.ready),
        };
        self.conclude(Stage::Ended, ended);
    }

    /// A limit has passed.
    fn ran_out(&mut self) {
        if self.stage == Stage::Draining {
            self.stage = Stage::Ended;
            return;
        }
        let (message, cause) = if Instant::now() >= self.limits.total {
            ("The reply took too long.", "the deadline of the reply passed")
        } else if self.began {
            ("The model server fell silent.", "no bytes came between two chunks in time")
        } else {
            ("The model server did not begin to answer in time.", "the first content did not come in time")
        };
        let ended = self.wire.cut(failure::unreachable(message, cause), &mut self.ready);
        self.conclude(Stage::Ended, ended);
    }

    /// Counts what could not be understood of the answer, and logs it once, without its text.
    fn note_unread(&mut self) {
        if !self.wire.unread().any() {
            return;
        }
        for (piece, count) in self.wire.unread().take() {
            let word = piece.as_str();
            self.permit.unread(word, count);
            if !std::mem::replace(&mut self.reported[piece as usize], true) {
                let service = self.permit.service().name();
                tracing::warn!(service, piece = word, "the model server sent something that was not understood");
            }
        }
    }

    /// It is known how the answer ends.
    fn conclude(&mut self, stage: Stage, ended: Result<(), UpstreamError>) {
        self.note_unread();
        let Err(mut failure) = ended else {
            self.stage = stage;
            self.permit.succeeded();
            return;
        };
        self.stage = Stage::Ended;
        (self.on_failure)(&mut failure);
        self.permit.failed(&failure.fault());
        self.failure = Some(failure);
    }

    /// Ready once the limit that counts now has passed. The timer is moved only when it would be late, or when it
    /// has gone off: not for every chunk.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let limit = self.limit();
            if limit < self.sleep.deadline() {
                self.sleep.as_mut().reset(limit);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if limit <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(limit);
        }
    }

    fn limit(&self) -> Instant {
        let own = match self.stage {
            Stage::Draining => self.heard + END_OF_BODY,
            _ if self.wire.gave_reason() => self.heard + AFTER_REASON.min(self.limits.between),
            _ if self.began => self.heard + self.limits.between,
            _ => self.limits.first,
        };
        own.min(self.limits.total)
    }
}
