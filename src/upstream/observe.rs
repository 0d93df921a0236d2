//! What is told about calls of an upstream to whoever measures them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::delta::UpstreamErrorKind;

/// Takes note of calls. Every method is called on the path of a reply: it must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// The upstream's headers came, so long after the call.
    fn answered(&self, _after: Duration) {}

    /// The first content came: text, a thought, a refusal or a function call.
    fn began(&self, _after: Duration) {}

    /// The call is over. Told once for every call.
    fn ended(&self, _outcome: Outcome, _after: Duration) {}
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream said that it was done.
    Completed,
    /// It failed.
    Failed(UpstreamErrorKind),
    /// It was stopped here.
    Dropped,
}

/// Takes note of nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

impl Outcome {
    /// A word for it, for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed(UpstreamErrorKind::Retry { .. }) => "unavailable",
            Self::Failed(UpstreamErrorKind::PrefillRejected) => "prefill_rejected",
            Self::Failed(UpstreamErrorKind::ContextLength) => "context_length",
            Self::Failed(UpstreamErrorKind::Request) => "refused",
            Self::Failed(UpstreamErrorKind::Credentials) => "credentials",
            Self::Dropped => "dropped",
        }
    }
}

/// One call being watched, from its start until it ends or is dropped.
#[derive(Debug)]
pub(super) struct Watched {
    observer: Arc<dyn Observer>,
    begun: Instant,
    ended: bool,
}

impl Watched {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, begun: Instant::now(), ended: false }
    }

    /// When the call was made.
    pub(super) const fn begun(&self) -> Instant {
        self.begun
    }

    pub(super) fn answered(&self) {
        self.observer.answered(self.begun.elapsed());
    }

    pub(super) fn began(&self) {
        self.observer.began(self.begun.elapsed());
    }

    pub(super) fn ended(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.ended, true) {
            self.observer.ended(outcome, self.begun.elapsed());
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.ended(Outcome::Dropped);
    }
}
