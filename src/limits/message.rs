//! What instances say to each other about what callers use; and what a caller is told of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::caller::Owner;
use crate::domain::ids::InstanceId;

/// To the instance that keeps a caller's account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// It is answered with an [`Answer`].
    Ask(Ask),
    /// It is not answered.
    Settle(Settlement),
}

/// Asks whether something may be used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Whose account.
    pub(super) owner: Owner,
    /// Which limits hold.
    pub(super) tier: String,
    /// Who asks.
    pub(super) instance: InstanceId,
    /// The place of this among all messages of that instance.
    pub(super) version: u64,
    /// Replies of the caller that run there, with the one that is asked for.
    pub(super) running: u64,
    /// Tokens that it may take.
    pub(super) tokens: u64,
    /// It is a request; otherwise more tokens for one that was granted.
    pub(super) is_request: bool,
}

/// Tells what came of something that was granted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Settlement {
    pub(super) owner: Owner,
    pub(super) tier: String,
    pub(super) instance: InstanceId,
    pub(super) version: u64,
    /// Replies of the caller that run there now.
    pub(super) running: u64,
    /// Tokens that were granted.
    pub(super) reserved: u64,
    /// Tokens that were used.
    pub(super) used: u64,
    /// Of these, those that count for the day: not where another goes on with the reply, and tells of all of it.
    pub(super) of_day: u64,
    /// It came to nothing: the request does not count.
    pub(super) returns_request: bool,
    /// It was granted by the receiver. Otherwise only the day's tokens and what runs are its matter.
    pub(super) is_of_receiver: bool,
}

/// Whether something may be used, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// `None`: it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<Refusal>,
    pub(super) standing: Standing,
}

/// Why something may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// What is reached.
    pub(super) limit: Limit,
    /// How much that is.
    pub(super) most: u64,
    /// After which it may. `None`: never.
    pub(super) wait: Option<Duration>,
}

/// A limit of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Tokens per day.
    TokensPerDay,
    /// Replies at once.
    Replies,
}

/// What a caller has left of its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Requests. `None`: there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<Level>,
    /// Tokens: of a minute, or where only that is limited of a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<Level>,
}

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Level {
    /// The limit.
    pub(crate) limit: u64,
    /// What can be used now.
    pub(crate) remaining: u64,
    /// The time until all of it can.
    pub(crate) reset: Duration,
}

impl Limit {
    /// As operators and clients read it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests per minute",
            Self::Tokens => "tokens per minute",
            Self::TokensPerDay => "tokens per day",
            Self::Replies => "replies at once",
        }
    }

    /// Its label in the metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_minute",
            Self::Tokens => "tokens_per_minute",
            Self::TokensPerDay => "tokens_per_day",
            Self::Replies => "replies_at_once",
        }
    }
}

impl Message {
    /// As it is sent.
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
}
