//! The Chat Completions API over the same replies: a request becomes the command that the Responses API makes of it, and
//! the same events become chunks. What it has no word for is refused by its name.

mod chunk;
mod completion;
mod error;
mod messages;
mod request;
mod tools;
mod usage;

#[cfg(test)]
mod tests;

pub(crate) use chunk::Chunks;
pub(crate) use completion::{Audio, Completion, Deleted};
pub(crate) use error::{cancelled, not_found, renamed};
pub(crate) use request::{CreateChatCompletion, RetrieveQuery};

use crate::domain::event::Outcome;
use crate::domain::ids::ReplyId;
use crate::domain::items::Item;
use crate::domain::reply::Reply;

/// What ids of completions begin with. What follows is the same as in the id of the response.
const PREFIX: &str = "chatcmpl-";

/// The id of a reply as a completion.
pub(crate) fn completion_id(reply: ReplyId) -> String {
    let id = reply.to_string();
    format!("{PREFIX}{}", id.strip_prefix("resp_").unwrap_or(&id))
}

/// The reply that an id of a completion names, or of a response: either is good at this door.
pub(crate) fn parse_id(id: &str) -> Option<ReplyId> {
    match id.strip_prefix(PREFIX) {
        Some(own) => format!("resp_{own}").parse().ok(),
        None => id.parse().ok(),
    }
}

/// Why a reply ended, in the API's words. `None`: it has not, or in a way for which the API has no word.
fn finish_reason(reply: &Reply) -> Option<&'static str> {
    let calls = || reply.output().iter().any(|item| matches!(item, Item::FunctionCall(_)));
    match reply.end()?.outcome {
        Outcome::Completed if calls() => Some("tool_calls"),
        Outcome::Completed => Some("stop"),
        Outcome::MaxOutputTokens => Some("length"),
        Outcome::ContentFilter => Some("content_filter"),
        Outcome::Cancelled | Outcome::Failed(_) => None,
    }
}
