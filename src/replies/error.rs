//! Why a request about replies or conversations is not carried out: what is wrong, and whether a retry is safe.
//!
//! In terms of the domain. Each protocol maps these to its own errors, in one place.

use std::fmt;
use std::time::Duration;

use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::layout::Mismatch;
use crate::domain::record::Unreadable;
use crate::limits::Limited;
use crate::log::{AppendError, ReadError};
use crate::replies::reply_log::ReplyLogError;
use crate::store;

/// The cause of an error, for the log.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What a request comes to.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A request that is not carried out. Nothing that was accepted before is lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something does not exist, or belongs to another owner.
    #[error("{0} does not exist")]
    NotFound(Missing),
    /// The conversation is locked by a running reply.
    #[error("reply {0} is running in the conversation")]
    ConversationLocked(ReplyId),
    /// The reply to continue is still running.
    #[error("reply {0}, which is to be continued, is still running")]
    ParentRunning(ReplyId),
    /// The request does not fit what is stored.
    #[error("{0}")]
    Invalid(Invalid),
    /// The record that the request would make is longer than records may be.
    #[error("a record of {length} bytes exceeds the limit of {most}")]
    TooLarge {
        /// Its bytes.
        length: usize,
        /// The most that it may have.
        most: usize,
    },
    /// The idempotency key was used before with a different request.
    #[error("the idempotency key was used with a different request")]
    KeyReused,
    /// The caller has used what it may.
    #[error("{0}")]
    Limited(Box<Limited>),
    /// There is too much to do.
    #[error("{0}")]
    Busy(Busy),
    /// The log or the store cannot be reached, or what is there is incomplete.
    #[error("unavailable: {0}")]
    Unavailable(#[source] Cause),
    /// The log has no space left.
    #[error("the log has no space left")]
    Full,
    /// The model server failed before anything was accepted.
    #[error("{message}")]
    Upstream {
        /// In words for a client.
        message: String,
        /// In words for the person on call.
        #[source]
        cause: Cause,
    },
    /// A recording cannot be transcribed now; in words for a client.
    #[error("{0}")]
    Unheard(&'static str),
    /// A fault of this program.
    #[error("internal error")]
    Internal,
}

/// What does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The reply that the request is about.
    Reply(ReplyId),
    /// The conversation that the request is about.
    Conversation(ThreadId),
    /// The conversation that a reply was to be added to.
    Context(ThreadId),
    /// The reply that was to be continued.
    Parent(ReplyId),
    /// An item of a conversation.
    Item(String),
    /// A stored item that the input refers to.
    Reference {
        /// Its place in the input.
        index: usize,
        /// The id.
        id: String,
    },
    /// The model.
    Model(String),
    /// A user, where nobody is known by name.
    User(String),
}

/// What is wrong with a request, given what is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// An image is neither embedded nor at a web address.
    #[error("image {part} of item {item} is neither embedded nor at a web address")]
    Image {
        /// Which item of the input.
        item: usize,
        /// Which part of the item.
        part: usize,
    },
    /// A recording that is none, or in which no speech is heard.
    #[error("recording {part} of item {item}: {reason}")]
    Audio {
        /// Which item of the input.
        item: usize,
        /// Which part of the item.
        part: usize,
        /// What is wrong, in words for a client.
        reason: String,
    },
    /// The output of a call that was never made.
    #[error("there is no call {0}")]
    UnknownCall(String),
    /// A second output of one call.
    #[error("call {0} has more than one output")]
    RepeatedOutput(String),
    /// A call without an output.
    #[error("call {0} has no output")]
    UnansweredCall(String),
    /// More output than the caller's tier allows.
    #[error("{given} tokens of output exceed the limit of {most}")]
    MaxOutput {
        /// What is asked for.
        given: u64,
        /// The most.
        most: u64,
    },
    /// A position which the reply's events have not reached, and never will.
    #[error("position {given} is past the last event, {last}")]
    PastEnd {
        /// The position.
        given: u64,
        /// The reply's last event.
        last: u64,
        /// Whether the reply has ended.
        over: bool,
    },
}

/// Why a request has to come back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Busy {
    /// This instance runs as many replies as it may.
    #[error("too many replies are running")]
    Replies,
    /// The model server's queue is full, or the wait was too long.
    #[error("the model server is overloaded")]
    ModelServer,
    /// This instance is shutting down.
    #[error("this instance is shutting down")]
    ShuttingDown,
    /// Others changed the conversation at every attempt.
    #[error("too many concurrent changes to the conversation")]
    Contention,
    /// The reply did not stop in time.
    #[error("the reply could not be stopped in time")]
    Stopping,
    /// The reply continues on another instance.
    #[error("the reply continues on another instance")]
    Moved,
}

impl Error {
    /// The log or the store cannot be reached, or what is there is incomplete.
    pub(crate) fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }

    /// When the same request may succeed. It is safe to retry then: nothing was accepted. `None`: not without a change.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited(limited) => limited.wait,
            Self::Busy(Busy::ModelServer) | Self::Unheard(_) => Some(Duration::from_secs(5)),
            Self::Busy(_) | Self::Unavailable(_) | Self::Full | Self::Upstream { .. } => Some(Duration::from_secs(1)),
            Self::NotFound(_)
            | Self::ConversationLocked(_)
            | Self::ParentRunning(_)
            | Self::Invalid(_)
            | Self::TooLarge { .. }
            | Self::KeyReused
            | Self::Internal => None,
        }
    }

    /// Whether the error is that something does not exist.
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(id) | Self::Parent(id) => write!(f, "reply {id}"),
            Self::Conversation(id) | Self::Context(id) => write!(f, "conversation {}", id.conversation()),
            Self::Item(id) | Self::Reference { id, .. } => write!(f, "item {id}"),
            Self::Model(name) => write!(f, "model {name}"),
            Self::User(name) => write!(f, "user {name}"),
        }
    }
}

impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        Self::NotFound(missing)
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Limited> for Error {
    fn from(limited: Limited) -> Self {
        Self::Limited(Box::new(limited))
    }
}

impl From<Busy> for Error {
    fn from(busy: Busy) -> Self {
        Self::Busy(busy)
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::Full,
            other => Self::unavailable(other),
        }
    }
}

/// What cannot be read now is unavailable.
macro_rules! unavailable {
    ($($cause:ty),*) => {$(
        impl From<$cause> for Error {
            fn from(error: $cause) -> Self {
                Self::unavailable(error)
            }
        }
    )*};
}

unavailable!(ReadError, ReplyLogError, store::Error, Mismatch, Unreadable);

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_full_log_is_no_outage_and_an_outage_names_its_cause() {
        assert!(matches!(Error::from(AppendError::Full), Error::Full));
        let error = Error::from(ReadError("no leader".to_owned()));
        assert!(error.source().is_some_and(|cause| cause.to_string().contains("no leader")), "{error}");
    }

    #[test]
    fn only_what_may_succeed_later_is_worth_a_retry() {
        assert!(Error::Full.retry_after().is_some());
        assert!(Error::Busy(Busy::Contention).retry_after().is_some());
        assert!(Error::KeyReused.retry_after().is_none());
        assert!(Error::NotFound(Missing::Model("x".to_owned())).retry_after().is_none());
    }
}
