//! The events of a reply, as they are stored: what cannot be worked out from the events before it, and no more.
//!
//! Each is one event on the wire, and its place in the reply is its sequence number. How it reads there is
//! [`crate::protocols::wire`]'s business; which come after which, that of [`super::reply`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event of a reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The reply was accepted.
    Created,
    /// It waits (background replies).
    Queued,
    /// It is being generated.
    InProgress,
    /// An item is opened at the next output index.
    #[serde(rename = "item")]
    ItemAdded(Opening),
    /// A part is opened at the next place in an item.
    #[serde(rename = "part")]
    PartAdded {
        /// Output index of the item.
        #[serde(rename = "i")]
        item: u32,
        /// Which kind of part.
        #[serde(rename = "k")]
        kind: PartKind,
    },
    /// Text for the last part of an item; for a function call its arguments, whole.
    #[serde(rename = "d")]
    Delta {
        /// Output index of the item.
        #[serde(rename = "i")]
        item: u32,
        /// The text.
        #[serde(rename = "t")]
        text: String,
        /// Token probabilities of the text, when they were asked for.
        #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
        logprobs: Vec<Value>,
    },
    /// The text of an item's last part, or the arguments of a call, is complete.
    #[serde(rename = "td")]
    TextDone(u32),
    /// An item's last part is closed.
    #[serde(rename = "pd")]
    PartDone(u32),
    /// An item is closed.
    #[serde(rename = "id")]
    ItemDone {
        /// Output index of the item.
        #[serde(rename = "i")]
        item: u32,
        /// Whether it was broken off.
        #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
        incomplete: bool,
        /// What the upstream wants back with the item; never shown.
        #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
        provider_state: Option<Value>,
    },
    /// The next sentence, or several, that the speech server speaks.
    #[serde(rename = "at")]
    Transcript(Arc<str>),
    /// Audio, in base64: at most 64 KiB of it. It belongs to the transcript before it; what comes before the first is
    /// the header of the whole.
    #[serde(rename = "a")]
    Audio(Arc<str>),
    /// There is no more audio; why not, if there should be.
    #[serde(rename = "ad")]
    AudioDone(Option<Arc<Degraded>>),
    /// There is no more transcript.
    #[serde(rename = "atd")]
    TranscriptDone,
    /// What went wrong, just before the end of a failed reply.
    Error(ReplyError),
    /// The reply is over; the one terminal event.
    End(End),
}

/// An item as it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    /// A message of the assistant.
    Message,
    /// A summary of the context, which the reply then goes on from.
    Compaction,
    /// Thoughts.
    Reasoning,
    /// A call of a function.
    FunctionCall {
        /// The name under which its output is to be given.
        call_id: String,
        /// The function.
        name: String,
    },
}

/// The kind of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// `output_text` of a message.
    Text,
    /// `refusal` of a message.
    Refusal,
    /// `reasoning_text` of reasoning.
    Reasoning,
    /// `summary_text` of reasoning.
    Summary,
}

/// Something that a reply had to do without, and why: in words for its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// What was switched off: `speech`.
    pub capability: String,
    /// Why.
    pub reason: String,
}

/// How a reply ended, and what it used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// Tokens, summed over all attempts; absent if no upstream reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// How a reply ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was generated to its end.
    Completed,
    /// The model stopped at its limit of tokens.
    MaxOutputTokens,
    /// A filter stopped it.
    ContentFilter,
    /// Someone stopped it.
    Cancelled,
    /// It could not be generated to its end.
    Failed(ReplyError),
}

/// What went wrong with a reply, in words for its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyError {
    /// What kind of thing.
    pub code: ErrorCode,
    /// In words.
    pub message: String,
}

/// The kinds of failure that the Responses API knows and this server reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The server or its upstream.
    ServerError,
    /// The upstream had enough.
    RateLimitExceeded,
    /// The upstream refused the request.
    InvalidPrompt,
    /// The context is longer than the model's window.
    ContextLengthExceeded,
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Read by the model.
    pub input: u64,
    /// Of these, found in a cache.
    #[serde(default)]
    pub cached: u64,
    /// Generated by the model.
    pub output: u64,
    /// Of these, thought.
    #[serde(default)]
    pub reasoning: u64,
    /// The upstream's own total.
    pub total: u64,
}

impl ErrorCode {
    /// The code as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerError => "server_error",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::InvalidPrompt => "invalid_prompt",
            Self::ContextLengthExceeded => "context_length_exceeded",
        }
    }
}

impl ReplyError {
    /// An error of the server or its upstream.
    pub fn server(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::ServerError, message: message.into() }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
        self.reasoning += other.reasoning;
        self.total += other.total;
    }
}

impl Event {
    /// The event that opens a reply, in order.
    pub const fn opening(background: bool) -> &'static [Self] {
        if background { &[Self::Created, Self::Queued, Self::InProgress] } else { &[Self::Created, Self::InProgress] }
    }

    /// Whether it belongs to the reply's speech. Of these only the kind and the length are stored permanently.
    pub const fn is_speech(&self) -> bool {
        matches!(self, Self::Transcript(_) | Self::Audio(_) | Self::AudioDone(_) | Self::TranscriptDone)
    }

    /// Whether nothing comes after it.
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::End(_))
    }
}
