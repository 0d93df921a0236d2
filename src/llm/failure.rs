//! Failures of an upstream, sorted by what may be done about them. Servers word the same error in many ways; the
//! wordings that are known are here.
//!
//! A client sees what it can use, without keys and addresses ([`redact`]). The logged cause holds codes, and for a 4xx
//! no text of the upstream, which may repeat the prompt, unless the text has an address that the client does not see.

use std::time::Duration;

use super::delta::{UpstreamError, UpstreamErrorKind as Kind};
use crate::domain::event::{ErrorCode, ReplyError};

pub(super) mod redact;
mod payload;
mod words;

pub(super) use payload::{is_error, is_no_error};

use payload::Payload;
use words::{CONTEXT_LENGTH, MODERATION, PREFILL};

/// An error answer, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    /// How long the upstream asks to wait.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: &'a str,
}

/// An answer with a status other than 200.
pub(super) fn of_answer(answer: Answer<'_>) -> UpstreamError {
    let Answer { status, retry_after, body } = answer;
    let payload = Payload::read(body);
    sort(status, retry_after, &payload, &format!("it answered {status}"))
}

/// An error that came in a stream, under 200.
pub(super) fn in_stream(json: &str) -> UpstreamError {
    let payload = Payload::read(json);
    sort(payload.status(), None, &payload, "it sent an error in its stream")
}

/// The connection failed, or an answer did not come in time.
pub(super) fn unreachable(message: &str, cause: impl Into<String>) -> UpstreamError {
    UpstreamError { error: ReplyError::server(message), cause: cause.into(), kind: Kind::Retry { after: None } }
}

/// Something came that is no chunk.
pub(super) fn unreadable(text: &str, error: &serde_json::Error) -> UpstreamError {
    let cause = format!("{} bytes that are no chunk: {:?} at column {}", text.len(), error.classify(), error.column());
    if is_page(text) {
        return unreachable("The model server answered with a web page, not with an API's answer.", cause);
    }
    unreachable("The model server sent something that is not JSON.", cause)
}

/// The answer is not JSON: a page, or an error in plain words. If the words name what is wrong, they count.
pub(super) fn no_json(text: &str) -> UpstreamError {
    let failure = in_stream(text);
    let cause = format!("{} bytes that are no JSON", text.len());
    if is_page(text) {
        return unreachable("The model server answered with a web page, not with an API's answer.", cause);
    }
    match failure.kind {
        Kind::Retry { .. } if failure.error.code == ErrorCode::ServerError => {
            unreachable("The model server sent something that is not JSON.", cause)
        }
        _ => failure,
    }
}

/// The answer of a server that cannot stream: lines that belong to no stream.
pub(super) fn stray(text: &str) -> UpstreamError {
    let failure = in_stream(text);
    match failure.kind {
        Kind::Retry { .. } if failure.error.code == ErrorCode::ServerError => {
            unreachable("The model server sent something that is no stream.", format!("{} stray bytes", text.len()))
        }
        _ => failure,
    }
}

/// The stream ended without marking its end.
pub(super) fn broke_off(has_output: bool) -> UpstreamError {
    if has_output {
        return unreachable("The model server broke off.", "its stream ended with neither a reason nor [DONE]");
    }
    unreachable("The model server answered with nothing.", "its stream ended with no text, reason or [DONE]")
}

/// Something that no upstream is asked for, because it could not take it.
pub(super) fn unsupported(message: impl Into<String>) -> UpstreamError {
    let message = message.into();
    UpstreamError {
        cause: "the request has something that this model server cannot take".to_owned(),
        error: ReplyError { code: ErrorCode::InvalidPrompt, message },
        kind: Kind::Request,
    }
}

fn sort(status: u16, retry_after: Option<Duration>, payload: &Payload, what: &str) -> UpstreamError {
    let words = payload.words();
    let kind = kind(status, retry_after, payload, &words);
    let message = payload.message.as_deref().map(redact::for_clients);
    let detail = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    let (code, message) = match kind {
        Kind::Retry { .. } if is_rate_limit(status, &words) => {
            (ErrorCode::RateLimitExceeded, "The model server has too much to do.".to_owned())
        }
        Kind::Retry { .. } => (ErrorCode::ServerError, format!("The model server failed ({}).", payload.label(status))),
        Kind::ContextLength => {
            (ErrorCode::ContextLengthExceeded, format!("The context is longer than the model's window{detail}"))
        }
        Kind::Credentials => (ErrorCode::ServerError, "The model server does not accept our credentials.".to_owned()),
        Kind::PrefillRejected => {
            (ErrorCode::ServerError, "The model server does not continue a message of its own.".to_owned())
        }
        Kind::Request if (300..400).contains(&status) => {
            (ErrorCode::ServerError, format!("The model server sends us elsewhere ({status})."))
        }
        Kind::Request if status == 404 => {
            (ErrorCode::InvalidPrompt, format!("The model server has no such model{detail}"))
        }
        Kind::Request => (ErrorCode::InvalidPrompt, format!("The model server refused the request{detail}")),
    };
    UpstreamError { error: ReplyError { code, message }, cause: cause(status, payload, what), kind }
}

/// For people on call. What was taken out of the words for the client stands here, but for the keys.
fn cause(status: u16, payload: &Payload, what: &str) -> String {
    let cause = payload.cause(status, what);
    let Some(message) = &payload.message else { return cause };
    let whole = redact::without_keys(message);
    if status < 500 && whole != redact::for_clients(message) {
        cause + ": " + &whole
    } else {
        redact::without_keys(&cause)
    }
}

fn kind(status: u16, retry_after: Option<Duration>, payload: &Payload, words: &str) -> Kind {
    let retry = Kind::Retry { after: retry_after };
    if matches!(status, 400 | 413 | 422 | 500) && any(words, CONTEXT_LENGTH) {
        return Kind::ContextLength;
    }
    if matches!(status, 400 | 422 | 500) && any(words, PREFILL) {
        return Kind::PrefillRejected;
    }
    match status {
        // The content is refused, not the credentials.
        403 if any(words, MODERATION) => Kind::Request,
        // 402: the account is empty. Ours, not the client's.
        401..=403 => Kind::Credentials,
        // 421: another connection may do. 423: a model is being loaded. 424: what is behind it failed. 499: it gave up.
        408 | 409 | 421 | 423..=425 | 429 | 499 => retry,
        300..=499 if !payload.is_page => Kind::Request,
        // A proxy that has lost its server answers with a page, whatever the number above it.
        300..=499 if status != 404 => retry,
        300..=499 => Kind::Request,
        _ => retry,
    }
}

fn is_rate_limit(status: u16, words: &str) -> bool {
    matches!(status, 429 | 529) || any(words, &["rate_limit", "rate limit", "overloaded", "resource_exhausted"])
}

fn any(words: &str, list: &[&str]) -> bool {
    list.iter().any(|item| words.contains(item))
}

fn is_page(text: &str) -> bool {
    text.trim_start().starts_with('<')
}

#[cfg(test)]
mod tests;
