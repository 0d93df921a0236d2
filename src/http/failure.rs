//! Why a request is answered with an error: the one place where errors become answers, and are logged.

use crate::protocols::ApiError;
use crate::replies::{self, Error};
use crate::speech::Unspoken;

use super::respond::{self, Answer};

/// A request that is answered with an error.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is not one of the API, or asks for something that the API does not have.
    Api(ApiError),
    /// The reply runtime does not carry it out.
    Replies(replies::Error),
    /// Nobody speaks the text.
    Speech(Unspoken),
}

impl Failure {
    /// As a client is told.
    pub(super) fn told(&self) -> ApiError {
        match self {
            Self::Api(error) => error.clone(),
            Self::Replies(error) => ApiError::from(error),
            Self::Speech(unspoken) => ApiError::from(unspoken),
        }
    }

    /// The answer. What a client cannot do anything about is logged.
    pub(super) fn answer(&self) -> Answer {
        self.log();
        respond::error(&self.told())
    }

    /// The same in the words of another API than that of responses; logged already.
    pub(super) fn reworded(&self, reword: impl FnOnce(ApiError) -> ApiError) -> Self {
        self.log();
        Self::Api(reword(self.told()))
    }

    fn log(&self) {
        if let Self::Replies(error) = self {
            match error {
                Error::Unavailable(_) | Error::Full | Error::Upstream { .. } | Error::Internal => {
                    tracing::warn!(reason = crate::telemetry::causes::chain(error), "a request failed");
                }
                Error::Busy(_) => tracing::warn!(reason = %error, "a request was refused"),
                _ => {}
            }
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<replies::Error> for Failure {
    fn from(error: replies::Error) -> Self {
        Self::Replies(error)
    }
}

impl From<Unspoken> for Failure {
    fn from(unspoken: Unspoken) -> Self {
        Self::Speech(unspoken)
    }
}
