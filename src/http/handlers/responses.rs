//! `/v1/responses`: create, read, follow, stop, delete.

use std::sync::Arc;

use hyper::Request;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use tokio_util::sync::DropGuard;

use crate::domain::caller::Caller;
use crate::domain::event::Outcome;
use crate::domain::ids::ReplyId;
use crate::http::Edge;
use crate::http::body::{Body, Ended, OpenStream, Pulse, ReplyBody, Rotation};
use crate::http::failure::Failure;
use crate::http::format::wanted;
use crate::http::middleware::limits;
use crate::http::request::{self, Asked};
use crate::http::respond::{self, Answer};
use crate::offload::offload;
use crate::protocols::ApiError;
use crate::protocols::compaction;
use crate::protocols::conversations::Deleted;
use crate::protocols::input_tokens::InputTokens;
use crate::protocols::lists;
use crate::protocols::query::{ListQuery, RetrieveQuery};
use crate::protocols::request::CreateResponse;
use crate::protocols::stream::{Format, Framing};
use crate::protocols::wire::Envelope;
use crate::replies::command::{IdempotencyKey, NewReply, Placement};
use crate::replies::feed::{Feed, Follower};
use crate::replies::{Busy, Error, Invalid};
use crate::telemetry::StreamKind;

/// What reading an event takes, as the bytes of text that take as long.
const BYTES_PER_EVENT: usize = 64;

impl Edge {
    pub(in crate::http) async fn create_response(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let Asked { mut parsed, key, format, mut share } = self.asked(request, CreateResponse::parse).await?;
        self.unseal(caller, &mut parsed)?;
        let streams = parsed.stream || format == Format::Text;
        let background = parsed.params.background;
        if key.is_some() && !parsed.params.store {
            return Err(ApiError::needs_store("Idempotency-Key").with_param("store").into());
        }
        let new = command(parsed, key);
        request::hold_recordings(&mut share, &new.input).await?;
        let joined = self.inner.replies.create(caller, new).await?;
        drop(share);
        let (reply, standing) = (joined.feed.id(), joined.standing);
        let mut answer = if streams {
            self.follow(joined.feed, 0, format, joined.cancel_on_drop)
        } else if background {
            response_object(&joined.feed, &[])
        } else {
            // Held until the reply has ended: without it a reply that is not stored is stopped.
            let _held = joined.cancel_on_drop;
            whole(&joined.feed).await
        };
        respond::name_reply(&mut answer, reply);
        limits::tell(&mut answer, standing);
        Ok(answer)
    }

    pub(in crate::http) async fn count_input_tokens(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let body = self.json_body(request).await?;
        let mut parsed = offload(body.len(), || CreateResponse::parse(&body))?;
        self.unseal(caller, &mut parsed)?;
        let new = command(parsed, None);
        let context = self.inner.replies.context(caller, &new).await?;
        Ok(respond::json(&InputTokens::estimate(&new.params, &context)))
    }

    /// A summary of what was said, sealed. Nothing is stored.
    pub(in crate::http) async fn compact_response(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let Asked { mut parsed, mut share, .. } = self.asked(request, compaction::parse).await?;
        self.unseal(caller, &mut parsed)?;
        let new = command(parsed, None);
        request::hold_recordings(&mut share, &new.input).await?;
        let joined = self.inner.replies.create(caller, new).await?;
        drop(share);
        let (feed, _held) = (joined.feed, joined.cancel_on_drop);
        let ended = feed.wait_end().await.map_err(|_| Error::from(Busy::Moved))?;
        Ok(match ended.end().map(|end| &end.outcome) {
            Some(Outcome::Failed(error)) => respond::error(&ApiError::from(error)),
            _ => respond::json(&compaction::compacted(feed.accepted(), &feed.reply())),
        })
    }

    pub(in crate::http) async fn get_response(
        &self,
        caller: &Caller,
        id: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let query = RetrieveQuery::parse(query)?;
        let reply = parse_reply(id)?;
        if !query.stream {
            let feed = self.inner.replies.get(caller, reply).await?;
            return Ok(response_object(&feed, &query.include));
        }
        let from = query.starting_after.map_or(0, |after| after.saturating_add(1));
        if from > 0 {
            self.inner.metrics.rejoined("starting_after");
        }
        let feed = self.inner.replies.follow(caller, reply, from).await?;
        let mut answer = self.follow(feed, from, wanted(headers), None);
        respond::name_reply(&mut answer, reply);
        Ok(answer)
    }

