//! What the edge asks of generation. Both know these words, and not each other.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::api::error::ApiError;
use crate::api::request::InputItem;
use crate::conversation::ids::{ReplyId, ThreadId};
use crate::conversation::params::Params;
use crate::conversation::record::{Accepted, Caller};
use crate::log::feed::Feed;

/// A reply that is asked for, checked as far as it can be without knowing the thread.
#[derive(Debug, Clone)]
pub struct NewReply {
    /// Who asks.
    pub caller: Caller,
    /// The model, as the client named it.
    pub model: Option<String>,
    /// The parameters; their model is resolved at acceptance.
    pub params: Params,
    /// The input.
    pub input: Vec<InputItem>,
    /// Where it is said.
    pub place: Place,
    /// Joins a reply that was asked for under the same key.
    pub key: Option<IdempotencyKey>,
}

/// Where a reply is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the root of a tree of its own.
    Fresh,
    /// After another reply.
    After(ReplyId),
    /// In a conversation.
    In(ThreadId),
}

/// An `Idempotency-Key`, and what it was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key.
    pub key: String,
    /// A digest of the body.
    pub digest: String,
}

/// A reply that was accepted, or joined.
pub struct Joined {
    /// Where to follow it.
    pub feed: Arc<Feed>,
    /// Ends the reply when it is dropped: for replies that are not stored.
    pub leash: Option<tokio_util::sync::DropGuard>,
}

/// Says replies. What it refuses, it refuses in the words of the API.
pub trait Generator: Send + Sync + 'static {
    /// Accepts a reply, or joins the one that was accepted under the same key. From the moment that this succeeds the
    /// reply is never lost, and does not need its client.
    fn accept(&self, new: NewReply) -> BoxFuture<'static, Result<Joined, ApiError>>;

    /// Goes on with a reply that nobody says, or ends it. Gives where to follow it.
    fn adopt(&self, accepted: Arc<Accepted>) -> BoxFuture<'static, Result<Arc<Feed>, ApiError>>;

    /// Stops a reply, wherever it is said, and keeps what it said. One that has ended stays as it is.
    fn cancel(&self, reply: ReplyId) -> BoxFuture<'static, Result<Arc<Feed>, ApiError>>;

    /// Deletes a reply: stops it if it runs, and erases its text.
    fn delete(&self, reply: ReplyId) -> BoxFuture<'static, Result<(), ApiError>>;
}
