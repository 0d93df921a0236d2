//! A request on its way to its handler, and the answer on its way back.

use std::net::IpAddr;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};
use tokio::time::Instant;
use tracing::Instrument;

use super::failure::Failure;
use super::middleware::{Admission, Asks};
use super::respond::{self, Answer};
use super::routes::{self, Call, Route, Unrouted};
use super::server::Side;
use super::{Edge, host, websocket};
use crate::auth::AUDIT;
use crate::domain::ids::random_u64;
use crate::protocols::ApiError;

/// Where callers are told apart, nothing is said to be unknown sooner than this after it was asked for: looking for what is
/// somebody else's takes another time than looking for what is not there, and that would tell which it is.
pub(super) const UNKNOWN_AFTER: Duration = Duration::from_millis(25);

impl Edge {
    /// Finds who answers a request, and has it answered.
    pub(super) async fn dispatch(
        &self,
        request: Request<Incoming>,
        (side, peer): (Side, IpAddr),
        id: &HeaderValue,
    ) -> Answer {
        // Whoever is refused before the body is read may still be sending it: the connection cannot be used again.
        let unread = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        let (mut answer, is_read) = self.routed(request, (side, peer), id).await;
        if unread && !is_read {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// The answer, and whether the body was left to a handler.
    async fn routed(
        &self,
        request: Request<Incoming>,
        (side, peer): (Side, IpAddr),
        id: &HeaderValue,
    ) -> (Answer, bool) {
        if let Err(error) = host::check(&request) {
            return (respond::error(&error), false);
        }
        if request.method() == Method::OPTIONS {
            return (respond::empty(StatusCode::NO_CONTENT), false);
        }
        let found = routes::find(request.method(), request.uri().path());
        let is_spoken =
            matches!(&found, Ok((route, _)) if route.schema.is_websocket) && websocket::is_asked_for(request.headers());
        let upgrade = if is_spoken { None } else { unspoken_upgrade(request.headers(), found.is_ok()) };
        let (route, variables) = match found {
            Err(Unrouted::Unknown(error)) => return (respond::error(&error), false),
            _ if upgrade.is_some() => return (respond::upgrade_required(upgrade.unwrap_or_default()), false),
            Ok((route, _)) if !self.is_here(route, side) => {
                let unknown = ApiError::unknown_url(request.method().as_str(), request.uri().path());
                return (respond::error(&unknown), false);
            }
            Ok(found) => found,
            Err(Unrouted::Method { error, allow }) => {
                let mut answer = respond::error(&error);
                answer.headers_mut().extend(HeaderValue::from_str(&allow).map(|value| (header::ALLOW, value)));
                return (answer, false);
            }
        };
        let (begun, method) = (Instant::now(), request.method().clone());
        let span = crate::telemetry::request_span(&route.name, id, request.headers());
        let answer = self.handle(route, request, variables, (side, peer)).instrument(span.clone()).await;
        let is_read = !matches!(answer, Err(Failure::Refused(_)));
        let answer = answer.unwrap_or_else(|failure| failure.answer());
        let status = answer.status().as_u16();
        self.inner.metrics.requests(&route.name, status);
        let trace = crate::telemetry::spans::trace_of(&span);
        let named = (method.as_str(), route.template);
        self.inner.metrics.conventional.request(named, status, begun.elapsed(), trace.as_deref());
        crate::telemetry::request_answered(&span, named, status);
        (answer, is_read)
    }

    async fn handle(
        &self,
        route: &'static Route,
        request: Request<Incoming>,
        variables: Vec<String>,
        (side, peer): (Side, IpAddr),
    ) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let asks = match side {
            Side::Public => self.admission().admit(route, &request, peer).await?,
            Side::Admin => Asks::nobody(self.inner.auth.nobody()),
        };
        let deletes = (request.method() == Method::DELETE && route.schema.scope.is_some())
            .then(|| (asks.who.caller.clone(), request.uri().path().to_owned()));
        let answer = (route.handler)(self, Call::new(request, asks, variables)).await;
        if answer.as_ref().is_err_and(Failure::is_unknown) && self.inner.auth.is_on() {
            tokio::time::sleep_until(begun + UNKNOWN_AFTER).await;
        }
        if let (Some((caller, what)), Ok(_)) = (deletes, &answer) {
            tracing::info!(target: AUDIT, owner = %caller.owner(), key = caller.key(), what, "deleted");
        }
        answer
    }

    fn admission(&self) -> Admission<'_> {
        Admission { config: &self.inner.config, auth: &self.inner.auth, metrics: &self.inner.metrics }
    }

    /// Whether a listener has this route. What is for operators has one place.
    fn is_here(&self, route: &Route, side: Side) -> bool {
        match side {
            Side::Public => !route.is_for_operators() || self.inner.config.admin.is_none(),
            Side::Admin => route.is_for_operators() || route.is_probe(),
        }
    }
}

/// The protocol that a client wants to go on with and that is not spoken here. What is only offered is none: with a
/// request that is answered all the same, clients of Java offer `h2c`. A WebSocket is never only offered.
fn unspoken_upgrade(headers: &HeaderMap, is_answered: bool) -> Option<&str> {
    let asks = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    if !asks.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let protocols = headers.get(header::UPGRADE)?.to_str().ok()?;
    let is = |name: &str| protocols.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case(name));
    (is("websocket") || !is_answered && !is("h2c")).then_some(protocols)
}

/// The client's own id of the request, if it is one that may stand in a log, or a new one.
pub(super) fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let fits = |id: &&HeaderValue| id.len() <= 128 && id.to_str().is_ok_and(|id| !id.is_empty());
    given.filter(fits).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&format!("req_{:016x}", random_u64())).expect("hexadecimal digits are ASCII")
    })
}
