//! The edge: turns HTTP requests into replies that are accepted, and follows the log for clients.
//!
//! Knows the API and the wire. Does not know how a reply is generated: it asks [`Replies`]. Holds nothing that
//! another instance could not hold as well.

use std::sync::Arc;

use crate::auth::Auth;
use crate::config;
use crate::consumers::webhooks::Webhooks;
use crate::limits::Limits;
use crate::llm::Upstream;
use crate::replies::Replies;
use crate::speech::Speech;
use crate::speech::hearing::Hearing;
use crate::store::Store;
use crate::telemetry::Metrics;
use budget::Budget;

mod body;
mod budget;
mod compaction;
mod connections;
mod conversation_stream;
mod dispatch;
mod door;
mod failure;
mod format;
mod frames;
mod handlers;
mod host;
mod inflate;
mod middleware;
mod page;
mod progress;
mod request;
mod respond;
mod routes;
mod sent;
mod upload;
mod websocket;
pub(crate) mod server;
#[cfg(test)]
mod fuzz;

pub(crate) use door::Door;
pub(crate) use failure::REALM;
pub(crate) use routes::document;

/// The edge. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Edge {
    inner: Arc<Inner>,
}

struct Inner {
    config: config::Http,
    /// What `GET /` says.
    greeting: String,
    replies: Replies,
    speech: Speech,
    hearing: Hearing,
    limits: Limits,
    store: Store,
    webhooks: Webhooks,
    upstream: Upstream,
    health: Arc<dyn Health>,
    metrics: Arc<Metrics>,
    /// Memory for what passes through.
    budget: Arc<Budget>,
    auth: Auth,
    /// Ends `EventSource` streams when this instance is to go.
    rotate: tokio_util::sync::CancellationToken,
}

/// What the edge tells of the server's health. Asks nobody that could keep it waiting.
pub(crate) trait Health: Send + Sync + 'static {
    /// `None`: ready. Otherwise why not.
    fn unready(&self) -> Option<String>;

    /// Everything, as JSON.
    fn report(&self) -> futures_util::future::BoxFuture<'static, serde_json::Value>;

    /// All instruments, in Prometheus' text format.
    fn metrics(&self) -> String;
}

impl Edge {
    /// An edge over these, behind the door whose memory and figures it shares.
    pub(crate) fn new(
        (config, greeting, auth): (config::Http, String, Auth),
        (replies, speech, hearing): (Replies, Speech, Hearing),
        (limits, store, webhooks): (Limits, Store, Webhooks),
        upstream: Upstream,
        health: Arc<dyn Health>,
        door: &Door,
        rotate: tokio_util::sync::CancellationToken,
    ) -> Self {
        let (metrics, budget) = (Arc::clone(door.metrics()), Arc::clone(door.budget()));
        let inner = Inner {
            config,
            greeting,
            replies,
            speech,
            hearing,
            limits,
            store,
            webhooks,
            upstream,
            health,
            metrics,
            budget,
            auth,
            rotate,
        };
        Self { inner: Arc::new(inner) }
    }
}
