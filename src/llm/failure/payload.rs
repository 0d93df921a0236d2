//! The error inside an answer, wherever its server puts it, and what counts as an error where no status marks it.

use serde_json::Value;

use super::words::STATUS_WORDS;
use super::{any, is_page};

/// The most characters of an upstream's message that are passed on.
const MAX_MESSAGE_CHARS: usize = 500;

/// The most errors of a list that are passed on.
const MAX_LISTED: usize = 3;

/// The error inside an answer, wherever its server puts it.
#[derive(Debug, Default)]
pub(super) struct Payload {
    pub(super) message: Option<String>,
    pub(super) code: Option<String>,
    /// The `type`, or `status`: a word for the kind of error.
    pub(super) sort: Option<String>,
    /// The parameter that it is about.
    pub(super) param: Option<String>,
    pub(super) is_page: bool,
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

impl Payload {
    pub(super) fn read(text: &str) -> Self {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => Self::of(&value),
            Err(_) if is_page(text) => Self { is_page: true, ..Self::default() },
            Err(_) => Self { message: message(text), ..Self::default() },
        }
    }

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Array(list) => {
                let mut all: Vec<_> = list.iter().take(MAX_LISTED).map(Self::of).collect();
                let messages: Vec<_> = all.iter_mut().filter_map(|payload| payload.message.take()).collect();
                let first = all.into_iter().next().unwrap_or_default();
                Self { message: message(&messages.join("; ")), ..first }
            }
            Value::String(text) => Self { message: message(text), ..Self::default() },
            // Mistral: the list of what is wrong stands where the text should.
            Value::Object(fields)
                if fields.get("message").is_some_and(|inner| inner.is_object() || inner.is_array()) =>
            {
                let payload = Self::of(&fields["message"]);
                let code = payload.code.clone().or_else(|| word(fields.get("code")));
                Self { code, sort: word(fields.get("type")).or_else(|| payload.sort.clone()), ..payload }
            }
            Value::Object(fields) => {
                let inner = INNER.iter().filter_map(|key| fields.get(*key));
                let code = || CODES.iter().find_map(|key| word(fields.get(*key)));
                let sort = || SORTS.iter().find_map(|key| word(fields.get(*key)));
                if let Some(inner) = inner.into_iter().find(|inner| is_more(inner)) {
                    let payload = Self::of(inner);
                    let own = |text: &&str| payload.message.as_deref() != Some(*text);
                    // Beside a short word for the error stands what is wrong.
                    let beside = TEXTS.iter().filter_map(|key| fields.get(*key)?.as_str()).find(own);
                    let message = match (&payload.message, beside) {
                        (Some(kind), Some(text)) if inner.is_string() => message(&format!("{text} ({kind})")),
                        (None, Some(text)) => message(text),
                        _ => payload.message,
                    };
                    return Self {
                        message,
                        code: payload.code.or_else(code),
                        sort: payload.sort.or_else(sort),
                        param: payload.param.or_else(|| word(fields.get("param"))),
                        is_page: false,
                    };
                }
                let text = TEXTS.iter().find_map(|key| fields.get(*key)).and_then(Value::as_str);
                // FastAPI: which field is meant.
                let place = fields
                    .get("loc")
                    .and_then(Value::as_array)
                    .map(|place| place.iter().map(|part| part.as_str().unwrap_or("*")).collect::<Vec<_>>().join("."));
                // OpenRouter: the error of the server behind it.
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
    pub(super) fn words(&self) -> String {
        let parts = [&self.message, &self.code, &self.sort, &self.param];
        parts.into_iter().flatten().map(|part| part.to_lowercase()).collect::<Vec<_>>().join(" ")
    }

    /// The HTTP status that an error in a stream would have had.
    pub(super) fn status(&self) -> u16 {
        let code = self.code.as_deref().and_then(|code| code.parse().ok());
        if let Some(code @ 400..=599) = code {
            return code;
        }
        let words = self.words();
        let first = STATUS_WORDS.iter().find(|(_, list)| any(&words, list));
        first.map_or(500, |(status, _)| *status)
    }

    pub(super) fn label(&self, status: u16) -> String {
        if self.is_page { format!("HTTP {status}, with a web page") } else { format!("HTTP {status}") }
    }

    pub(super) fn cause(&self, status: u16, what: &str) -> String {
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

/// Whether the value of an `error` field is none: empty, or with a code for success.
pub(in crate::llm) fn is_no_error(json: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return false };
    match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text.eq_ignore_ascii_case("null"),
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Array(list) => list.is_empty(),
        Value::Object(_) => {
            let payload = Payload::of(&value);
            payload.message.is_none() && payload.code.as_deref().is_none_or(is_success) && payload.sort.is_none()
        }
        Value::Bool(true) => false,
    }
}

/// Whether an object that has no choices is an error, in whichever words.
pub(in crate::llm) fn is_error(json: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(json) else { return false };
    let is_word = |name: &str, words: &[&str]| {
        let word = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        words.iter().any(|known| known.eq_ignore_ascii_case(word))
    };
    let holds = |name: &&str| fields.get(*name).is_some_and(|value| !is_no_error(&value.to_string()));
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

/// Fields that describe in words what is wrong.
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

/// Codes of servers that report the outcome in every answer.
fn is_success(code: &str) -> bool {
    matches!(code.to_ascii_lowercase().as_str(), "0" | "200" | "ok" | "success")
}
