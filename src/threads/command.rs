//! What the workers ask of each other: the edge of generation, and both of speech. They know these words, and not each
//! other.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::conversation::ids::{ReplyId, ThreadId};
use crate::conversation::items::InputItem;
use crate::conversation::params::{AudioFormat, AudioParams, Params};
use crate::conversation::record::{Accepted, Caller};
use crate::log::appender::Appender;
use crate::log::feed::Feed;
use crate::replies;

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

/// Speaks replies aloud, and single texts. Nobody who asks has to wait for it.
pub trait Speaker: Send + Sync + 'static {
    /// Speaks a reply while it is said, from where its events leave off, through its own appender. Whatever happens, this
    /// tells the end of the speech, unless it is told to leave.
    fn speak(&self, audio: AudioParams, appender: Arc<Appender>) -> Speaking;

    /// Speaks a text. Gives the audio once its beginning is there.
    fn synthesize(&self, request: SpeechRequest) -> BoxFuture<'static, Result<SpokenText, Unspoken>>;
}

/// A text that is to be spoken by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeechRequest {
    /// Who asks.
    pub caller: Caller,
    /// The text.
    pub input: String,
    /// The voice; without one, the server's default.
    pub voice: Option<String>,
    /// The form of the audio; without one, what there is.
    pub format: Option<AudioFormat>,
    /// How fast, 1 being the voice's own pace.
    pub speed: Option<f64>,
    /// The model; without one, the server's default.
    pub model: Option<String>,
    /// How to speak, for models that can be told.
    pub instructions: Option<String>,
}

/// Why a text is not spoken, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unspoken {
    /// The request is wrong: it names a voice that does not exist, say. In words for a client.
    #[error("{0}")]
    Refused(String),
    /// No voice can speak now. In words for a client; a retry is safe.
    #[error("{0}")]
    Nobody(&'static str),
}

/// A text that is spoken.
pub struct SpokenText {
    /// The form of the audio.
    pub format: AudioFormat,
    /// The audio, as it comes. It ends with an error where it is broken off.
    pub audio: BoxStream<'static, Result<Bytes, std::io::Error>>,
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
