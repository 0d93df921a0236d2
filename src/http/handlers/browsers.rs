//! What browsers need that cannot send a header with everything: tickets and sessions.

use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::{Method, Request, body::Incoming};

use crate::auth::now;
use crate::http::Edge;
use crate::http::failure::Failure;
use crate::http::middleware::{Asks, By, cookie};
use crate::http::respond::{self, Answer};
use crate::http::routes;
use crate::protocols::ApiError;
use crate::protocols::browsers::{CreateTicket, Session, Ticket};

impl Edge {
    /// A ticket for one resource and a minute, for an `EventSource` or an `<audio>`.
    pub(in crate::http) async fn create_ticket(
        &self,
        asks: &Asks,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let CreateTicket { resource } = CreateTicket::parse(&self.json_body(request).await?)?;
        let is_opened = routes::find(&Method::GET, &resource).is_ok_and(|(route, _)| route.schema.takes_ticket);
        if !is_opened {
            return Err(ApiError::no_ticket_for(&resource).into());
        }
        let (ticket, expires) = self.inner.auth.ticket(&asks.who, &resource).ok_or_else(ApiError::no_secret)?;
        Ok(private(respond::json(&Ticket::new(&resource, &ticket, expires))))
    }

    /// Signs a browser in, with the key or the token that it sends this once.
    pub(in crate::http) fn create_session(&self, asks: &Asks, headers: &HeaderMap) -> Result<Answer, Failure> {
        // A session is no credential for another: it would never end.
        if asks.by != By::Header {
            return Err(ApiError::session_needs_key().into());
        }
        let (session, expires) = self.inner.auth.session(&asks.who).ok_or_else(ApiError::no_secret)?;
        let mut answer = private(respond::json(&Session::new(&asks.who.caller, Some(expires))));
        answer
            .headers_mut()
            .extend(cookie::keep(&session, expires - now(), headers).map(|cookie| (SET_COOKIE, cookie)));
        Ok(answer)
    }

    /// Who asks.
    #[expect(clippy::unused_self, reason = "a handler like the others")]
    pub(in crate::http) fn get_session(&self, asks: &Asks) -> Answer {
        private(respond::json(&Session::new(&asks.who.caller, asks.who.expires)))
    }

    /// Signs a browser out.
    #[expect(clippy::unused_self, reason = "a handler like the others")]
    pub(in crate::http) fn delete_session(&self) -> Answer {
        let mut answer = respond::empty(hyper::StatusCode::NO_CONTENT);
        answer.headers_mut().insert(SET_COOKIE, cookie::forget());
        answer
    }
}

/// For whom it was made alone.
fn private(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
