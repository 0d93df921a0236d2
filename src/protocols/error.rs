//! What a client is told when something is wrong: the error object of the API, and the status that goes with it.
//!
//! The message is public. What else there is to know about a failure is logged where it is handled.

mod bad_input;
mod callers;
mod messages;
mod replies;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub(crate) use bad_input::Range;

/// The code of a body whose coding is not known; its answer lists those that are.
pub(crate) const UNSUPPORTED_ENCODING: &str = "unsupported_content_encoding";

/// An error as a client sees it. Its body is [`ApiError::body`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The `type` of the error object.
    pub(crate) kind: ErrorKind,
    /// In words, for a person.
    pub(crate) message: String,
    /// The parameter that is to blame, as a path: `input[2].content[0].type`.
    pub(crate) param: Option<String>,
    /// For a program.
    pub(crate) code: Option<&'static str>,
    /// When to try again; the `retry-after` header.
    pub(crate) retry_after: Option<Duration>,
}

/// The `type` of an error object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The client is to change the request: `invalid_request_error`.
    InvalidRequest,
    /// The client is to wait: `rate_limit_exceeded`.
    RateLimit,
    /// The server, or what it depends on: `server_error`.
    Server,
}

/// The error object.
#[derive(Serialize)]
struct Object<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Object<'a>,
}

/// The `error` event. Its fields are documented at the top, and sent nested by others: clients read either.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    sequence_number: u64,
    code: Option<&'static str>,
    message: &'a str,
    param: Option<&'a str>,
    error: Object<'a>,
}

impl ErrorKind {
    /// As the API writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::RateLimit => "rate_limit_exceeded",
            Self::Server => "server_error",
        }
    }
}

impl ApiError {
    /// The body of the HTTP response: `{"error":{"message","type","param","code"}}`.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(&Body { error: self.object() }).expect("an error object is JSON")
    }

    /// Appends the error as the `error` event of a stream.
    pub(crate) fn append_event(&self, out: &mut Vec<u8>, sequence: u64) {
        let event = Event {
            r#type: "error",
            sequence_number: sequence,
            code: self.code,
            message: &self.message,
            param: self.param.as_deref(),
            error: self.object(),
        };
        serde_json::to_writer(out, &event).expect("an error event is JSON");
    }

    fn object(&self) -> Object<'_> {
        let (param, code) = (self.param.as_deref(), self.code);
        Object { message: &self.message, r#type: self.kind.as_str(), param, code }
    }

    /// An error of the client's making, without `param` and `code`.
    pub(crate) fn client(status: u16, message: impl Into<String>) -> Self {
        let (kind, message) = (ErrorKind::InvalidRequest, message.into());
        Self { status, kind, message, param: None, code: None, retry_after: None }
    }

    fn server(status: u16, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Server, code: Some("server_error"), ..Self::client(status, message) }
    }

    /// The same error, with its code.
    #[must_use]
    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same error, with the parameter that is to blame; an empty path is the body itself, and names none.
    #[must_use]
    pub(crate) fn with_param(self, path: impl fmt::Display) -> Self {
        Self { param: Some(path.to_string()).filter(|path| !path.is_empty()), ..self }
    }
}

/// What is asked for is not there, or not now.
impl ApiError {
    /// No such model; for requests that name one.
    pub(crate) fn unknown_model(model: &str) -> Self {
        let message = format!("The requested model '{}' does not exist.", brief(model));
        Self::client(400, message).with_param("model").with_code("model_not_found")
    }

    /// No such model; for `GET /v1/models/{id}`.
    pub(crate) fn model_not_found(model: &str) -> Self {
        Self { status: 404, ..Self::unknown_model(model) }
    }

    /// No such user: there are none without a credential.
    pub(crate) fn user_not_found(name: &str) -> Self {
        let message = format!("User '{}' not found: without a credential there are no users.", brief(name));
        Self::client(404, message).with_param("user_id")
    }

    /// No such reply.
    pub(crate) fn response_not_found(id: &str) -> Self {
        Self::client(404, format!("Response with id '{}' not found.", brief(id))).with_param("response_id")
    }

    /// There is a reply, and no audio of it; `reason` is a sentence.
    pub(crate) fn no_audio(id: &str, reason: &str) -> Self {
        Self::client(404, format!("Response '{}' has no audio. {reason}", brief(id))).with_param("response_id")
    }

    /// No such conversation.
    pub(crate) fn conversation_not_found(id: &str) -> Self {
        Self::client(404, format!("Conversation with id '{}' not found.", brief(id))).with_param("conversation_id")
    }

    /// No such endpoint of webhooks.
    pub(crate) fn webhook_endpoint_not_found(id: &str) -> Self {
        let message = format!("Webhook endpoint with id '{}' not found.", brief(id));
        Self::client(404, message).with_param("webhook_endpoint_id")
    }

    /// No such item.
    pub(crate) fn item_not_found(id: &str) -> Self {
        Self::client(404, format!("Item with id '{}' not found.", brief(id))).with_param("item_id")
    }

    /// An `item_reference` leads nowhere; `path` is the place of the reference.
    pub(crate) fn reference_not_found(path: impl fmt::Display, id: &str) -> Self {
        let id = brief(id);
        let message = format!(
            "Item with id '{id}' not found. Items are not persisted when `store` is set to false. \
             Try again with `store` set to true, or remove this item from your input."
        );
        Self::client(400, message).with_param(path).with_code("item_not_found")
    }

