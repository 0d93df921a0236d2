//! A request of a client on its way to a reply.

use futures_util::FutureExt;
use hyper::header::HeaderMap;
use tokio::time::Instant;
use tracing::Instrument;

use super::{ROUTE, Session};
use crate::domain::caller::Caller;
use crate::domain::items::InputItem;
use crate::http::Edge;
use crate::http::body::OpenStream;
use crate::http::dispatch::{UNKNOWN_AFTER, request_id};
use crate::http::failure::Failure;
use crate::http::handlers::responses::command;
use crate::http::request::hold_recordings;
use crate::http::websocket::held::Line;
use crate::http::websocket::lane::{About, Asked, Started, Starting};
use crate::protocols::request::CreateResponse;
use crate::replies::command::{NewReply, Placement};
use crate::telemetry::StreamKind;

impl Session {
    /// Begins with what a client asks for.
    pub(super) fn starting(&self, asked: Asked) -> Starting {
        let (edge, caller) = (self.edge.clone(), self.caller.clone());
        let (starts, about) = match asked {
            Asked::Retrieve { reply, from } => {
                let starts = async move {
                    let feed = edge.inner.replies.follow(&caller, reply, from).await?;
                    let open = OpenStream::new(&edge.inner.metrics, StreamKind::Reply);
                    Ok(Started { feed, from, cancel_on_drop: None, open })
                };
                (unhurried(self.edge.clone(), starts).boxed(), About::default())
            }
            Asked::Create { request, generate, mut share } => {
                let (new, about) = self.command(*request, generate);
                let starts = async move {
                    hold_recordings(&mut share, &new.input).await?;
                    let started = create(&edge, &caller, new, generate).await?;
                    drop(share);
                    Ok(started)
                };
                (unhurried(self.edge.clone(), starts).boxed(), about)
            }
        };
        let id = request_id(None);
        let span = crate::telemetry::request_span(ROUTE, &id, &HeaderMap::new());
        Starting { starts: starts.instrument(span).boxed(), about }
    }

    /// What a request asks for; replies that are held for this connection are put into their place.
    fn command(&self, request: CreateResponse, generate: bool) -> (NewReply, About) {
        let mut new = command(request, None);
        for item in &mut new.input {
            if let InputItem::Reference { id } = item
                && let Some(known) = self.held.item(id)
            {
                *item = known;
            }
        }
        let previous = match new.place {
            Placement::After(reply) => self.held.get(reply).map(|held| (reply, held)),
            _ => None,
        };
        let follows = previous.as_ref().map(|(reply, _)| *reply);
        if let Some((reply, held)) = &previous {
            (new.place, new.follows) = (held.place(), Some(*reply));
            new.input.splice(..0, held.told());
        }
        let line = Line { place: new.place, before: previous.map(|(_, held)| held) };
        let holds = (!new.params.store || !generate).then_some(line);
        (new, About { follows, holds })
    }
}

async fn create(edge: &Edge, caller: &Caller, new: NewReply, generate: bool) -> Result<Started, Failure> {
    let replies = &edge.inner.replies;
    let (feed, cancel_on_drop) = if generate {
        let joined = replies.create(caller, new).await?;
        (joined.feed, joined.cancel_on_drop)
    } else {
        (replies.warm_up(caller, new).await?, None)
    };
    edge.inner.metrics.requests(ROUTE, 200);
    let open = OpenStream::new(&edge.inner.metrics, StreamKind::Reply);
    Ok(Started { feed, from: 0, cancel_on_drop, open })
}

/// What is unknown is not told sooner than over HTTP.
async fn unhurried<T>(edge: Edge, starts: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let begun = Instant::now();
    let started = starts.await;
    if started.as_ref().is_err_and(Failure::is_unknown) && edge.inner.auth.is_on() {
        tokio::time::sleep_until(begun + UNKNOWN_AFTER).await;
    }
    started
}
