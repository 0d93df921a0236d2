//! The times of a connection: pings and their answers, how long it may last, and that the server is to end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, Sleep};

use crate::http::server::Upgrades;

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "each is of another of its times")]
pub(super) struct Clock {
    age: Pin<Box<Sleep>>,
    is_over: bool,
    /// When the next ping is due, or its answer.
    next: Pin<Box<Sleep>>,
    period: Duration,
    /// Whether what is due next is the answer to a ping.
    has_pinged: bool,
    /// That ping has no answer yet.
    awaits: bool,
    /// Whether something went to or fro since the last ping: a client that is busy answers late.
    has_moved: bool,
    leave: BoxFuture<'static, ()>,
    is_leaving: bool,
    /// The server ends at once, or the client makes no progress.
    over: BoxFuture<'static, ()>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping is to be sent.
    Ping,
    /// The connection has lasted as long as it may, and nothing runs on it.
    Limit,
    /// The server is to end, and nothing runs on the connection.
    Leave,
    /// The client is gone, or the server ends at once.
    Over,
}

impl Clock {
    /// Of a connection that begins now. A third of a period is left for the answer to a ping.
    pub(super) fn start(period: Duration, age: Duration, upgrades: &Upgrades) -> Self {
        let (drain, abort, progress) =
            (upgrades.stop.drain.clone(), upgrades.stop.abort.clone(), std::sync::Arc::clone(upgrades.progress()));
        let over = async move {
            tokio::select! {
                () = abort.cancelled() => {}
                () = progress.over() => {}
            }
        };
        Self {
            age: Box::pin(tokio::time::sleep(age)),
            is_over: false,
            next: Box::pin(tokio::time::sleep(period)),
            period,
            has_pinged: false,
            awaits: false,
            has_moved: false,
            leave: drain.cancelled_owned().boxed(),
            is_leaving: false,
            over: over.boxed(),
        }
    }

    /// Whether the connection has lasted as long as it may.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Something was sent or came.
    pub(super) const fn moved(&mut self) {
        self.has_moved = true;
    }

    /// A ping was answered.
    pub(super) const fn answered(&mut self) {
        self.awaits = false;
    }

    /// What is due, of a connection on which nothing runs, or something.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, is_idle: bool) -> Poll<Due> {
        if self.over.poll_unpin(cx).is_ready() {
            return Poll::Ready(Due::Over);
        }
        self.is_leaving = self.is_leaving || self.leave.poll_unpin(cx).is_ready();
        self.is_over = self.is_over || self.age.as_mut().poll(cx).is_ready();
        if is_idle && self.is_leaving {
            return Poll::Ready(Due::Leave);
        }
        if is_idle && self.is_over {
            return Poll::Ready(Due::Limit);
        }
        while self.next.as_mut().poll(cx).is_ready() {
            let answer = self.period / 3;
            self.has_pinged = !self.has_pinged;
            if self.has_pinged {
                (self.awaits, self.has_moved) = (true, false);
                self.next.as_mut().reset(Instant::now() + answer);
                return Poll::Ready(Due::Ping);
            }
            if self.awaits && !self.has_moved {
                return Poll::Ready(Due::Over);
            }
            self.next.as_mut().reset(Instant::now() + self.period - answer);
        }
        Poll::Pending
    }
}
