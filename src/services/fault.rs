//! How a call of a service ended, in words that hold for all services.

use std::time::Duration;

/// What went wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What it says of the service.
    pub(crate) kind: FaultKind,
    /// What a person on call is told, with all causes; never text of a message, never secrets.
    pub(crate) cause: String,
}

/// What a failed call says of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It could not be reached, answered too late, failed, or broke off.
    Unavailable,
    /// It has too much to do: it gets less, and is left alone for as long as it asks.
    Overloaded {
        /// For so long.
        after: Option<Duration>,
        /// It said so with 429: it works, and has had enough of us. Otherwise it failed under its load.
        works: bool,
    },
    /// It does not take any of our keys.
    Credentials,
    /// Nothing: the request itself was wrong.
    Request,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should.
    Completed,
    /// The call failed; a word for how, for metrics.
    Failed(&'static str),
    /// It was stopped here.
    Dropped,
}

impl Fault {
    /// The service could not be reached, failed, or broke off.
    pub(crate) fn unavailable(cause: impl Into<String>) -> Self {
        Self { kind: FaultKind::Unavailable, cause: cause.into() }
    }

    /// What an answer of this status says.
    pub(crate) fn of_status(status: u16, after: Option<Duration>) -> Self {
        let kind = match status {
            429 => FaultKind::Overloaded { after, works: true },
            503 | 529 => FaultKind::Overloaded { after, works: false },
            401..=403 => FaultKind::Credentials,
            300..=499 if !matches!(status, 408 | 425) => FaultKind::Request,
            _ => FaultKind::Unavailable,
        };
        Self { kind, cause: format!("it answered {status}") }
    }
}

impl FaultKind {
    /// A word for it, for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Overloaded { .. } => "overloaded",
            Self::Credentials => "credentials",
            Self::Request => "request",
        }
    }
}
