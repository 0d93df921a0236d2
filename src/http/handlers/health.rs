//! What stands at `/`, and what probes and scrapers ask for.

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};

use crate::http::failure::Failure;
use crate::http::respond::{self, Answer};
use crate::http::{Edge, page};
use crate::protocols::ApiError;
use crate::speech::Mode;

impl Edge {
    /// The page for a browser; for others what this is, and how to use it.
    pub(in crate::http) fn root(&self, headers: &HeaderMap) -> Answer {
        if page::is_wanted(headers) {
            return page::page(
                self.inner.speech.mode() != Mode::None,
                self.inner.hearing.mode() != Mode::None,
                headers,
            );
        }
        let mut answer = respond::text(StatusCode::OK, self.inner.greeting.clone());
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        answer
    }

    /// A file of the page.
    #[expect(clippy::unused_self, reason = "a handler like the others")]
    pub(in crate::http) fn page_file(&self, name: &str, headers: &HeaderMap) -> Result<Answer, Failure> {
        let unknown = || ApiError::unknown_url("GET", &format!("/page/{name}")).into();
        page::file(name, headers).ok_or_else(unknown)
    }

    /// The `OpenAPI` document.
    #[expect(clippy::unused_self, reason = "a handler like the others")]
    pub(in crate::http) fn openapi(&self) -> Answer {
        respond::json(&crate::http::document())
    }

    /// The process turns.
    #[expect(clippy::unused_self, reason = "a handler like the others")]
    pub(in crate::http) fn live(&self) -> Answer {
        respond::live()
    }

    /// Whether requests should be sent here.
    pub(in crate::http) fn ready(&self) -> Answer {
        match self.inner.health.unready() {
            None => respond::text(StatusCode::OK, "ok\n"),
            // Whom it is told to is not known: why is told to those who may know.
            Some(_) if self.inner.auth.is_on() => respond::text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            Some(reason) => respond::text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    }

    /// Everything that is known of the server's health.
    pub(in crate::http) async fn health(&self) -> Answer {
        respond::json(&self.inner.health.report().await)
    }

    /// All instruments.
    pub(in crate::http) fn metrics(&self) -> Answer {
        let mut answer = respond::text(StatusCode::OK, self.inner.health.metrics());
        let media = HeaderValue::from_static(crate::telemetry::metrics::EXPOSITION_TYPE);
        answer.headers_mut().insert(header::CONTENT_TYPE, media);
        answer
    }
}
