//! One outside service over HTTP, whatever it does: its own pool, sockets and keys, a breaker, a limit with a fair queue
//! before it, health checks, and what is known of how it is. Model servers and speech servers are called through this.
//!
//! It does not know what is asked for, nor how an answer is read: whoever does tells a [`Permit`] how the call went.
//!
//! ```text
//! service.permit(caller, max_wait).await?   waits for room; decides nothing about the breaker
//!   permit.send(|key| request).await?       headers; keys in turn on 401 and 429
//!   permit.heard(), permit.spoke()          for each piece of the body; for the first content
//!   permit.succeeded() | permit.failed(&fault)   when it is known how it ended
//!   drop(permit)                            when the body has ended: gives the place to the next
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Certificate, Request, Response, Url};
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) mod breaker;
pub(crate) mod choose;
mod condition;
pub(crate) mod fallback;
pub(crate) mod fault;
pub(crate) mod gate;
pub(crate) mod http;
mod keys;
pub(crate) mod limit;
mod permit;
pub(crate) mod queue;
pub(crate) mod sse;
pub(crate) mod status;
pub(crate) mod watch;

pub(crate) use breaker::Phase;
pub(crate) use choose::{Candidate, Standing, choose};
pub(crate) use fault::{Fault, FaultKind, Outcome};
pub(crate) use gate::{MaxWait, Refused};
pub(crate) use permit::Permit;
pub(crate) use status::ServiceStatus;

use breaker::Admits;
use condition::Condition;
use gate::Gate;
use http::Clients;
use keys::Keys;

use crate::config::Limits;
use crate::config::values::Secret;
use crate::telemetry::causes;

/// An outside service. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    clients: Clients,
    keys: Keys,
    gate: Gate,
    condition: Mutex<Condition>,
    observer: Arc<dyn Observer>,
    /// Somebody wants the service to be looked at.
    suspected: Notify,
    epoch: Instant,
    /// When bytes came from it last, in milliseconds since `epoch`.
    heard_ms: AtomicU64,
}

/// What a service is set up with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Its name, in logs and metrics.
    pub(crate) name: String,
    /// What it does: [`TEXT`], [`SPEECH`] or [`HEARING`].
    pub(crate) capability: &'static str,
    /// Where it is.
    pub(crate) base_url: Url,
    /// Its keys, the first one first; none: it is called without.
    pub(crate) keys: Vec<Secret>,
    /// How long a connection may take.
    pub(crate) connect: Duration,
    /// Limits.
    pub(crate) limits: Limits,
    /// A file of certificates (PEM) to be trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who takes note of calls.
    pub(crate) observer: Arc<dyn Observer>,
}

/// A service that says text.
pub(crate) const TEXT: &str = "text";

/// A service that speaks.
pub(crate) const SPEECH: &str = "speech";

/// A service that transcribes speech.
pub(crate) const HEARING: &str = "hearing";

