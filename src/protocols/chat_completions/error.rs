//! Errors in the words of Chat Completions: the same objects, about `messages` rather than `input`.

use crate::domain::event::ReplyError;
use crate::protocols::error::ApiError;

/// The same error, about what this API calls it. `messages` names, for each item of the input, the message from which
/// it was made.
pub(crate) fn renamed(error: ApiError, messages: &[usize]) -> ApiError {
    let message = error.message.replace("text.format", "response_format");
    let error = ApiError { message: message.replace("max_output_tokens", "max_completion_tokens"), ..error };
    if error.param.as_deref() == Some("max_output_tokens") {
        return error.with_param("max_completion_tokens");
    }
    error.about_messages(messages)
}

/// That a reply failed.
pub(super) fn failed(error: &ReplyError) -> ApiError {
    renamed(error.into(), &[])
}

/// No such completion.
pub(crate) fn not_found(id: &str) -> ApiError {
    let id: String = id.chars().take(80).collect();
    ApiError::client(404, format!("Chat completion with id '{id}' not found.")).with_param("completion_id")
}

/// Somebody stopped the reply. Chat Completions has no finish reason for that, and each that it has would be taken for
/// an end of the model's own.
pub(crate) fn cancelled() -> ApiError {
    let message = "The chat completion was cancelled. What was generated of it is kept if it is stored.";
    ApiError::client(409, message).with_code("cancelled")
}
