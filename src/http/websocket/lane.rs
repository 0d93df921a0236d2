//! A lane: requests that are answered one after the other, and the reply that is followed just now.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio_util::sync::DropGuard;

use super::held::Line;
use crate::domain::ids::ReplyId;
use crate::http::body::OpenStream;
use crate::http::budget::Share;
use crate::http::failure::Failure;
use crate::protocols::request::CreateResponse;
use crate::protocols::websocket::{self, Messages};
use crate::replies::feed::{Feed, Follower, Stage};

/// A lane of a connection.
pub(super) struct Lane {
    /// Its name; that of the lane of requests that name none is empty.
    pub(super) name: Option<String>,
    queue: VecDeque<Asked>,
    now: Now,
}

/// What a client asks for.
pub(super) enum Asked {
    /// A reply.
    Create {
        request: Box<CreateResponse>,
        generate: bool,
        /// Held until the request is stored, or refused.
        share: Share,
    },
    /// A reply that there is.
    Retrieve { reply: ReplyId, from: u64 },
}

/// A reply to follow.
pub(super) struct Started {
    pub(super) feed: Arc<Feed>,
    pub(super) from: u64,
    /// Ends a reply that is not stored when its client goes.
    pub(super) cancel_on_drop: Option<DropGuard>,
    pub(super) open: OpenStream,
}

enum Now {
    Idle,
    Starting(Starting),
    Following(Box<Following>),
}

/// A request on its way, and what is to be known of it then.
pub(super) struct Starting {
    pub(super) starts: BoxFuture<'static, Result<Started, Failure>>,
    pub(super) about: About,
}

/// What has to be known of a request once it is answered.
#[derive(Default)]
pub(super) struct About {
    /// The reply that it follows, and that is held for this connection.
    pub(super) follows: Option<ReplyId>,
    /// Held at its end, for the next to follow: it is stored nowhere.
    pub(super) holds: Option<Line>,
}

struct Following {
    follower: Follower,
    feed: Arc<Feed>,
    open: OpenStream,
    about: About,
    _cancel_on_drop: Option<DropGuard>,
}

/// What a lane has to tell.
pub(super) enum Told {
    /// A message.
    Message(Bytes),
    /// The last message of a reply.
    Ended { message: Bytes, failed: bool, feed: Arc<Feed>, about: About },
    /// A request is refused.
    Refused { error: Failure, about: About },
    /// A reply goes on elsewhere, and can be rejoined.
    Broken,
    /// The next request is to be started by [`Lane::start`].
    Next(Asked),
}

impl Lane {
    pub(super) const fn new(name: Option<String>) -> Self {
        Self { name, queue: VecDeque::new(), now: Now::Idle }
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, asked: Asked) {
        self.queue.push_back(asked);
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.now, Now::Idle) && self.queue.is_empty()
    }

    pub(super) fn start(&mut self, starting: Starting) {
        self.now = Now::Starting(starting);
    }

    /// What there is to tell next.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        loop {
            match &mut self.now {
                Now::Idle => {
                    return self.queue.pop_front().map_or(Poll::Pending, |asked| Poll::Ready(Told::Next(asked)));
                }
                Now::Starting(Starting { starts, about }) => {
                    let (started, about) = (ready!(starts.as_mut().poll(cx)), std::mem::take(about));
                    match started {
                        Ok(started) => self.now = Now::Following(Box::new(Following::new(started, about))),
                        Err(error) => {
                            self.now = Now::Idle;
                            return Poll::Ready(Told::Refused { error, about });
                        }
                    }
                }
                Now::Following(following) => {
                    let told = ready!(following.poll(cx));
                    if !matches!(told, Some(Told::Message(_))) {
                        self.now = Now::Idle;
                    }
                    if let Some(told) = told {
                        return Poll::Ready(told.in_lane(self.name.as_deref()));
                    }
                }
            }
        }
    }
}

impl Following {
    fn new(Started { feed, from, cancel_on_drop, open }: Started, about: About) -> Self {
        let follower = Follower::new(Arc::clone(&feed), &Messages, from);
        Self { follower, feed, open, about, _cancel_on_drop: cancel_on_drop }
    }

    /// The next message. `None`: there is nothing more to tell.
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Told>> {
        let Some(next) = ready!(self.follower.poll_next(cx)) else { return Poll::Ready(None) };
        let Ok((frame, behind)) = next else { return Poll::Ready(Some(Told::Broken)) };
        self.open.delivered(&frame, behind);
        let message = frame.bytes;
        Poll::Ready(Some(match frame.stage {
            Stage::Running => Told::Message(message),
            stage => {
                let (feed, about) = (Arc::clone(&self.feed), std::mem::take(&mut self.about));
                Told::Ended { message, failed: stage == Stage::Failed, feed, about }
            }
        }))
    }
}

impl Told {
    fn in_lane(self, lane: Option<&str>) -> Self {
        let Some(lane) = lane else { return self };
        match self {
            Self::Message(message) => Self::Message(websocket::in_lane(lane, &message).into()),
            Self::Ended { message, failed, feed, about } => {
                Self::Ended { message: websocket::in_lane(lane, &message).into(), failed, feed, about }
            }
            told => told,
        }
    }
}
