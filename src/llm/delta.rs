//! What an upstream sends, in one vocabulary for all upstreams. Decoders produce it, the reply worker consumes it.

use serde_json::Value;

use crate::domain::event::{ErrorCode, ReplyError, Usage};
use crate::services::{Fault, FaultKind};

/// One unit of an upstream's output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Delta {
    /// A piece of thought.
    Reasoning(String),
    /// What the upstream wants back with the thoughts (`reasoning_details`, signatures), once they are over. Another
    /// one is added to it by [`super::provider_state::join`].
    ProviderState(Value),
    /// A piece of text, never empty.
    Content {
        /// The text.
        text: String,
        /// Token probabilities in the form of the Responses API, when they were asked for.
        logprobs: Vec<Value>,
    },
    /// A piece of a refusal.
    Refusal(String),
    /// A piece of a function call.
    ToolCall(ToolCallDelta),
    /// Why it stopped: the last delta of every answer that came to an end.
    Finish(FinishReason),
    /// Tokens used, at most once: before the end, or before the error.
    Usage(Usage),
}

/// A piece of a function call.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ToolCallDelta {
    /// Which call of this stream, counted by the decoder in order of appearance from 0.
    pub(crate) call: usize,
    /// The upstream's id of the call, with its first piece.
    pub(crate) id: Option<String>,
    /// The function, with its first piece.
    pub(crate) name: Option<String>,
    /// A piece of the arguments.
    pub(crate) arguments: String,
    /// What the upstream wants back with this call (`extra_content`).
    pub(crate) provider_state: Option<Value>,
}

/// Why an upstream stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FinishReason {
    /// The model was done, or calls functions.
    Stop,
    /// At its limit of tokens.
    Length,
    /// A filter.
    ContentFilter,
    /// The upstream itself broke (`network_error`, `insufficient_system_resource`, `error`).
    Broken,
}

/// What is wrong with an upstream, and what may be done about it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .error.message)]
pub(crate) struct UpstreamError {
    /// The error that a client sees.
    pub(crate) error: ReplyError,
    /// The cause for the person on call; never message text, never secrets.
    pub(crate) cause: String,
    /// What may be done about it.
    pub(crate) kind: UpstreamErrorKind,
}

/// What may be done about a failure of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamErrorKind {
    /// Try again, or continue the output so far: unreachable, timed out, 5xx, broke off.
    Retry {
        /// How long the upstream asked to wait.
        after: Option<std::time::Duration>,
    },
    /// The upstream does not take a final assistant message, and the policy allows nothing else: `auto` sees to it
    /// by itself.
    PrefillRejected,
    /// The context is longer than the model's window.
    ContextLength,
    /// The request is wrong, and will be: 400, 404, 422.
    Request,
    /// Our credentials are: 401, 403. A client sees 502.
    Credentials,
}

impl UpstreamError {
    /// Whether the way in which the server is called is wrong, and not what it is asked: it sends us elsewhere, or does
    /// not take our key. Another server may well do it.
    pub(crate) fn is_ours(&self) -> bool {
        let refused = matches!(self.kind, UpstreamErrorKind::Request | UpstreamErrorKind::Credentials);
        refused && self.error.code == ErrorCode::ServerError
    }

    /// What this means for the server's health.
    pub(crate) fn fault(&self) -> Fault {
        let kind = match self.kind {
            UpstreamErrorKind::Retry { after } if self.error.code == ErrorCode::RateLimitExceeded => {
                FaultKind::Overloaded { after, works: true }
            }
            UpstreamErrorKind::Retry { after: after @ Some(_) } => FaultKind::Overloaded { after, works: false },
            UpstreamErrorKind::Retry { after: None } => FaultKind::Unavailable,
            UpstreamErrorKind::Credentials => FaultKind::Credentials,
            UpstreamErrorKind::Request if self.is_ours() => FaultKind::Unavailable,
            UpstreamErrorKind::PrefillRejected | UpstreamErrorKind::ContextLength | UpstreamErrorKind::Request => {
                FaultKind::Request
            }
        };
        Fault { kind, cause: self.cause.clone() }
    }
}
