//! Why a request is answered with an error: the one place where errors become answers, and are logged.

use hyper::header::{HeaderValue, WWW_AUTHENTICATE};

use crate::auth::Denied;
use crate::consumers::webhooks;
use crate::protocols::ApiError;
use crate::replies::{self, Error};
use crate::speech::Unspoken;
use crate::speech::hearing::Unheard;

use super::middleware::{Foreign, Refused, limits};
use super::respond::{self, Answer};

/// How a server of this kind asks for a credential; `rejoinder check` knows it by that.
pub(crate) const REALM: &str = "Bearer realm=\"rejoinder\"";

/// A request that is answered with an error.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is not one of the API, or asks for something that the API does not have.
    Api(ApiError),
    /// The reply runtime does not carry it out.
    Replies(replies::Error),
    /// The same, in the words of another API than that of responses.
    Reworded(replies::Error, Box<ApiError>),
    /// An endpoint of webhooks is not made, shown or changed.
    Webhooks(webhooks::Error),
    /// Nobody speaks the text.
    Speech(Unspoken),
    /// Nobody transcribes the recording.
    Hearing(Unheard),
    /// Whoever asks may not.
    Refused(Refused),
}

impl Failure {
    /// As a client is told.
    pub(super) fn told(&self) -> ApiError {
        match self {
            Self::Api(error) => error.clone(),
            Self::Replies(error) => ApiError::from(error),
            Self::Reworded(_, told) => (**told).clone(),
            Self::Webhooks(error) => ApiError::from(error),
            Self::Speech(unspoken) => ApiError::from(unspoken),
            Self::Hearing(unheard) => ApiError::from(unheard),
            Self::Refused(refused) => match refused {
                Refused::Denied(Denied::NoKeys) => ApiError::issuer_unavailable(),
                Refused::Denied(denied) => ApiError::invalid_api_key(*denied == Denied::Missing),
                Refused::Scope(scope) => ApiError::insufficient_scope(*scope),
                Refused::Foreign(Foreign::Host) => ApiError::host_not_allowed(),
                Refused::Foreign(Foreign::Origin) => ApiError::origin_not_allowed(),
            },
        }
    }

    /// Logs what a client cannot do anything about.
    pub(super) fn note(&self) {
        if let Self::Webhooks(error @ (webhooks::Error::Store(_) | webhooks::Error::Late)) = self {
            tracing::warn!(reason = crate::telemetry::causes::chain(error), "a request failed");
        }
        if let Self::Replies(error) | Self::Reworded(error, _) = self {
            match error {
                Error::Unavailable(_) | Error::Full | Error::Upstream { .. } | Error::Internal => {
                    tracing::warn!(reason = crate::telemetry::causes::chain(error), "a request failed");
                }
                Error::Busy(_) | Error::Unheard(_) => tracing::warn!(reason = %error, "a request was refused"),
                _ => {}
            }
        }
    }

    /// The answer. What a client cannot do anything about is logged.
    pub(super) fn answer(&self) -> Answer {
        self.note();
        let mut answer = respond::error(&self.told());
        if let Self::Refused(refused) = self {
            answer.headers_mut().extend(challenge(*refused).map(|challenge| (WWW_AUTHENTICATE, challenge)));
        }
        if let Self::Replies(Error::Limited(limited)) | Self::Reworded(Error::Limited(limited), _) = self {
            limits::refuse(&mut answer, limited);
        }
        answer
    }

    /// Whether something is not there, or is somebody else's: it is not told which.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::Replies(error) | Self::Reworded(error, _) => error.is_not_found(),
            Self::Webhooks(error) => matches!(error, webhooks::Error::NotFound(_)),
            _ => false,
        }
    }
}

/// What is wanted (RFC 6750, 3).
fn challenge(refused: Refused) -> Option<HeaderValue> {
    match refused {
        Refused::Denied(Denied::NoKeys) | Refused::Foreign(_) => None,
        Refused::Denied(Denied::Missing) => Some(HeaderValue::from_static(REALM)),
        Refused::Denied(_) => HeaderValue::from_str(&format!("{REALM}, error=\"invalid_token\"")).ok(),
        Refused::Scope(scope) => {
            HeaderValue::from_str(&format!("{REALM}, error=\"insufficient_scope\", scope=\"{}\"", scope.as_str())).ok()
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
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

impl From<webhooks::Error> for Failure {
    fn from(error: webhooks::Error) -> Self {
        Self::Webhooks(error)
    }
}

impl From<Unspoken> for Failure {
    fn from(unspoken: Unspoken) -> Self {
        Self::Speech(unspoken)
    }
}

impl From<Unheard> for Failure {
    fn from(unheard: Unheard) -> Self {
        Self::Hearing(unheard)
    }
}
