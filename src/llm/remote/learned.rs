//! What a server does not take, as it was found out by trying, and how its refusals read.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use crate::domain::event::ErrorCode;
use crate::llm::delta::{UpstreamError, UpstreamErrorKind as Kind};

/// The most models of which it is remembered what they do not take.
const MAX_REMEMBERED: usize = 256;

/// What was found out by trying.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// It does not take `stream_options`.
    pub(super) refuses_usage: AtomicBool,
    /// Models whose limit of output is called by the other name than their server's dialect has for it.
    other_limit: Mutex<HashSet<String>>,
    /// Models that do not continue a message of their own.
    refuses_prefill: Mutex<HashSet<String>>,
}

impl Learned {
    pub(super) fn refuses_prefill(&self, model: &str) -> bool {
        self.refuses_prefill.lock().contains(model)
    }

    pub(super) fn has_other_limit(&self, model: &str) -> bool {
        self.other_limit.lock().contains(model)
    }

    pub(super) fn set_other_limit(&self, model: &str, is_other: bool) {
        let mut models = self.other_limit.lock();
        let changed = if is_other {
            models.len() < MAX_REMEMBERED && models.insert(model.to_owned())
        } else {
            models.remove(model)
        };
        if changed {
            tracing::info!(
                model,
                "the model takes its limit of tokens by the other name (max_tokens, max_completion_tokens)"
            );
        }
    }

    pub(super) fn refuse_prefill(&self, model: &str) {
        let mut models = self.refuses_prefill.lock();
        if models.len() < MAX_REMEMBERED && models.insert(model.to_owned()) {
            tracing::info!(
                model,
                "the model does not continue its own messages; from now on it is instructed to, in words"
            );
        }
    }
}

/// Whether a refusal is about the question for usage.
pub(super) fn is_about_usage(failure: &UpstreamError) -> bool {
    let words = &failure.error.message;
    failure.kind == Kind::Request && (words.contains("stream_options") || words.contains("include_usage"))
}

/// Whether a refusal is about the name of the limit of output. `counts_completion`: it was `max_completion_tokens`.
pub(super) fn is_about_limit(failure: &UpstreamError, counts_completion: bool) -> bool {
    const UNKNOWN: &[&str] = &[
        "unsupported",
        "not support",
        "unrecognized",
        "unrecognised",
        "unknown",
        "unexpected",
        "extra input",
        "extra_forbidden",
        "not permitted",
        "not allowed",
        "deprecated",
        "additional propert",
        "invalid parameter",
    ];
    let words = format!("{} {}", failure.error.message, failure.cause).to_lowercase();
    let is_unknown = || UNKNOWN.iter().any(|word| words.contains(word));
    let (has_new, has_old) = (words.contains("max_completion_tokens"), words.contains("max_tokens"));
    let by_kind = matches!(failure.kind, Kind::Request | Kind::Retry { after: None });
    by_kind && if counts_completion { has_new && is_unknown() } else { has_new || has_old && is_unknown() }
}

/// Whether a refusal may be about a final assistant message: servers word it in too many ways to know them all, and
/// asking once more in words costs little.
pub(super) fn may_be_prefill(failure: &UpstreamError) -> bool {
    let refused = failure.kind == Kind::Request && failure.error.code == ErrorCode::InvalidPrompt;
    failure.kind == Kind::PrefillRejected || refused
}