/// A service cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The address is no `http` or `https` URL.
    #[error("its address has to begin with http:// or https://")]
    Address,
    /// A file of certificates cannot be used.
    #[error("the certificates of {path} cannot be used: {why}", path = .path.display())]
    Certificates {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The system's certificates could not be read, or the like.
    #[error("the HTTP client could not be set up")]
    Client(#[source] reqwest::Error),
}

/// A request got no answer.
#[derive(Debug)]
pub(crate) struct SendError(reqwest::Error);

/// Takes note of calls of one service. Every method is called on the path of a reply: it must not block.
pub(crate) trait Observer: std::fmt::Debug + Send + Sync {
    /// A call had to wait for room, so long.
    fn queued(&self, _for_so_long: Duration) {}

    /// The answer's headers came, so long after the call.
    fn answered(&self, _after: Duration) {}

    /// The first content came.
    fn began(&self, _after: Duration) {}

    /// So many pieces of an answer could not be understood; a word for what they are.
    fn unread(&self, _piece: &'static str, _count: u32) {}

    /// A request that several calls went into is over; a word for how.
    fn batched(&self, _outcome: &'static str) {}

    /// The call is over. Told once for every call.
    fn ended(&self, _outcome: Outcome, _after: Duration) {}
}

/// Takes note of nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unobserved;

impl Observer for Unobserved {}

impl Service {
    /// Sets up the client. Nothing is sent yet.
    pub(crate) fn build(mut config: Config) -> Result<Self, BuildError> {
        if !matches!(config.base_url.scheme(), "http" | "https") || config.base_url.cannot_be_a_base() {
            return Err(BuildError::Address);
        }
        let now = Instant::now();
        let settings = http::Settings {
            base: config.base_url.clone(),
            connect: config.connect,
            extra_roots: config.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default(),
        };
        let inner = Inner {
            clients: Clients::new(settings).map_err(BuildError::Client)?,
            keys: Keys::new(std::mem::take(&mut config.keys)),
            gate: Gate::new(config.limits.max_in_flight, config.limits.max_queued),
            condition: Mutex::new(Condition::new(now)),
            observer: Arc::clone(&config.observer),
            suspected: Notify::new(),
            epoch: now,
            heard_ms: AtomicU64::new(0),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name, in logs and metrics.
    pub(crate) fn name(&self) -> &str {
        &self.inner.config.name
    }

    /// Where it is.
    pub(crate) fn base_url(&self) -> &Url {
        &self.inner.config.base_url
    }

    /// How long what can be refused waits.
    pub(crate) fn max_wait(&self) -> MaxWait {
        MaxWait::For(self.inner.config.limits.queue_timeout)
    }

    /// How it is, as far as that decides whether it is asked.
    pub(crate) fn standing(&self) -> Standing {
        let (now, condition) = (Instant::now(), self.inner.condition.lock());
        match condition.breaker.admits(now) {
            Admits::No if condition.breaker.is_away() => Standing::Away,
            Admits::No => Standing::Open,
            Admits::Yes if condition.paused_until.is_some_and(|until| now < until) => Standing::Paused,
            Admits::Yes | Admits::Trial => Standing::Ready,
        }
    }

    /// Takes the right to a call if there is room at once.
    pub(crate) fn try_permit(&self) -> Option<Permit> {
        self.inner.gate.try_pass().map(|pass| self.permitted(pass))
    }

    /// Waits for the right to a call. The breaker does not hold it up: that is for [`choose()`] to look at before.
    /// Dropping the future gives up the place.
    pub(crate) async fn permit(&self, caller: &str, max_wait: MaxWait) -> Result<Permit, Refused> {
        if let Some(permit) = self.try_permit() {
            return Ok(permit);
        }
        let begun = Instant::now();
        let passed = self.inner.gate.pass(caller, max_wait).await;
        self.inner.observer.queued(begun.elapsed());
        Ok(self.permitted(passed?))
    }

    fn permitted(&self, pass: gate::Pass) -> Permit {
        let mut condition = self.inner.condition.lock();
        let (trial, change) = condition.breaker.goes(Instant::now());
        if let Some(change) = change {
            self.changed(&mut condition, change, "a request tries it");
        }
        Permit::new(self.clone(), pass, trial)
    }

    /// Asks for something small beside the calls that are limited: a list, a health check.
    pub(crate) async fn get(&self, request: impl Fn(Option<&Secret>) -> Request) -> Result<Response, SendError> {
        let lease = self.inner.clients.lease();
        Ok(lease.client.execute(request(self.inner.keys.current().1)).await?)
    }

    /// How it is, for people.
    pub(crate) fn status(&self) -> ServiceStatus {
        let (now, traffic, condition) = (Instant::now(), self.inner.gate.traffic(), self.inner.condition.lock());
        let (checked_after, checked_ago) = condition.memory.last_check(now);
        ServiceStatus {
            name: self.inner.config.name.clone(),
            capability: self.inner.config.capability,
            address: shown(&self.inner.config.base_url),
            breaker: condition.breaker.phase(),
            reason: condition.reason.clone(),
            breaker_for: now.saturating_duration_since(condition.since),
            traffic,
            answers_after: condition.memory.answers_after(),
            checked_after,
            checked_ago,
            last_error: condition.memory.last_error(now),
        }
    }
}

impl SendError {
    /// Whether no connection came about.
    pub(crate) fn is_connect(&self) -> bool {
        self.0.is_connect() || self.0.is_timeout()
    }

    /// It, with all its causes, without the address, which may hold a secret.
    pub(crate) fn cause(self) -> String {
        causes::chain(&self.0.without_url())
    }
}

impl From<reqwest::Error> for SendError {
    fn from(error: reqwest::Error) -> Self {
        Self(error)
    }
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let fail = |why: String| BuildError::Certificates { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| fail(causes::chain(&error)))?;
    if found.is_empty() { Err(fail("there is none in it".to_owned())) } else { Ok(found) }
}

/// An address without what may be a secret in it.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests;
