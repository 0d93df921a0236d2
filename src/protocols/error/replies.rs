//! From what the reply runtime reports to what a client of the API is told: the one mapping, for bodies and events alike.

use super::{ApiError, ErrorKind, Range};
use crate::domain::event::{ErrorCode, ReplyError};
use crate::replies::{Busy, Error, Invalid, Missing};
use crate::speech::Unspoken;
use crate::speech::hearing::Unheard;

impl From<&Error> for ApiError {
    fn from(error: &Error) -> Self {
        let told = match error {
            Error::NotFound(missing) => not_found(missing),
            Error::ConversationLocked(running) => Self::conversation_locked(running),
            Error::ParentRunning(parent) => Self::previous_response_running(parent),
            Error::Invalid(invalid) => wrong(invalid),
            Error::TooLarge { most, .. } => Self::record_too_large(*most),
            Error::KeyReused => Self::idempotency_key_reused(),
            Error::Limited(limited) => Self::limited(limited),
            Error::Busy(busy) => Self::unavailable(why_busy(*busy)),
            Error::Unavailable(_) => {
                Self::unavailable("The server cannot reach what it needs for this request; try again.")
            }
            Error::Full => Self::unavailable("The server has no space left. Nothing was lost; try again later."),
            Error::Upstream { message, .. } => return Self::bad_gateway(message.clone()),
            Error::Unheard(reason) => Self::unavailable(*reason),
            Error::Internal => Self::internal(),
        };
        Self { retry_after: error.retry_after(), ..told }
    }
}

impl From<&ReplyError> for ApiError {
    /// A reply's failure: as an `error` event, or as the answer to a request that did not stream.
    fn from(error: &ReplyError) -> Self {
        let (status, kind, code) = match error.code {
            ErrorCode::ServerError => (502, ErrorKind::Server, "server_error"),
            ErrorCode::RateLimitExceeded => (429, ErrorKind::RateLimit, "rate_limit_exceeded"),
            ErrorCode::InvalidPrompt => (400, ErrorKind::InvalidRequest, "invalid_prompt"),
            ErrorCode::ContextLengthExceeded => (400, ErrorKind::InvalidRequest, "context_length_exceeded"),
        };
        let param = (error.code == ErrorCode::ContextLengthExceeded).then(|| "input".to_owned());
        let retry_after = (status == 429).then_some(std::time::Duration::from_secs(1));
        Self { status, kind, message: error.message.clone(), param, code: Some(code), retry_after }
    }
}

impl From<&Unspoken> for ApiError {
    fn from(unspoken: &Unspoken) -> Self {
        match unspoken {
            Unspoken::Refused(message) => Self::client(400, message.clone()),
            Unspoken::Format => {
                Self::client(400, unspoken.to_string()).with_param("response_format").with_code("invalid_value")
            }
            Unspoken::Nobody(reason) => {
                Self { retry_after: Some(std::time::Duration::from_secs(5)), ..Self::unavailable(*reason) }
            }
        }
    }
}

impl From<&Unheard> for ApiError {
    fn from(unheard: &Unheard) -> Self {
        match unheard {
            Unheard::Refused(message) => Self::client(400, message.clone()).with_param("file"),
            Unheard::Format => Self::client(400, unheard.to_string()).with_param("file").with_code("invalid_value"),
            Unheard::BrokenOff(reason) => Self::bad_gateway(*reason),
            Unheard::Nobody(reason) => {
                Self { retry_after: Some(std::time::Duration::from_secs(5)), ..Self::unavailable(*reason) }
            }
        }
    }
}

fn not_found(missing: &Missing) -> ApiError {
    match missing {
        Missing::Reply(id) => ApiError::response_not_found(&id.to_string()),
        Missing::Conversation(id) => ApiError::conversation_not_found(&id.conversation()),
        Missing::Context(id) => ApiError::conversation_not_found(&id.conversation()).with_param("conversation"),
        Missing::Parent(id) => ApiError::previous_response_not_found(&id.to_string()),
        Missing::Item(id) => ApiError::item_not_found(id),
        Missing::Reference { index, id } => ApiError::reference_not_found(format!("input[{index}]"), id),
        Missing::Model(name) => ApiError::unknown_model(name),
        Missing::User(name) => ApiError::user_not_found(name),
    }
}

fn wrong(invalid: &Invalid) -> ApiError {
    match invalid {
        Invalid::Image { item, part } => {
            let path = format!("input[{item}].content[{part}].image_url");
            ApiError::invalid(path, "expected an http, https or data URL")
        }
        Invalid::Audio { item, part, reason } => {
            ApiError::invalid(format!("input[{item}].content[{part}].input_audio"), reason)
        }
        Invalid::UnknownCall(call) => ApiError::unknown_call(call),
        Invalid::RepeatedOutput(call) => ApiError::repeated_call_output(call),
        Invalid::UnansweredCall(call) => ApiError::missing_call_output(call),
        Invalid::MaxOutput { given, most } => {
            ApiError::above_maximum("max_output_tokens", Range { noun: "integer", min: 1, max: *most }, given)
        }
        Invalid::PastEnd { given, last, .. } => ApiError::starting_after_past_end(*given, *last),
    }
}

const fn why_busy(busy: Busy) -> &'static str {
    match busy {
        Busy::Replies => "Too many replies are running; try again.",
        Busy::ModelServer => "The model server has too much to do; try again.",
        Busy::ShuttingDown => "This instance is shutting down; try again.",
        Busy::Contention => "Too many concurrent changes to this conversation; try again.",
        Busy::Stopping => "The reply could not be stopped yet; try again.",
        Busy::Moved => "The reply goes on elsewhere; get it by its id, in the x-response-id header.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ReplyId, ThreadId};

    #[test]
    fn what_may_succeed_later_says_when() {
        let after = |error: Error| ApiError::from(&error).retry_after.map(|after| after.as_secs());
        assert_eq!(after(Busy::ModelServer.into()), Some(5));
        assert_eq!(after(Error::Full), Some(1));
        assert_eq!(after(Error::KeyReused), None);
    }

    #[test]
    fn what_is_missing_is_named_by_its_parameter() {
        let reply = ReplyId::random(ThreadId::random());
        let param = |missing: Missing| ApiError::from(&Error::from(missing)).param;
        assert_eq!(param(Missing::Reply(reply)).as_deref(), Some("response_id"));
        assert_eq!(param(Missing::Parent(reply)).as_deref(), Some("previous_response_id"));
        assert_eq!(param(Missing::Context(reply.thread())).as_deref(), Some("conversation"));
        assert_eq!(param(Missing::Conversation(reply.thread())).as_deref(), Some("conversation_id"));
    }

    #[test]
    fn a_failed_reply_has_one_error_streamed_or_not() {
        let of = |code| ApiError::from(&ReplyError { code, message: String::new() });
        let told = |error: &ApiError| (error.status, error.code, error.param.clone());
        assert_eq!(told(&of(ErrorCode::ServerError)), (502, Some("server_error"), None));
        assert_eq!(told(&of(ErrorCode::RateLimitExceeded)), (429, Some("rate_limit_exceeded"), None));
        assert_eq!(told(&of(ErrorCode::InvalidPrompt)), (400, Some("invalid_prompt"), None));
        let too_long = of(ErrorCode::ContextLengthExceeded);
        assert_eq!(told(&too_long), (400, Some("context_length_exceeded"), Some("input".to_owned())));
    }
}
