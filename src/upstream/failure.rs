//! Failures of an upstream, sorted by what may be done about them. Servers say the same thing in many words; what is
//! known of those words is here.
//!
//! A client is told what it can use. The logged cause holds codes and no text of the upstream where that may repeat
//! the prompt: with a 4xx.

use std::time::Duration;

use serde_json::Value;

use super::delta::{UpstreamError, UpstreamErrorKind as Kind};
use crate::conversation::event::{ErrorCode, ReplyError};

/// The most characters of an upstream's message that are passed on.
const MAX_MESSAGE_CHARS: usize = 500;

/// The most errors of a list that are passed on.
const MAX_LISTED: usize = 3;

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
    let said = Said::read(body);
    sort(status, retry_after, &said, &format!("it answered {status}"))
}

/// An error that came in a stream, under 200.
pub(super) fn in_stream(json: &str) -> UpstreamError {
    let said = Said::read(json);
    sort(said.status(), None, &said, "it sent an error in its stream")
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

/// The stream ended without saying that it was the end.
pub(super) fn broke_off(spoke: bool) -> UpstreamError {
    if spoke {
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

fn sort(status: u16, retry_after: Option<Duration>, said: &Said, what: &str) -> UpstreamError {
    let words = said.words();
    let kind = kind(status, retry_after, said, &words);
    let told = said.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let (code, message) = match kind {
        Kind::Retry { .. } if is_rate_limit(status, &words) => {
            (ErrorCode::RateLimitExceeded, "The model server has too much to do.".to_owned())
        }
        Kind::Retry { .. } => (ErrorCode::ServerError, format!("The model server failed ({}).", said.label(status))),
        Kind::ContextLength => {
            (ErrorCode::ContextLengthExceeded, format!("The context is longer than the model's window{told}"))
        }
        Kind::Credentials => (ErrorCode::ServerError, "The model server does not accept our credentials.".to_owned()),
        Kind::PrefillRejected => {
            (ErrorCode::ServerError, "The model server does not continue a message of its own.".to_owned())
        }
        Kind::Request if (300..400).contains(&status) => {
            (ErrorCode::ServerError, format!("The model server sends us elsewhere ({status})."))
        }
        Kind::Request if status == 404 => {
            (ErrorCode::InvalidPrompt, format!("The model server has no such model{told}"))
        }
        Kind::Request => (ErrorCode::InvalidPrompt, format!("The model server refused the request{told}")),
    };
    UpstreamError { error: ReplyError { code, message }, cause: said.cause(status, what), kind }
}

fn kind(status: u16, retry_after: Option<Duration>, said: &Said, words: &str) -> Kind {
    let retry = Kind::Retry { after: retry_after };
    if matches!(status, 400 | 413 | 422 | 500) && any(words, CONTEXT_LENGTH) {
        return Kind::ContextLength;
    }
    if matches!(status, 400 | 422 | 500) && any(words, PREFILL) {
        return Kind::PrefillRejected;
    }
    match status {
        // 402: the account is empty. Ours, not the client's.
        401..=403 => Kind::Credentials,
        408 | 409 | 425 | 429 => retry,
        300..=499 if !said.is_page => Kind::Request,
        // A proxy that has lost its server answers with a page, whatever the number above it.
        300..=499 if status != 404 => retry,
        300..=499 => Kind::Request,
        _ => retry,
    }
}

fn is_rate_limit(status: u16, words: &str) -> bool {
    matches!(status, 429 | 529) || any(words, &["rate_limit", "rate limit", "overloaded", "resource_exhausted"])
}

/// How servers say that the context is too long.
const CONTEXT_LENGTH: &[&str] = &[
    "context_length_exceeded",
    "exceed_context_size",
    "context length",
    "context size",
    "context window",
    "context limit",
    "context the overflows",
    "max_model_len",
    "maximum model length",
    "too many tokens",
    "token count exceeds",
    "exceeds the maximum number of tokens",
    "`inputs` tokens + `max_new_tokens`",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input length exceeds",
    "reduce the length",
    "string_above_max_length",
];

/// How servers say that the last message must not be the assistant's.
const PREFILL: &[&str] = &[
    "prefill",
    "continue_final_message",
    "add_generation_prompt",
    "must end with a user message",
    "final assistant",
    "expected last role",
    "last message must be",
    "last message must not be",
    "last message cannot be",
    "last message role must be",
    "last role must be",
    "last message is not from the user",
    "last message should be from",
];

fn any(words: &str, list: &[&str]) -> bool {
    list.iter().any(|item| words.contains(item))
}

fn is_page(text: &str) -> bool {
    text.trim_start().starts_with('<')
}

/// What an error says, wherever its server puts it.
#[derive(Debug, Default)]
struct Said {
    message: Option<String>,
    code: Option<String>,
    /// The `type`, or `status`: a word for the kind of error.
    sort: Option<String>,
    is_page: bool,
}

impl Said {
    fn read(text: &str) -> Self {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => Self::of(&value),
            Err(_) if is_page(text) => Self { is_page: true, ..Self::default() },
            Err(_) => Self { message: message(text), ..Self::default() },
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Array(list) => {
                let mut all: Vec<_> = list.iter().take(MAX_LISTED).map(Self::of).collect();
                let messages: Vec<_> = all.iter_mut().filter_map(|said| said.message.take()).collect();
                let first = all.into_iter().next().unwrap_or_default();
                Self { message: message(&messages.join("; ")), ..first }
            }
            Value::String(text) => Self { message: message(text), ..Self::default() },
            Value::Object(fields) => {
                let inner = ["error", "detail", "errors"].iter().filter_map(|key| fields.get(*key));
                if let Some(inner) = inner.into_iter().find(|inner| !inner.is_null()) {
                    let said = Self::of(inner);
                    return Self { code: said.code.or_else(|| word(fields.get("code"))), ..said };
                }
                let text = ["message", "msg"].iter().find_map(|key| fields.get(*key)).and_then(Value::as_str);
                // FastAPI: which field is meant.
                let place = fields
                    .get("loc")
                    .and_then(Value::as_array)
                    .map(|place| place.iter().map(|part| part.as_str().unwrap_or("*")).collect::<Vec<_>>().join("."));
                // OpenRouter: what the server behind it said.
                let raw = fields.get("metadata").and_then(|metadata| metadata.get("raw")).and_then(Value::as_str);
                Self {
                    message: message(
                        &[place.as_deref(), text, raw].into_iter().flatten().collect::<Vec<_>>().join(": "),
                    ),
                    code: word(fields.get("code")),
                    sort: word(fields.get("type")).or_else(|| word(fields.get("status"))),
                    is_page: false,
                }
            }
            _ => Self::default(),
        }
    }

    /// All its words, for [`any`].
    fn words(&self) -> String {
        let parts = [&self.message, &self.code, &self.sort];
        parts.into_iter().flatten().map(|part| part.to_lowercase()).collect::<Vec<_>>().join(" ")
    }

    /// The HTTP status that an error in a stream would have had.
    fn status(&self) -> u16 {
        let code = self.code.as_deref().and_then(|code| code.parse().ok());
        if let Some(code @ 400..=599) = code {
            return code;
        }
        let words = self.words();
        if any(&words, &["rate_limit", "overloaded", "resource_exhausted"]) {
            429
        } else if any(&words, &["authentication", "invalid_api_key", "permission"]) {
            401
        } else if any(&words, &["invalid_request", "invalid_argument", "bad_request", "badrequest", "invalid_prompt"]) {
            400
        } else {
            500
        }
    }

    fn label(&self, status: u16) -> String {
        if self.is_page { format!("HTTP {status}, with a web page") } else { format!("HTTP {status}") }
    }

    fn cause(&self, status: u16, what: &str) -> String {
        let mut cause = what.to_owned();
        if self.is_page {
            cause += " with a web page";
        }
        for (name, part) in [("code", &self.code), ("type", &self.sort)] {
            if let Some(part) = part {
                cause = cause + ", " + name + " " + part;
            }
        }
        match &self.message {
            Some(message) if status >= 500 => cause + ": " + message,
            _ if status == 404 => cause + " (if the model exists: does the address lack /v1?)",
            _ => cause,
        }
    }
}

/// A code or type: a number, or a short word.
fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.chars().take(64).collect()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// An upstream's message, in one line of bounded length.
fn message(text: &str) -> Option<String> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then(|| line.chars().take(MAX_MESSAGE_CHARS).collect())
}

#[cfg(test)]
mod tests;
