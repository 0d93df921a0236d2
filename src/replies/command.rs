//! What the workers ask of each other: the edge of generation, and both of speech. They know these words, and not each
//! other.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::conversation::ids::{ReplyId, ThreadId};
use crate::conversation::items::InputItem;
use crate::conversation::params::Params;
use crate::conversation::record::{Accepted, Caller};
use crate::replies::{self, feed::Feed};

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

/// Generates replies.
pub trait Generator: Send + Sync + 'static {
    /// Accepts a reply, or joins the one that was accepted under the same key. From the moment that this succeeds the
    /// reply is never lost, and does not need its client.
    fn accept(&self, new: NewReply) -> BoxFuture<'static, replies::Result<Joined>>;

    /// Goes on with a reply that nobody says, or ends it. Gives where to follow it.
    fn adopt(&self, accepted: Arc<Accepted>) -> BoxFuture<'static, replies::Result<Arc<Feed>>>;

    /// Stops a reply, wherever it is said, and keeps what it said. One that has ended stays as it is.
    fn cancel(&self, reply: ReplyId) -> BoxFuture<'static, replies::Result<Arc<Feed>>>;

    /// Deletes a reply: stops it if it runs, and erases its text.
    fn delete(&self, reply: ReplyId) -> BoxFuture<'static, replies::Result<()>>;
}

/// A reply that is being spoken. Dropped, it is left as it is.
#[derive(Debug)]
pub struct Speaking {
    wish: watch::Sender<Wish>,
    task: Option<JoinHandle<()>>,
}

/// What becomes of a reply's speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It goes on.
    GoOn,
    /// It ends now.
    Hush,
    /// It stops as it is: another goes on with it.
    Leave,
}

impl Speaking {
    /// Speech that `start` starts, as a task that does as it is wished.
    pub fn start(start: impl FnOnce(watch::Receiver<Wish>) -> JoinHandle<()>) -> Self {
        let (wish, wishes) = watch::channel(Wish::GoOn);
        Self { wish, task: Some(start(wishes)) }
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it is over. Can be dropped and called again.
    pub async fn over(&mut self) {
        if let Some(task) = &mut self.task {
            // What ended it is told where it happened.
            let _ = task.await;
            self.task = None;
        }
    }

    /// Ends it, and waits until that is told.
    pub async fn hush(&mut self) {
        self.wish.send_replace(Wish::Hush);
        self.over().await;
    }

    /// Stops it, and waits until it is still.
    pub async fn leave(&mut self) {
        self.wish.send_replace(Wish::Leave);
        self.over().await;
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.wish.send_if_modified(|wish| std::mem::replace(wish, Wish::Leave) == Wish::GoOn);
    }
}
