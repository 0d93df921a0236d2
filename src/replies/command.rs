//! What clients ask for, in the domain's terms.

use std::sync::Arc;

use super::feed::Feed;
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::InputItem;
use crate::domain::params::{Metadata, Params};
use crate::limits::Standing;

/// A reply that is asked for, checked as far as it can be without knowing the thread.
#[derive(Debug, Clone)]
pub(crate) struct NewReply {
    /// The model, as the client named it.
    pub(crate) model: Option<String>,
    /// The parameters; their model is resolved at acceptance.
    pub(crate) params: Params,
    /// The input.
    pub(crate) input: Vec<InputItem>,
    /// Where the reply belongs.
    pub(crate) place: Placement,
    /// Joins a reply that was asked for under the same key.
    pub(crate) key: Option<IdempotencyKey>,
    /// The reply that it follows if that is not stored: its input contains that reply's output.
    pub(crate) follows: Option<ReplyId>,
    /// Its caller's name of the chat that it is a turn of.
    pub(crate) chat: Option<String>,
}

/// A conversation to create.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewConversation {
    /// The client's notes.
    pub(crate) metadata: Metadata,
    /// What it begins with.
    pub(crate) items: Vec<InputItem>,
}

/// where a reply is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// At the root of a tree of its own.
    Fresh,
    /// At a root of this thread, which may have others.
    Root(ThreadId),
    /// After another reply.
    After(ReplyId),
    /// In a conversation.
    In(ThreadId),
}

/// An `Idempotency-Key`, and what it was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey {
    /// The key.
    pub(crate) key: String,
    /// A digest of the body.
    pub(crate) digest: String,
}

/// A reply that was accepted, or joined.
pub(crate) struct Joined {
    /// Where to follow it.
    pub(crate) feed: Arc<Feed>,
    /// Cancels the reply when it is dropped: for replies that are not stored.
    pub(crate) cancel_on_drop: Option<tokio_util::sync::DropGuard>,
    /// What is left to the caller.
    pub(crate) standing: Standing,
}
