//! `/v1/chat/completions`: the same replies, through another door.

use std::sync::Arc;

use data_encoding::BASE64;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use tokio_util::sync::DropGuard;

use crate::domain::caller::Caller;
use crate::domain::event::{Event, Outcome};
use crate::domain::ids::ReplyId;
use crate::http::Edge;
use crate::http::failure::Failure;
use crate::http::format::wanted;
use crate::http::middleware::limits;
use crate::http::request::{self, Asked};
use crate::http::respond::{self, Answer};
use crate::protocols::ApiError;
use crate::protocols::chat_completions::{
    self as chat, Audio, Chunks, Completion, CreateChatCompletion, Deleted, RetrieveQuery,
};
use crate::protocols::stream::Format;
use crate::replies::command::{NewReply, Placement};
use crate::replies::feed::{Events, Feed, Follower};
use crate::replies::{Busy, Error, Missing};
use crate::speech::wav;

impl Edge {
    pub(in crate::http) async fn create_chat_completion(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let Asked { parsed, key, format, mut share } = self.asked(request, CreateChatCompletion::parse).await?;
        if key.is_some() && parsed.store == Some(false) {
            return Err(ApiError::needs_store("Idempotency-Key").with_param("store").into());
        }
        let CreateChatCompletion { input, places, model, mut params, stream, include_usage, store } = parsed;
        // What can be joined has to be there.
        params.store = store.unwrap_or(key.is_some());
        let new = NewReply { model, params, input, place: Placement::Fresh, key, follows: None, chat: None };
        request::hold_recordings(&mut share, &new.input).await?;
        let joined = self.inner.replies.create(caller, new).await;
        let joined = joined.map_err(|error| reworded(error, &places))?;
        drop(share);
        let (reply, standing) = (joined.feed.id(), joined.standing);
        let mut answer = if stream || format == Format::Text {
            self.follow_chunks(joined.feed, 0, (format, include_usage), joined.cancel_on_drop)
        } else {
            // Held until the reply has ended: without it a reply that is not stored is stopped.
            let _held = joined.cancel_on_drop;
            whole(&joined.feed).await
        };
        respond::name_reply(&mut answer, reply);
        limits::tell(&mut answer, standing);
        Ok(answer)
    }

    pub(in crate::http) async fn get_chat_completion(
        &self,
        caller: &Caller,
        id: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let query = RetrieveQuery::parse(query)?;
        let reply = parse_id(id)?;
        if !query.stream {
            let feed = self.inner.replies.get(caller, reply).await.map_err(|error| about(id, error))?;
            // What is spoken while it is asked for is not waited for.
            let audio = if feed.is_closed() { heard(&feed).await } else { None };
            return Ok(completion(&feed, audio.as_ref()));
        }
        let from = query.starting_after.map_or(0, |after| after.saturating_add(1));
        if from > 0 {
            self.inner.metrics.rejoined("starting_after");
        }
        let feed = self.inner.replies.follow(caller, reply, from).await.map_err(|error| about(id, error))?;
        let mut answer = self.follow_chunks(feed, from, (wanted(headers), query.include_usage), None);
        respond::name_reply(&mut answer, reply);
        Ok(answer)
    }

    pub(in crate::http) async fn delete_chat_completion(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        let reply = parse_id(id)?;
        self.inner.replies.delete(caller, reply).await.map_err(|error| about(id, error))?;
        Ok(respond::json(&Deleted::of(reply)))
    }

    fn follow_chunks(
        &self,
        feed: Arc<Feed>,
        from: u64,
        (format, usage): (Format, bool),
        cancel_on_drop: Option<DropGuard>,
    ) -> Answer {
        if format == Format::Text {
            // The bare text is the same through every door.
            let follower = Follower::new(feed, &format, from);
            return self.stream(follower, format.framing(), cancel_on_drop, None);
        }
        let chunks = Chunks { lines: format == Format::Ndjson, usage };
        self.stream(Follower::new(feed, &chunks, from), chunks.framing(), cancel_on_drop, None)
    }
}

fn parse_id(id: &str) -> Result<ReplyId, Failure> {
    Ok(chat::parse_id(id).ok_or_else(|| chat::not_found(id))?)
}

fn reworded(error: Error, places: &[usize]) -> Failure {
    let told = chat::renamed(ApiError::from(&error), places);
    Failure::Reworded(error, Box::new(told))
}

/// An error about the completion of this id.
fn about(id: &str, error: Error) -> Failure {
    match error {
        Error::NotFound(Missing::Reply(_)) => Failure::Reworded(error, Box::new(chat::not_found(id))),
        error => reworded(error, &[]),
    }
}

/// The completion once it has ended, its speech included. That it failed, or was stopped, is an HTTP error.
async fn whole(feed: &Arc<Feed>) -> Answer {
    let is_spoken = feed.accepted().params.audio.is_some();
    let ended = if is_spoken { feed.wait_closed().await } else { feed.wait_end().await };
    match ended {
        Ok(ended) => match ended.end().map(|end| &end.outcome) {
            Some(Outcome::Failed(error)) => respond::error(&chat::renamed(error.into(), &[])),
            Some(Outcome::Cancelled) => respond::error(&chat::cancelled()),
            _ => completion(feed, heard(feed).await.as_ref()),
        },
        Err(_) => Failure::from(Error::from(Busy::Moved)).answer(),
    }
}

/// The reply as it is now.
fn completion(feed: &Feed, audio: Option<&Audio>) -> Answer {
    let reply = feed.reply();
    respond::json(&Completion::of(feed.accepted(), &reply, audio))
}

/// What was spoken of a reply that is over. `None`: nothing, or it is not kept any more.
async fn heard(feed: &Arc<Feed>) -> Option<Audio> {
    feed.accepted().params.audio.as_ref()?;
    let (mut events, mut bytes, mut transcript) = (Events::new(Arc::clone(feed)), Vec::new(), String::new());
    while let Some(Ok(read)) = events.next().await {
        for event in &read {
            match event {
                Event::Transcript(text) => transcript.push_str(text),
                Event::Audio(base64) => bytes.extend(BASE64.decode(base64.as_bytes()).ok()?),
                _ => {}
            }
        }
    }
    // Now its length is known.
    wav::complete(&mut bytes);
    (!bytes.is_empty()).then(|| Audio { data: BASE64.encode(&bytes), transcript })
}