    /// The reply that is to be continued is not there.
    pub(crate) fn previous_response_not_found(id: &str) -> Self {
        Self::client(400, format!("Previous response with id '{}' not found.", brief(id)))
            .with_param("previous_response_id")
            .with_code("previous_response_not_found")
    }

    /// The reply that is to be continued is still running.
    pub(crate) fn previous_response_running(id: impl fmt::Display) -> Self {
        let message =
            format!("Previous response with id '{id}' is still in progress. Wait until it has ended, or cancel it.");
        Self::client(400, message).with_param("previous_response_id").with_code("previous_response_in_progress")
    }

    /// A reply is running in the conversation.
    pub(crate) fn conversation_locked(running: impl fmt::Display) -> Self {
        let message = format!(
            "Another process is currently operating on this conversation: the response '{running}' is in progress. \
             Wait until it has ended, or cancel it."
        );
        Self::client(400, message).with_param("conversation").with_code("conversation_locked")
    }

    /// `starting_after` is a number that the reply's events have not reached, and never will.
    pub(crate) fn starting_after_past_end(given: u64, last: u64) -> Self {
        let message = format!(
            "Invalid 'starting_after': integer above maximum value. \
             Expected a value <= {last}, the last event of this response, but got {given} instead."
        );
        Self::client(400, message).with_param("starting_after").with_code("integer_above_max_value")
    }

    /// No such address.
    pub(crate) fn unknown_url(method: &str, path: &str) -> Self {
        Self::client(404, format!("Invalid URL ({} {})", brief(method), brief(path))).with_code("unknown_url")
    }

    /// An address that does not take this method.
    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!(
            "Not allowed to {} on {} (HINT: Perhaps you meant to use a different HTTP method?)",
            brief(method),
            brief(path)
        );
        Self::client(405, message).with_code("method_not_supported")
    }
}

/// The request may not be made, or not like this.
impl ApiError {
    /// The body is larger than is read.
    pub(crate) fn too_large(limit: u64) -> Self {
        let message = format!("The request body is larger than {limit} bytes, the most that this server reads.");
        Self::client(413, message).with_code("request_too_large")
    }

    /// With what it refers to, the request is larger than what is stored.
    pub(crate) fn record_too_large(limit: usize) -> Self {
        let message = format!(
            "The request, with the items that it refers to, is larger than {limit} bytes, the most that this server stores at once."
        );
        Self::client(413, message).with_code("request_too_large")
    }

    /// A content type that is not taken here.
    pub(crate) fn unsupported_media_type() -> Self {
        let message = "Requests from web pages need the header 'Content-Type: application/json'.";
        Self::client(415, message).with_code("unsupported_media_type")
    }

    /// A body that is no form with files.
    pub(crate) fn no_form() -> Self {
        let message = "This request has to be a form: 'Content-Type: multipart/form-data' with a boundary.";
        Self::client(415, message).with_code("unsupported_media_type")
    }

    /// A form that cannot be read.
    pub(crate) fn damaged_form(error: &impl fmt::Display) -> Self {
        Self::client(400, format!("The form cannot be read: {error}.")).with_code("invalid_form")
    }

    /// A body that is compressed in a way that is not known here.
    pub(crate) fn unsupported_encoding(name: &str, known: &str) -> Self {
        let message = format!("The content encoding '{}' is not supported. Supported are: {known}.", brief(name));
        Self::client(415, message).with_param("Content-Encoding").with_code(UNSUPPORTED_ENCODING)
    }

    /// A body that is not compressed as it says.
    pub(crate) fn damaged_encoding() -> Self {
        let message = "The request body could not be decompressed as its header 'Content-Encoding' says.";
        Self::client(400, message).with_param("Content-Encoding").with_code("invalid_content_encoding")
    }

    /// A protocol that is not spoken here.
    pub(crate) fn upgrade_required(protocol: &str) -> Self {
        let message = format!("'{}' is not spoken here. Use HTTP/1.1 or HTTP/2 without an upgrade.", brief(protocol));
        Self::client(426, message).with_code("upgrade_required")
    }

    /// The client took too long to send the body (RFC 9110, 15.5.9).
    pub(crate) fn body_timeout(read: usize) -> Self {
        let message = format!("The request's body came too slowly: {read} bytes of it were read.");
        Self::client(408, message).with_code("request_timeout")
    }

    /// The header `Host` is missing, is there twice, or is no host (RFC 9112, 3.2).
    pub(crate) fn invalid_host(problem: &str) -> Self {
        Self::client(400, format!("The header 'Host' {problem}.")).with_code("invalid_host")
    }

    /// An `Idempotency-Key` that came before, with another request.
    pub(crate) fn idempotency_key_reused() -> Self {
        let message = "This Idempotency-Key was used before with a different request. Use a new key.";
        Self::client(400, message).with_param("Idempotency-Key").with_code("idempotency_key_reused")
    }

    /// A fault of this server.
    pub(crate) fn internal() -> Self {
        Self::server(500, "The server had an error while processing your request. Sorry about that!")
    }

    /// A fault of the upstream, before anything was accepted.
    pub(crate) fn bad_gateway(message: impl Into<String>) -> Self {
        Self::server(502, message)
    }

    /// Not now: bodies and answers take all the memory that they may.
    pub(crate) fn no_memory() -> Self {
        Self::unavailable("Too many long requests and answers are under way; try again.")
    }

    /// Not now: what the server depends on is away, or it is full, or it is going.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, ..Self::server(503, message).with_code("service_unavailable") }
    }
}

/// The beginning of something that a client sent, to be told back.
fn brief(text: &str) -> impl fmt::Display {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests;
