//! What a client is told that may not do what it asks for. Nothing of a credential is repeated.

use super::ApiError;
use crate::domain::caller::Scope;

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
