//! What `useChat` sends: the chat's messages, or only the last, and beside them whatever its application adds.

use serde_json::Value;

use super::messages::{LONGEST_NAME, UiMessage, message};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::{InputItem, Item};
use crate::domain::params::Params;
use crate::protocols::error::ApiError;
use crate::protocols::json::{self, At, Read, boolean, entries, object, short_string, string};
use crate::protocols::request::{params, tools};

/// `POST /api/chat`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SendMessages {
    /// The client's name of the chat.
    pub(crate) chat: String,
    messages: Vec<UiMessage>,
    /// The client sent the last message alone.
    is_last_alone: bool,
    /// The last answer is to be given again.
    again: bool,
    /// The model as the client named it.
    pub(crate) model: Option<String>,
    /// What the application adds.
    pub(crate) params: Params,
}

/// What a request adds to its chat.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    /// Where it comes in.
    pub(crate) after: After,
    /// The items.
    pub(crate) items: Vec<InputItem>,
    /// For each item the place of its message.
    pub(crate) places: Vec<usize>,
    /// The message that the reply goes on with.
    pub(crate) goes_on: Option<String>,
}

/// What a turn follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing: the items are all there is.
    Nothing,
    /// This reply.
    Reply(ReplyId),
    /// The chat's newest reply.
    Newest,
    /// What the chat's newest reply follows: that is to be given again.
    BeforeNewest,
}

impl SendMessages {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What is wrong with it, with the path of the field that is to blame.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let params = Params { store: true, ..Params::default() };
        let (chat, messages, model) = (String::new(), Vec::new(), None);
        let mut request = Self { chat, messages, is_last_alone: false, again: false, model, params };
        for (name, value) in object(At::Body, json::parse(body)?)? {
            if !value.is_null() {
                request.set(At::Body.field(&name), &name, value)?;
            }
        }
        if request.chat.is_empty() {
            return Err(ApiError::missing_parameter("id"));
        }
        if request.messages.is_empty() {
            return Err(ApiError::missing_parameter("messages"));
        }
        tools::check_choice(&request.params)?;
        Ok(request)
    }

    fn set(&mut self, at: At, name: &str, value: Value) -> Read<()> {
        match name {
            "id" => self.chat = short_string(at, value, LONGEST_NAME)?,
            "messages" => (self.messages, self.is_last_alone) = (entries(at, value, message)?, false),
            // All of them say more than the last alone.
            "message" => {
                let last = message(at, value)?;
                if self.messages.is_empty() {
                    (self.messages, self.is_last_alone) = (vec![last], true);
                }
            }
            "trigger" => self.again = string(at, value)? == "regenerate-message",
            "model" => self.model = Some(short_string(at, value, LONGEST_NAME)?),
            // Which message is sent again is told by those that are sent. An answer is always a stream.
            "messageId" | "stream" => {}
            "store" if boolean(at, &value)? => {}
            _ => match ELSEWHERE.iter().find(|(other, _)| *other == name) {
                Some((_, instead)) => return Err(ApiError::unsupported_parameter(at, instead)),
                None => params::set(&mut self.params, at, name, value)?,
            },
        }
        Ok(())
    }

    /// What is new in it for a chat: what comes after the last reply of this chat that its messages tell.
    pub(crate) fn input(&self, chat: ThreadId) -> Input {
        let reply = |message: &UiMessage| message.reply.filter(|reply| reply.thread() == chat);
        let known = self.messages.iter().enumerate().rev().find_map(|(place, message)| Some((place, reply(message)?)));
        match known {
            Some((place, reply)) => self.since(place, After::Reply(reply)),
            None if self.is_last_alone => {
                Input { after: if self.again { After::BeforeNewest } else { After::Newest }, ..self.whole() }
            }
            None => self.whole(),
        }
    }

    /// All that it says, for a chat of which the server knows nothing. `None`: the client did not send all.
    pub(crate) fn all(&self) -> Option<Input> {
        (!self.is_last_alone).then(|| self.whole())
    }

    fn whole(&self) -> Input {
        let items = self.messages.iter().enumerate().flat_map(|(place, message)| with_place(place, &message.items));
        self.made_of(After::Nothing, items)
    }

    fn since(&self, place: usize, after: After) -> Input {
        let later = self.messages.iter().enumerate().skip(place + 1);
        let later = later.flat_map(|(place, message)| with_place(place, &message.items));
        self.made_of(after, with_place(place, &self.messages[place].outputs).chain(later))
    }

    fn made_of<'a>(&self, after: After, items: impl Iterator<Item = (usize, &'a Item)>) -> Input {
        let (places, items) = items.map(|(place, item)| (place, InputItem::Item(item.clone(), None))).unzip();
        let last = self.messages.last().filter(|last| last.is_answer && !last.id.is_empty());
        Input { after, items, places, goes_on: last.map(|last| last.id.clone()) }
    }
}

fn with_place(place: usize, items: &[Item]) -> impl Iterator<Item = (usize, &Item)> {
    items.iter().map(move |item| (place, item))
}

/// Reads the body of a request to stop a chat: nothing, or an object, of which nothing is needed.
///
/// # Errors
/// That it is neither.
pub(crate) fn check_stop(body: &[u8]) -> Result<(), ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) { Ok(()) } else { object(At::Body, json::parse(body)?).map(drop) }
}

/// The client's name of a chat, as a path has it.
///
/// # Errors
/// That it is no such name.
pub(crate) fn chat_id(id: &str) -> Result<&str, ApiError> {
    short_string(At::Body.field("id"), id.into(), LONGEST_NAME).map(|_| id)
}

/// What this door does not have, by its name, and what to say about it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("store", "Chats are always stored."),
    ("background", "Every reply of a chat goes on without its client."),
    ("input", "Here it is 'messages'."),
    ("previous_response_id", "The messages tell what comes before."),
    ("conversation", "The chat's 'id' names it."),
    ("modalities", "Use POST /v1/responses."),
    ("audio", "Use POST /v1/responses."),
    ("include", "Use POST /v1/responses."),
    ("top_logprobs", "Use POST /v1/responses."),
];