    /// The events of a reply for a browser's `EventSource`.
    pub(in crate::http) async fn response_events(
        &self,
        caller: &Caller,
        id: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let reply = parse_reply(id)?;
        let last = request::last_event_id(headers, query);
        // What follows the largest number there is, is none.
        let from = match last.map(|last| (last, last.parse::<u64>().ok().and_then(|last| last.checked_add(1)))) {
            None => 0,
            Some((_, Some(from))) => from,
            Some((last, None)) => {
                // What does not exist is told first.
                self.inner.replies.follow(caller, reply, 0).await?;
                return Err(invalid_last_event_id(last).into());
            }
        };
        if from > 0 {
            self.inner.metrics.rejoined("last_event_id");
        }
        let feed = match self.inner.replies.follow(caller, reply, from).await {
            // Seen whole, and finished: the client need not come back (HTML standard, 9.2.2).
            Ok(feed) if feed.is_closed() && from >= feed.next_sequence() => {
                return Ok(respond::empty(StatusCode::NO_CONTENT));
            }
            Err(Error::Invalid(Invalid::PastEnd { over: true, .. })) => {
                return Ok(respond::empty(StatusCode::NO_CONTENT));
            }
            result => result?,
        };
        Ok(self.follow(feed, from, Format::EventSource, None))
    }

    pub(in crate::http) async fn delete_response(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        let reply = parse_reply(id)?;
        self.inner.replies.delete(caller, reply).await?;
        Ok(respond::json(&Deleted::reply(reply)))
    }

    pub(in crate::http) async fn cancel_response(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        let reply = parse_reply(id)?;
        let feed = self.inner.replies.cancel(caller, reply).await?;
        Ok(response_object(&feed, &[]))
    }

    pub(in crate::http) async fn input_items(
        &self,
        caller: &Caller,
        id: &str,
        query: Option<&str>,
    ) -> Result<Answer, Failure> {
        let query = ListQuery::parse(query)?;
        let items = self.inner.replies.input(caller, parse_reply(id)?).await?;
        Ok(respond::json(&lists::page(items, &query)?))
    }

    fn follow(&self, feed: Arc<Feed>, from: u64, format: Format, cancel_on_drop: Option<DropGuard>) -> Answer {
        let rotation = (format == Format::EventSource).then(|| self.rotation());
        let follower = Follower::new(feed, &format, from);
        self.stream(follower, format.framing(), cancel_on_drop, rotation)
    }

    /// The stream of a reply, in any protocol.
    pub(super) fn stream(
        &self,
        follower: Follower,
        framing: Framing,
        cancel_on_drop: Option<DropGuard>,
        rotation: Option<Rotation>,
    ) -> Answer {
        let kind = if rotation.is_some() { StreamKind::ReplyEvents } else { StreamKind::Reply };
        let body = ReplyBody {
            follower,
            framing,
            pulse: Pulse::new(self.inner.config.heartbeat),
            open: OpenStream::new(&self.inner.metrics, kind),
            _cancel_on_drop: cancel_on_drop,
            rotation,
            begun: false,
            ended: Ended::Not,
        };
        respond::stream(framing.content_type, Body::Reply(Box::new(body)))
    }

    pub(in crate::http) fn rotation(&self) -> Rotation {
        // A fifth more or less, so that streams that began together do not come back together.
        let spread = |age: std::time::Duration| {
            let percent = 80 + u32::try_from(crate::domain::ids::random_u64() % 41).unwrap_or(20);
            age * percent / 100
        };
        let age = self.inner.config.stream_max_age.map(spread);
        Rotation {
            age: age.map(|age| Box::pin(tokio::time::sleep(age))),
            leaving: Box::pin(self.inner.rotate.clone().cancelled_owned()),
        }
    }
}

/// What a request asks for.
pub(in crate::http) fn command(parsed: CreateResponse, key: Option<IdempotencyKey>) -> NewReply {
    let place = match (parsed.conversation, parsed.previous_response_id) {
        (Some(thread), _) => Placement::In(thread),
        (None, Some(reply)) => Placement::After(reply),
        (None, None) => Placement::Fresh,
    };
    NewReply { model: parsed.model, params: parsed.params, input: parsed.input, place, key, follows: None, chat: None }
}

pub(super) fn parse_reply(id: &str) -> Result<ReplyId, Failure> {
    Ok(id.parse().map_err(|_| ApiError::response_not_found(id))?)
}

fn invalid_last_event_id(given: &str) -> ApiError {
    let given: String = given.chars().take(64).collect();
    ApiError::client(400, format!("Invalid 'Last-Event-ID': '{given}' is not the id of an event of this stream."))
        .with_param("Last-Event-ID")
}

/// The reply as it is now, with what else a client asks to see.
fn response_object(feed: &Feed, include: &[String]) -> Answer {
    let mut bytes = Vec::with_capacity(2048);
    // Of the events only the number is known yet, and they are folded here.
    let size = usize::try_from(feed.next_sequence()).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_EVENT);
    offload(size, || Envelope::of(feed.accepted()).including(include).write_response(&mut bytes, &feed.reply()));
    respond::json_bytes(bytes)
}

/// The reply once it has ended. That it failed is an HTTP error.
async fn whole(feed: &Arc<Feed>) -> Answer {
    // Errors are answers here: they are about a reply, and name it.
    match feed.wait_end().await {
        Ok(ended) => match ended.end().map(|end| &end.outcome) {
            Some(Outcome::Failed(error)) => respond::error(&ApiError::from(error)),
            _ => response_object(feed, &[]),
        },
        Err(_) => Failure::from(Error::from(Busy::Moved)).answer(),
    }
}
