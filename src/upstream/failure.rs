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

/// Something came that is no JSON: a page, or an error in plain words. Where the words say what is wrong, they count.
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

/// What a server said that does not know how to stream: lines that are none of a stream.
pub(super) fn stray(text: &str) -> UpstreamError {
    let failure = in_stream(text);
    match failure.kind {
        Kind::Retry { .. } if failure.error.code == ErrorCode::ServerError => {
            unreachable("The model server sent something that is no stream.", format!("{} stray bytes", text.len()))
        }
        _ => failure,
    }
}

/// Whether the value of an `error` field is none: empty, or with a code for success.
pub(super) fn says_nothing(json: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return false };
    match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text.eq_ignore_ascii_case("null"),
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Array(list) => list.is_empty(),
        Value::Object(_) => {
            let said = Said::of(&value);
            said.message.is_none() && said.code.as_deref().is_none_or(is_success) && said.sort.is_none()
        }
        Value::Bool(true) => false,
    }
}

/// Whether an object that has no choices is an error, in whichever words.
pub(super) fn is_error(json: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(json) else { return false };
    let is_word = |name: &str, words: &[&str]| {
        let word = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        words.iter().any(|known| known.eq_ignore_ascii_case(word))
    };
    let holds = |name: &&str| fields.get(*name).is_some_and(|value| !says_nothing(&value.to_string()));
    let is_http_error = |name: &&str| {
        let code = fields.get(*name).and_then(|value| word(Some(value))).and_then(|code| code.parse::<u16>().ok());
        code.is_some_and(|code| (400..=599).contains(&code))
    };
    ERROR_FIELDS.iter().any(holds)
        || is_word("type", &["error", "exception"])
        || is_word("object", &["error"])
        || is_word("status", &["error", "failed", "failure"])
        || ["success", "ok"].iter().any(|name| fields.get(*name) == Some(&Value::Bool(false)))
        || ["status", "status_code", "statusCode", "code", "error_code"].iter().any(is_http_error)
        || fields
            .get("base_resp")
            .and_then(|inner| word(inner.get("status_code")))
            .is_some_and(|code| !is_success(&code))
        || (TEXTS.iter().any(holds) && !fields.contains_key("usage") && !fields.contains_key("choices"))
}

/// Fields that hold an error, where a whole object is one.
const ERROR_FIELDS: &[&str] = &[
    "error",
    "errors",
    "detail",
    "details",
    "fault",
    "exception",
    "error_message",
    "errorMessage",
    "error_msg",
    "errorMsg",
    "error_description",
    "Error",
    "__type",
];

/// Where an error says in words what is wrong.
const TEXTS: &[&str] = &[
    "message",
    "msg",
    "Message",
    "error_message",
    "errorMessage",
    "error_msg",
    "errorMsg",
    "error_description",
    "description",
    "status_msg",
    "faultstring",
    "reason",
    "title",
    "text",
];

/// Where it has a code.
const CODES: &[&str] = &[
    "code",
    "error_code",
    "errorCode",
    "status_code",
    "statusCode",
    "err_code",
    "errcode",
    "http_status",
    "httpStatus",
];

/// Codes of servers that tell in every answer how it went.
fn is_success(code: &str) -> bool {
    matches!(code.to_ascii_lowercase().as_str(), "0" | "200" | "ok" | "success")
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

/// How servers say under 200 what another status would have said.
const STATUS_WORDS: &[(u16, &[&str])] = &[
    (
        429,
        &[
            "rate_limit",
            "rate limit",
            "ratelimit",
            "overloaded",
            "resource_exhausted",
            "too many requests",
            "too_many_requests",
            "throttl",
            "server is busy",
            "over capacity",
        ],
    ),
    (
        401,
        &[
            "authentication",
            "invalid_api_key",
            "invalid api key",
            "incorrect api key",
            "permission",
            "unauthorized",
            "insufficient_quota",
            "insufficient balance",
            "accessdenied",
        ],
    ),
    (404, &["model_not_found", "model not found"]),
    (
        400,
        &[
            "invalid_request",
            "invalid_argument",
            "bad_request",
            "badrequest",
            "bad request",
            "invalid_prompt",
            "unsupported_parameter",
            "unsupported parameter",
            "validation",
        ],
    ),
];

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
    /// The parameter that it is about.
    param: Option<String>,
    is_page: bool,
}

/// Fields that hold the error itself.
const INNER: &[&str] = &["error", "detail", "errors", "details", "fault", "exception", "Error", "base_resp"];

/// Fields with a word for the kind of error.
const SORTS: &[&str] = &["type", "error_type", "status", "__type", "errorType", "name"];

/// Whether a field that should hold an error does.
fn is_more(inner: &Value) -> bool {
    match inner {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
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
            // Mistral: the list of what is wrong stands where the text should.
            Value::Object(fields)
                if fields.get("message").is_some_and(|inner| inner.is_object() || inner.is_array()) =>
            {
                let said = Self::of(&fields["message"]);
                let code = said.code.clone().or_else(|| word(fields.get("code")));
                Self { code, sort: word(fields.get("type")).or_else(|| said.sort.clone()), ..said }
            }
            Value::Object(fields) => {
                let inner = INNER.iter().filter_map(|key| fields.get(*key));
                let code = || CODES.iter().find_map(|key| word(fields.get(*key)));
                let sort = || SORTS.iter().find_map(|key| word(fields.get(*key)));
                if let Some(inner) = inner.into_iter().find(|inner| is_more(inner)) {
                    let said = Self::of(inner);
                    let own = |text: &&str| said.message.as_deref() != Some(*text);
                    // Beside a short word for the error stands what is wrong.
                    let beside = TEXTS.iter().filter_map(|key| fields.get(*key)?.as_str()).find(own);
                    let message = match (&said.message, beside) {
                        (Some(short), Some(beside)) if inner.is_string() => message(&format!("{beside} ({short})")),
                        (None, Some(beside)) => message(beside),
                        _ => said.message,
                    };
                    return Self {
                        message,
                        code: said.code.or_else(code),
                        sort: said.sort.or_else(sort),
                        param: said.param.or_else(|| word(fields.get("param"))),
                        is_page: false,
                    };
                }
                let text = TEXTS.iter().find_map(|key| fields.get(*key)).and_then(Value::as_str);
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
                    code: code(),
                    sort: sort(),
                    param: word(fields.get("param")),
                    is_page: false,
                }
            }
            _ => Self::default(),
        }
    }

    /// All its words, for [`any`].
    fn words(&self) -> String {
        let parts = [&self.message, &self.code, &self.sort, &self.param];
        parts.into_iter().flatten().map(|part| part.to_lowercase()).collect::<Vec<_>>().join(" ")
    }

    /// The HTTP status that an error in a stream would have had.
    fn status(&self) -> u16 {
        let code = self.code.as_deref().and_then(|code| code.parse().ok());
        if let Some(code @ 400..=599) = code {
            return code;
        }
        let words = self.words();
        let first = STATUS_WORDS.iter().find(|(_, list)| any(&words, list));
        first.map_or(500, |(status, _)| *status)
    }

    fn label(&self, status: u16) -> String {
        if self.is_page { format!("HTTP {status}, with a web page") } else { format!("HTTP {status}") }
    }

    fn cause(&self, status: u16, what: &str) -> String {
        let mut cause = what.to_owned();
        if self.is_page {
            cause += " with a web page";
        }
        for (name, part) in [("code", &self.code), ("type", &self.sort), ("param", &self.param)] {
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
