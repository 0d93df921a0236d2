//! What stands at the address from the first moment on. Until the server is put together, which takes as long as its log is
//! away, it is alive and nothing else: platforms kill what does not listen, and clients are asked to come again.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio_util::sync::CancellationToken;

use super::Edge;
use super::body::Body;
use super::budget::Budget;
use super::dispatch::request_id;
use super::middleware::Admission;
use super::respond::{self, Answer};
use super::routes;
use super::server::Side;
use crate::auth::Auth;
use crate::config;
use crate::health::startup::Startup;
use crate::protocols::ApiError;
use crate::telemetry::Metrics;

/// Where everything is told about the server's health.
const HEALTH: &str = "/healthz";

/// Answers that are no longer than this are not counted.
const COUNTED: usize = 1024;

/// The door. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    config: config::Http,
    metrics: Arc<Metrics>,
    /// Memory for what passes through.
    budget: Arc<Budget>,
    edge: OnceLock<Edge>,
    /// Who may know what it waits for, and what that is.
    start: (Auth, Startup),
    /// Connections are to be closed after the answer: this instance is to go.
    closes: CancellationToken,
}

impl Door {
    /// A door with nothing behind it yet.
    pub(crate) fn new(
        config: config::Http,
        metrics: Arc<Metrics>,
        start: (Auth, Startup),
        closes: CancellationToken,
    ) -> Self {
        let budget = Budget::new(config.max_buffered_bytes);
        Self { inner: Arc::new(Inner { config, metrics, budget, edge: OnceLock::new(), start, closes }) }
    }

    /// From now on requests go to the edge, also those of connections that are open already.
    pub(crate) fn open(&self, edge: Edge) {
        // It is opened once.
        let _ = self.inner.edge.set(edge);
    }

    pub(super) fn config(&self) -> &config::Http {
        &self.inner.config
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.inner.budget
    }

    /// Answers any request.
    pub(super) async fn answer(&self, request: Request<Incoming>, side: Side, peer: IpAddr) -> Answer {
        let id = request_id(request.headers().get("x-request-id"));
        let cors = if request.method() == Method::OPTIONS {
            self.inner.config.cors_origins.preflight(request.headers())
        } else {
            self.inner.config.cors_origins.headers(request.headers().get(header::ORIGIN))
        };
        let comes_back = is_event_source(&request);
        let mut answer = match self.inner.edge.get() {
            Some(edge) => self.within_budget(edge.dispatch(request, (side, peer), &id).await),
            None => self.waiting(&request, (side, peer)).await,
        };
        if comes_back && answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            let connection = answer.headers_mut().remove(header::CONNECTION);
            answer = respond::come_back();
            answer.headers_mut().extend(connection.map(|value| (header::CONNECTION, value)));
        }
        let is_upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(HeaderName::from_static("x-request-id"), id);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if self.inner.closes.is_cancelled() && !is_upgraded {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers.extend(cors);
        answer
    }

    /// An answer that is held whole counts as memory until it is sent.
    fn within_budget(&self, mut answer: Answer) -> Answer {
        if let Body::Whole(bytes) = answer.body_mut()
            && bytes.len() > COUNTED
        {
            let mut share = self.inner.budget.share();
            if share.try_grow(bytes.len()).is_err() {
                let mut refusal = respond::error(&ApiError::no_memory());
                // What was accepted, is: its id is told.
                std::mem::swap(refusal.headers_mut(), answer.headers_mut());
                refusal.headers_mut().extend(std::mem::take(answer.headers_mut()));
                return refusal;
            }
            *bytes = share.around(std::mem::take(bytes));
        }
        answer
    }

    /// The answer while there is nothing behind the door.
    async fn waiting(&self, request: &Request<Incoming>, asker: (Side, IpAddr)) -> Answer {
        match (request.method(), request.uri().path().trim_end_matches('/')) {
            // A browser that is not let through would not see the 503.
            (&Method::OPTIONS, _) => respond::empty(StatusCode::NO_CONTENT),
            (&Method::GET | &Method::HEAD, "/livez") => respond::live(),
            (&Method::GET | &Method::HEAD, HEALTH) if self.may_know(request, asker).await => {
                respond::not_yet(&self.inner.start.1.report())
            }
            _ => respond::error(&ApiError::unavailable(
                "The server is starting and has not reached its log yet; try again.",
            )),
        }
    }

    /// Whether somebody may know how the server is, as when it is put together.
    async fn may_know(&self, request: &Request<Incoming>, (side, peer): (Side, IpAddr)) -> bool {
        let Inner { config, metrics, start: (auth, _), .. } = &*self.inner;
        let Ok((route, _)) = routes::find(&Method::GET, HEALTH) else { return false };
        let admission = Admission { config, auth, metrics };
        match side {
            Side::Admin => true,
            Side::Public => config.admin.is_none() && admission.admit(route, request, peer).await.is_ok(),
        }
    }
}

/// Whether it is what an `EventSource` sends.
fn is_event_source(request: &Request<Incoming>) -> bool {
    let accepts = request.headers().get(header::ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    accepts && request.method() == Method::GET && request.uri().path().ends_with("/events")
}
