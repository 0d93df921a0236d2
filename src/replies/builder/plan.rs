//! How to continue a reply that was broken off.

use crate::domain::items::{Item, ItemStatus};
use crate::domain::reply::Reply;
use crate::llm::call::Prefix;

/// What the next attempt to generate a reply has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Call as if for the first time: there is no output, or only thoughts. Those cannot be sent back to be continued;
    /// the new attempt thinks again, in an item of its own, and the broken one is closed as incomplete.
    Start,
    /// Continue the output so far: its text, or by making the arguments of an open call again.
    Continue(Prefix),
    /// End the reply as completed ([`EventBuilder::complete`](super::EventBuilder::complete)): a function call is
    /// complete, and its client is about to answer it.
    EndCompleted,
}

impl Plan {
    /// The plan for a reply that has not ended.
    pub(crate) fn of(reply: &Reply) -> Self {
        let mut calls = reply.output().iter().filter_map(|item| match item {
            Item::FunctionCall(call) => Some(call),
            _ => None,
        });
        let text = reply.text().trim_end().to_owned();
        // Arguments are emitted complete or not at all: an open call without them was broken off.
        let broken = |status, arguments: &str| status == ItemStatus::InProgress && arguments.is_empty();
        if let Some(call) = calls.clone().find(|call| broken(call.status, &call.arguments)) {
            return Self::Continue(Prefix { text, call: Some(call.name.clone()) });
        }
        if calls.next().is_some() {
            return Self::EndCompleted;
        }
        if text.is_empty() { Self::Start } else { Self::Continue(Prefix { text, call: None }) }
    }
}
