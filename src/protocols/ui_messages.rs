//! The UI message stream of the Vercel AI SDK (version 1), which `useChat` speaks with its default transport, over the same
//! replies: messages become items, and events become the chunks of a message.
//!
//! Every part of a message carries the id of its item, and comes back with it: so a message tells which reply it is, and
//! only what came after it is input.

mod chunk;
mod messages;
mod request;

#[cfg(test)]
mod tests;

pub(crate) use chunk::UiStream;
pub(crate) use request::{After, Input, SendMessages, chat_id, check_stop};

use crate::domain::ids::ReplyId;
use crate::domain::record::Accepted;

/// The header that tells a client what the stream is, and its value.
pub(crate) const HEADER: (&str, &str) = ("x-vercel-ai-ui-message-stream", "v1");

/// The name under which what is ours stands in a part's metadata.
const PROVIDER: &str = "rejoinder";

/// The id of the message that a reply is a part of: the client's, where the reply goes on with one.
fn message_id(accepted: &Accepted) -> String {
    accepted.params.goes_on.clone().unwrap_or_else(|| accepted.reply.to_string())
}

/// The reply that made an item of the output.
fn reply_of(item: &str) -> Option<ReplyId> {
    ReplyId::of_output_item(item).ok().map(|(reply, _)| reply)
}
