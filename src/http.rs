//! The edge: turns HTTP requests into replies that are accepted, and follows the log for clients.
//!
//! Knows the API and the wire. Does not know how a reply is generated: it asks [`Replies`]. Holds nothing that
//! another instance could not hold as well.

use std::sync::Arc;
use std::time::Duration;

use crate::conversation::record::Caller;
use crate::replies::Replies;
use crate::speech::Speech;
use crate::telemetry::Metrics;
use crate::upstream::Upstream;

mod body;
mod conversation_stream;
mod failure;
pub mod cors;
mod format;
mod handlers;
mod request;
mod respond;
mod routes;
pub mod server;

pub use routes::document;

/// How the edge is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// The largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Silence on a stream after which a comment is sent.
    pub heartbeat: Duration,
    /// Age at which an `EventSource` stream is ended, to be taken up again by its client. `None`: never.
    pub stream_max_age: Option<Duration>,
    /// Time after which a client that takes nothing of what it is sent is let go.
    pub client_stall_timeout: Duration,
    /// Other sites that may use this server from a browser.
    pub cors: cors::Origins,
    /// What `GET /` says.
    pub greeting: String,
}

/// The edge. A handle: cheap to clone.
#[derive(Clone)]
pub struct Edge {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    replies: Replies,
    speech: Speech,
    upstream: Upstream,
    health: Arc<dyn Health>,
    metrics: Arc<Metrics>,
    /// Ends `EventSource` streams when this instance is to go.
    rotate: tokio_util::sync::CancellationToken,
}

/// What the edge tells of the server's health. Asks nobody that could keep it waiting.
pub trait Health: Send + Sync + 'static {
    /// `None`: ready. Otherwise why not.
    fn unready(&self) -> Option<String>;

    /// Everything, as JSON.
    fn report(&self) -> futures_util::future::BoxFuture<'static, serde_json::Value>;

    /// All instruments, in Prometheus' text format.
    fn metrics(&self) -> String;
}

impl Edge {
    /// An edge over these.
    pub fn new(
        config: Config,
        (replies, speech): (Replies, Speech),
        upstream: Upstream,
        health: Arc<dyn Health>,
        metrics: Arc<Metrics>,
        rotate: tokio_util::sync::CancellationToken,
    ) -> Self {
        Self { inner: Arc::new(Inner { config, replies, speech, upstream, health, metrics, rotate }) }
    }

    /// Who asks. Without authentication that is everybody.
    #[expect(clippy::unused_self, reason = "the place where credentials will be looked at")]
    fn caller(&self) -> Caller {
        Caller::anonymous()
    }
}
