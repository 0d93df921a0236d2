//! Which sites may use the server from a browser. Pure.
//!
//! A server without keys on a person's own machine must not be open to every page that this person visits: a request
//! with an `Origin` has to be JSON, so that the browser asks first, and is answered only for sites that are listed.
//! (Fetch standard, CORS protocol.)

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::config::CorsOrigins;

const EXPOSED: &str = "x-request-id, x-response-id, retry-after, retry-after-ms, x-ratelimit-limit-requests, \
     x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, \
     x-ratelimit-reset-tokens";
const METHODS: &str = "GET, POST, DELETE, OPTIONS";
const HEADERS: &str =
    "authorization, api-key, x-api-key, content-type, idempotency-key, last-event-id, openai-beta, x-request-id";

impl CorsOrigins {
    /// The headers of an answer to a request from `origin`.
    pub(in crate::http) fn headers(&self, origin: Option<&HeaderValue>) -> Vec<(HeaderName, HeaderValue)> {
        let Some(allowed) = self.allowed(origin) else { return Vec::new() };
        let mut headers = vec![
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)),
        ];
        // Cookies go to pages that are named alone (Fetch standard, 3.3.4).
        if matches!(self, Self::List(_)) {
            headers.push((header::VARY, HeaderValue::from_static("origin")));
            headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        headers
    }

    /// The headers of an answer to a browser that asks first.
    pub(in crate::http) fn preflight(&self, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = self.headers(request.get(header::ORIGIN));
        if headers.is_empty() {
            return headers;
        }
        headers.push((header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS)));
        // The SDKs send headers of their own (`x-stainless-…`): what is asked for is allowed.
        let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let allowed = asked.unwrap_or_else(|| HeaderValue::from_static(HEADERS));
        headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, allowed));
        headers.push((header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")));
        headers
    }

    /// Whether pages of this origin may call.
    pub(super) fn lists(&self, origin: &HeaderValue) -> bool {
        self.allowed(Some(origin)).is_some()
    }

    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let origin = origin?;
        match self {
            Self::None => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::List(sites) => sites.iter().any(|site| site.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_sites_are_answered() {
        let listed = CorsOrigins::List(vec!["https://chat.example".to_owned()]);
        let site = HeaderValue::from_static("https://chat.example");
        let other = HeaderValue::from_static("https://evil.example");
        assert_eq!(listed.headers(Some(&site))[0].1, "https://chat.example");
        let with_cookies = |origins: &CorsOrigins| {
            origins.headers(Some(&site)).iter().any(|(name, _)| name == header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
        };
        assert!(with_cookies(&listed) && !with_cookies(&CorsOrigins::Any));
        assert!(listed.headers(Some(&other)).is_empty());
        assert!(CorsOrigins::None.headers(Some(&site)).is_empty());
        assert_eq!(CorsOrigins::Any.headers(Some(&other))[0].1, "*");
        assert!(CorsOrigins::Any.headers(None).is_empty());
    }
}
