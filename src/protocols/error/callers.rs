//! What a client is told that may not do what it asks for. Nothing of a credential is repeated.

use super::{ApiError, ErrorKind};
use crate::domain::caller::Scope;
use crate::limits::{Limit, Limited};

impl ApiError {
    /// No credential, or one that is not good.
    pub(crate) fn invalid_api_key(is_missing: bool) -> Self {
        let message = if is_missing {
            "You didn't provide an API key. Send it in the header 'Authorization: Bearer YOUR_KEY', or in 'x-api-key'."
        } else {
            "Incorrect API key provided, or one that has expired. (Tokens have to be of the issuer that this server trusts.)"
        };
        Self::client(401, message).with_code("invalid_api_key")
    }

    /// A good credential for something else.
    pub(crate) fn insufficient_scope(scope: Scope) -> Self {
        let message =
            format!("You have insufficient permissions for this operation. Missing scope: {}.", scope.as_str());
        Self::client(403, message).with_code("insufficient_scope")
    }

    /// A name by which this server is not to be called.
    pub(crate) fn host_not_allowed() -> Self {
        let message =
            "This server is not to be called by this name. Whoever runs it can add the name to ALLOWED_HOSTS.";
        Self::client(403, message).with_code("host_not_allowed")
    }

    /// A page of another site.
    pub(crate) fn origin_not_allowed() -> Self {
        let message =
            "Pages of this origin may not use this server. Whoever runs it can add the origin to CORS_ORIGINS.";
        Self::client(403, message).with_code("origin_not_allowed")
    }

    /// The keys of the issuer are not known yet: a token may be good.
    pub(crate) fn issuer_unavailable() -> Self {
        Self::unavailable("Tokens cannot be verified now: the keys of their issuer are not known yet; try again.")
    }

    /// The caller has used what its tier allows.
    pub(crate) fn limited(limited: &Limited) -> Self {
        let Limited { limit, most, tokens, wait, .. } = limited;
        let message = match (limit, wait) {
            (_, None) => format!(
                "Request too large: it may take {tokens} tokens, and the limit is {most} {}. Ask for less output, or send less \
                 input.",
                limit.as_str()
            ),
            (Limit::Replies, _) => format!("Rate limit reached: {most} replies are running, which is the limit."),
            (_, Some(wait)) => {
                let seconds = wait.as_millis().div_ceil(1000);
                format!("Rate limit reached: the limit is {most} {}. Please try again in {seconds}s.", limit.as_str())
            }
        };
        let kind = ErrorKind::RateLimit;
        Self { kind, retry_after: *wait, ..Self::client(429, message).with_code("rate_limit_exceeded") }
    }

    /// What is not opened with a ticket.
    pub(crate) fn no_ticket_for(resource: &str) -> Self {
        let known = "/v1/responses/{id}/events, /v1/responses/{id}/audio or /v1/conversations/{id}/events";
        let message = format!("Invalid 'resource': expected the path of {known}, got '{}'.", super::brief(resource));
        Self::client(400, message).with_param("resource").with_code("invalid_value")
    }

    /// Nothing can be signed here.
    pub(crate) fn no_secret() -> Self {
        let message = "Tickets and sessions are not available: whoever runs this server has to set SECRET_KEY.";
        Self::server(501, message).with_code("not_configured")
    }

    /// A session is begun with something else than a key or a token.
    pub(crate) fn session_needs_key() -> Self {
        let message = "A session is begun with a key or a token in the header 'Authorization'.";
        Self::client(400, message).with_param("Authorization").with_code("invalid_value")
    }
}
