//! `/api/chat`: the same replies, for the `useChat` of the AI SDK.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use serde::Serialize;

use crate::domain::caller::Caller;
use crate::domain::ids::ThreadId;
use crate::domain::params::Params;
use crate::http::Edge;
use crate::http::failure::Failure;
use crate::http::request::{self, Asked};
use crate::http::respond::{self, Answer};
use crate::protocols::ApiError;
use crate::protocols::ui_messages::{After, HEADER, Input, SendMessages, UiStream, chat_id, check_stop};
use crate::replies::command::{IdempotencyKey, Joined, NewReply, Placement};
use crate::replies::feed::{Feed, Follower};
use crate::replies::{Error, Missing, chat_thread};

/// That a chat is stopped.
#[derive(Serialize)]
struct Stopped {
    success: bool,
}

impl Edge {
    pub(in crate::http) async fn send_messages(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let Asked { mut parsed, key, mut share, .. } = self.asked(request, SendMessages::parse).await?;
        self.seal_with(caller, &mut parsed.params)?;
        let chat = chat_thread(caller, &parsed.chat);
        let turn = |input| Box::pin(self.take_turn(caller, chat, &parsed, input, key.clone()));
        let input = parsed.input(chat);
        request::hold_recordings(&mut share, &input.items).await?;
        let joined = match (turn(input).await, parsed.all()) {
            // The server does not have the chat any more; its client does.
            (Err((Error::NotFound(Missing::Parent(_)), _)), Some(all)) => {
                request::hold_recordings(&mut share, &all.items).await?;
                turn(all).await
            }
            (result, _) => result,
        };
        let joined = joined.map_err(|(error, places)| reworded(error, &places))?;
        drop(share);
        Ok(self.follow_chat(joined.feed))
    }

    /// The reply that runs in a chat, from its beginning.
    pub(in crate::http) async fn resume_chat(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        let chat = chat_thread(caller, chat_id(id)?);
        let running = self.inner.replies.running_in(caller, chat).await?;
        Ok(running.map_or_else(|| respond::empty(StatusCode::NO_CONTENT), |feed| self.follow_chat(feed)))
    }

    /// Stops what runs in a chat. What its client sends along is not needed: what was generated is kept.
    pub(in crate::http) async fn stop_chat(
        &self,
        caller: &Caller,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let chat = chat_thread(caller, chat_id(id)?);
        check_stop(&self.json_body(request).await?)?;
        self.inner.replies.stop_chat(caller, chat).await?;
        Ok(respond::json(&Stopped { success: true }))
    }

    async fn take_turn(
        &self,
        caller: &Caller,
        chat: ThreadId,
        asked: &SendMessages,
        input: Input,
        key: Option<IdempotencyKey>,
    ) -> Result<Joined, (Error, Vec<usize>)> {
        let Input { after, items, places, goes_on } = input;
        let again = after == After::BeforeNewest;
        let place = match after {
            After::Nothing => Ok(Placement::Root(chat)),
            After::Reply(reply) => Ok(Placement::After(reply)),
            After::Newest | After::BeforeNewest => {
                self.inner.replies.next_place(caller, chat, key.as_ref(), again).await
            }
        };
        let (model, params) = (asked.model.clone(), Params { goes_on, ..asked.params.clone() });
        let turn = async {
            let name = Some(asked.chat.clone());
            let new = NewReply { model, params, input: items, place: place?, key, follows: None, chat: name };
            self.inner.replies.take_turn(caller, chat, new).await
        };
        turn.await.map_err(|error| (error, places))
    }

    fn follow_chat(&self, feed: Arc<Feed>) -> Answer {
        let reply = feed.id();
        let mut answer = self.stream(Follower::new(feed, &UiStream, 0), UiStream::FRAMING, None, None);
        answer.headers_mut().insert(HEADER.0, HeaderValue::from_static(HEADER.1));
        respond::name_reply(&mut answer, reply);
        answer
    }
}

fn reworded(error: Error, places: &[usize]) -> Failure {
    let told = ApiError::from(&error).about_messages(places);
    Failure::Reworded(error, Box::new(told))
}
